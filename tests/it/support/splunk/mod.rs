//! A strict stand-in for Splunk's HTTP Event Collector, after Splunk's documentation and what
//! Splunk Enterprise 10.4 was seen to answer: channels, acknowledgments, codes, several indexers
//! behind a load balancer, and crashes that lose what is not indexed.

mod indexer;

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_ENCODING, COOKIE, SET_COOKIE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    task::{AbortHandle, JoinSet},
};

pub(crate) use self::indexer::Event;
use self::indexer::{Indexer, Reply, Rules};
use super::{records::gunzip, wait::wait_for};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// The token that the collector accepts.
pub(crate) const TOKEN: &str = "5c1b0d1e-7b0f-4f6a-9a53-2f0d7a3c9e11";

/// How the load balancer chooses an indexer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sticky {
    /// The one that the cookie names.
    Cookie,
    /// The same for all requests of a connection.
    Connection,
    /// Another one for each request.
    Never,
}

/// The collector, as long as the process runs.
#[derive(Clone)]
pub(crate) struct Splunk {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    rules: Rules,
    sticky: Sticky,
    indexers: Vec<Indexer>,
    turn: usize,
    connections: JoinSet<()>,
    accepting: Option<AbortHandle>,
    requests: Vec<Seen>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// The number of the connection, and of the indexer.
    pub(crate) connection: usize,
    pub(crate) indexer: usize,
}

impl Splunk {
    /// Starts one indexer, whose token has indexer acknowledgment.
    pub(crate) fn start() -> Self {
        Self::start_cluster(1, Sticky::Never)
    }

    /// Starts several indexers behind a load balancer.
    pub(crate) fn start_cluster(indexers: usize, sticky: Sticky) -> Self {
        let state = State {
            rules: Rules { token: TOKEN.to_owned(), ..Rules::default() },
            sticky,
            indexers: (0..indexers).map(|_| Indexer::default()).collect(),
            turn: 0,
            connections: JoinSet::new(),
            accepting: None,
            requests: Vec::new(),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let mut splunk = Self { address: any, state: Arc::new(Mutex::new(state)) };
        splunk.listen();
        splunk
    }

    fn listen(&mut self) {
        // A process that another test is starting may still hold the port.
        let listener = wait_for("the port", || TcpListener::bind(self.address).ok());
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let splunk = self.clone();
        let accepting = RUNTIME.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let server = splunk.clone();
                let connection = async move {
                    let service = service_fn(move |request| {
                        let server = server.clone();
                        async move { Ok::<_, Infallible>(server.answer(request, number).await) }
                    });
                    // The client may have been killed.
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                };
                splunk.state().connections.spawn(connection);
            }
        });
        self.state().accepting = Some(accepting.abort_handle());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap();
        let delay = state.rules.delay;
        for indexer in &mut state.indexers {
            indexer.advance(delay);
        }
        state
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the token has indexer acknowledgment.
    pub(crate) fn set_acknowledges(&self, acknowledges: bool) {
        self.state().rules.acknowledges = acknowledges;
    }

    pub(crate) fn set_token(&self, token: &str) {
        token.clone_into(&mut self.state().rules.token);
    }

    pub(crate) fn allow_index(&self, index: &str) {
        self.state().rules.indexes.insert(index.to_owned());
    }

    /// Sets the time from an answer until the events are indexed.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.state().rules.delay = delay;
    }

    /// Refuses some events, with a code and its text.
    pub(crate) fn refuse(
        &self,
        rule: impl Fn(&Event) -> Option<(u16, &'static str)> + Send + 'static,
    ) {
        self.state().rules.refuse = Box::new(rule);
    }

    /// Answers the next requests with code 9, each after some events.
    pub(crate) fn be_busy(&self, requests: usize, after: usize) {
        self.state().rules.busy = (requests, after);
    }

    /// Stops the collector: closes all connections, and loses what is not indexed. Returns how many
    /// events were lost.
    pub(crate) fn crash(&self) -> usize {
        let mut state = self.state();
        state.accepting.take().unwrap().abort();
        state.connections.abort_all();
        state.indexers.iter_mut().map(Indexer::crash).sum()
    }

    /// Starts it again, after a crash.
    pub(crate) fn restart(&mut self) {
        self.listen();
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// How many requests are accepted but not indexed.
    pub(crate) fn waiting(&self) -> usize {
        self.state().indexers.iter().map(Indexer::waiting).sum()
    }

    /// The events that are indexed.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.state().indexers.iter().flat_map(|indexer| indexer.indexed().to_vec()).collect()
    }

    /// The indexed records, each with an LF, sorted.
    pub(crate) fn records(&self) -> Vec<String> {
        let mut records: Vec<_> =
            self.events().iter().map(|event| format!("{}\n", event.record())).collect();
        records.sort_unstable();
        records
    }

    #[expect(clippy::disallowed_methods, reason = "the daemon's requests have a bound")]
    async fn answer(&self, request: Request<Incoming>, connection: usize) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        let mut state = self.state();
        let indexer = state.choose(&head.headers, connection);
        let path = head.uri.path().to_owned();
        let (status, text) = state.reply(&head.method, &head.uri, &head.headers, body, indexer);
        state.requests.push(Seen {
            path: head.uri.to_string(),
            headers: head.headers,
            connection,
            indexer,
        });
        let mut response = Response::builder().status(status);
        if state.sticky == Sticky::Cookie {
            // Another value for each answer, as AWS does.
            let turn = state.turn;
            response = response.header(SET_COOKIE, format!("AWSALB={indexer}.{turn}; Path=/"));
        }
        assert!(path.starts_with("/services/collector/"), "{path}");
        response.body(Full::from(text)).unwrap()
    }
}

