//! A mock of a collector that accepts records over HTTP.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, LazyLock, Mutex},
    time::Instant,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response, body::Incoming, header::CONTENT_ENCODING, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::{Builder, Runtime},
};
use tokio_rustls::TlsAcceptor;

use super::{records::gunzip, wait::wait_for};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// A request, with its body decompressed.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The status of the answer.
    pub(crate) status: u16,
}

/// An answer: status, headers, body.
pub(crate) type Reply = (u16, Vec<(&'static str, String)>, String);

type Rule = Box<dyn Fn(&Received) -> Reply + Send>;

/// The collector, as long as the process runs.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    rule: Rule,
    received: Vec<Received>,
}

impl Collector {
    /// Starts it at any port. It accepts every request.
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn start_at(address: SocketAddr) -> Self {
        Self::serve(address, None)
    }

    /// Over TLS.
    pub(crate) fn start_tls(config: Arc<ServerConfig>) -> Self {
        Self::serve("127.0.0.1:0".parse().unwrap(), Some(TlsAcceptor::from(config)))
    }

    fn serve(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        // A process that another test is starting may still hold the reserved port.
        let listener = wait_for("the port", || TcpListener::bind(address).ok());
        listener.set_nonblocking(true).unwrap();
        let state = State { rule: Box::new(|_| ok()), received: Vec::new() };
        let collector =
            Self { address: listener.local_addr().unwrap(), state: Arc::new(Mutex::new(state)) };
        let server = collector.clone();
        RUNTIME.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                let (server, tls) = (server.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => server.serve_connection(stream).await,
                        Some(tls) => {
                            // The client may refuse the certificate.
                            if let Ok(stream) = tls.accept(stream).await {
                                server.serve_connection(stream).await;
                            }
                        }
                    }
                });
            }
            #[expect(unreachable_code, reason = "it names the type of the error")]
            io::Result::Ok(())
        });
        collector
    }

    async fn serve_connection(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        // The client may have been killed.
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers by this rule from now on.
    pub(crate) fn answer_by(&self, rule: impl Fn(&Received) -> Reply + Send + 'static) {
        self.state.lock().unwrap().rule = Box::new(rule);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// The requests that it accepted.
    pub(crate) fn taken(&self) -> Vec<Received> {
        self.received().into_iter().filter(|request| request.status < 300).collect()
    }

    /// Waits for that many accepted lines, and returns all of them.
    #[track_caller]
    pub(crate) fn wait_lines(&self, count: usize) -> Vec<String> {
        wait_for(&format!("{count} records at the collector"), || {
            let bodies = self.taken().into_iter().map(|request| request.body);
            let lines: Vec<_> = bodies
                .flat_map(|body| {
                    let text = String::from_utf8(body).unwrap();
                    text.lines().map(|line| format!("{line}\n")).collect::<Vec<_>>()
                })
                .collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the daemon's requests have a bound")]
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        let body = match head.headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap()) {
            None => body,
            Some("gzip") => gunzip(&body),
            Some("zstd") => zstd::decode_all(body.as_slice()).unwrap(),
            Some(other) => panic!("{other}"),
        };
        let mut received = Received {
            at: Instant::now(),
            method: head.method.to_string(),
            path: head.uri.to_string(),
            headers: head.headers,
            body,
            status: 0,
        };
        let mut state = self.state.lock().unwrap();
        let (status, headers, text) = (state.rule)(&received);
        received.status = status;
        state.received.push(received);
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(Full::from(text)).unwrap()
    }
}

/// The answer to an accepted request.
pub(crate) fn ok() -> Reply {
    (200, Vec::new(), String::new())
}

/// A rejection with this text.
pub(crate) fn refusal(status: u16, words: &str) -> Reply {
    (status, Vec::new(), words.to_owned())
}