impl State {
    fn choose(&mut self, headers: &HeaderMap, connection: usize) -> usize {
        self.turn += 1;
        let count = self.indexers.len();
        let named = headers.get(COOKIE).and_then(|cookie| {
            let (indexer, _) = cookie.to_str().unwrap().strip_prefix("AWSALB=")?.split_once('.')?;
            indexer.parse::<usize>().ok()
        });
        match (self.sticky, named) {
            (Sticky::Cookie, Some(indexer)) => indexer,
            (Sticky::Connection, _) => connection % count,
            _ => self.turn % count,
        }
    }

    fn reply(
        &mut self,
        method: &Method,
        uri: &hyper::Uri,
        headers: &HeaderMap,
        body: Vec<u8>,
        indexer: usize,
    ) -> (u16, String) {
        let (status, answer) = match uri.path() {
            "/services/collector/health" if *method == Method::GET => {
                (200, json!({ "text": "HEC is healthy", "code": 17 }))
            }
            "/services/collector/event" | "/services/collector/ack" if *method == Method::POST => {
                let body = match headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap())
                {
                    None => body,
                    Some("gzip") => gunzip(&body),
                    Some(_) => return (415, "<html>".to_owned()),
                };
                match self.check_token(headers) {
                    Err(reply) => reply,
                    Ok(()) => self.process(uri, headers, &body, indexer),
                }
            }
            _ => {
                let text = "The requested URL was not found on this server.";
                (404, json!({ "text": text, "code": 404 }))
            }
        };
        (status, answer.to_string())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Reply> {
        let refuse = |status, code, text| Err((status, json!({ "text": text, "code": code })));
        let Some(value) = headers.get(AUTHORIZATION) else {
            return refuse(401, 2, "Token is required");
        };
        match value.to_str().unwrap().strip_prefix("Splunk ") {
            None => refuse(401, 3, "Invalid authorization"),
            Some(token) if token != self.rules.token => refuse(403, 4, "Invalid token"),
            Some(_) => Ok(()),
        }
    }

    fn process(
        &mut self,
        uri: &hyper::Uri,
        headers: &HeaderMap,
        body: &[u8],
        indexer: usize,
    ) -> (u16, Value) {
        let channel = headers.get("x-splunk-request-channel").map(|value| value.to_str().unwrap());
        let queried = uri.query().and_then(|query| query.strip_prefix("channel="));
        let channel = channel.or(queried);
        let indexer = &mut self.indexers[indexer];
        if uri.path() == "/services/collector/ack" {
            indexer.query(channel, body, &self.rules)
        } else {
            indexer.accept(channel, body, &mut self.rules)
        }
    }
}
