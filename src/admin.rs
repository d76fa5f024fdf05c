//! The admin listener: probes and metrics over plain HTTP/1.1, meant for loopback.
//!
//! Closures supply readiness and metrics, so that a probe always reports the current state.

mod host;
mod slots;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{host::AllowedHosts, slots::Slots};
use crate::{
    listen,
    serve::{self, Client},
};

/// Open connections. A prober and a scraper use two. A flood must not use up the file descriptors
/// of the public listener, so a connection beyond this limit replaces another.
const MAX_CONNECTIONS: usize = 64;

/// Replaced connections that are not closed yet.
const CLOSING_CONNECTIONS: usize = 64;

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

const MISDIRECTED: &str = "the request's Host is neither localhost nor a loopback address: if you \
                           use that name for the admin listener, add it to admin.allowed_hosts\n";

/// Answers on `listener` until `stop` is cancelled and the requests in progress are answered.
///
/// `allowed_hosts` are further hosts that a request may name: `admin.allowed_hosts`. `refresh` gets
/// the path of each request first, and may take a moment to update the state that `ready` and
/// `metrics` report. `ready` returns why the daemon is not ready, as text for the operator.
/// `metrics` returns the Prometheus text. All are called for each request and must not block.
pub async fn serve<F, R, M>(
    listener: TcpListener,
    stop: CancellationToken,
    allowed_hosts: Vec<String>,
    refresh: impl Fn(&str) -> F + Send + Sync + 'static,
    (ready, metrics): (R, M),
) where
    F: Future<Output = ()> + Send,
    R: Fn() -> Result<(), String> + Send + Sync + 'static,
    M: Fn() -> String + Send + Sync + 'static,
{
    let probes = Arc::new((AllowedHosts::new(allowed_hosts), refresh, ready, metrics));
    let connections = TaskTracker::new();
    let slots = Slots::new(MAX_CONNECTIONS);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS + CLOSING_CONNECTIONS));

    listen::accept_loop(listener, permits, stop.clone(), |stream, peer, permit| {
        let (probes, stop) = (Arc::clone(&probes), stop.clone());
        let slot = slots.take();
        connections.spawn(async move {
            let service = |request: Request<_>, _: Client| {
                slot.request_arrived();
                let probes = Arc::clone(&probes);
                async move {
                    let (hosts, refresh, ready, metrics) = &*probes;
                    refresh(request.uri().path()).await;
                    answer(&request, hosts, ready, metrics)
                }
            };
            tokio::select! {
                _ = serve::plain_connection(stream, peer, service, stop) => {}
                () = slot.replaced() => {}
            }
            drop(permit);
        });
    })
    .await;

    connections.close();
    connections.wait().await;
}

fn answer<T>(
    request: &Request<T>,
    hosts: &AllowedHosts,
    ready: &impl Fn() -> Result<(), String>,
    metrics: &impl Fn() -> String,
) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, content_type, body) = match request.uri().path() {
        _ if !hosts.permit(request) => {
            (StatusCode::MISDIRECTED_REQUEST, TEXT, MISDIRECTED.to_owned())
        }
        "/healthz" | "/readyz" | "/metrics" | "/version" if !is_read => (
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "method not allowed: use GET or HEAD\n".to_owned(),
        ),
        "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => match ready() {
            Ok(()) => (StatusCode::OK, TEXT, "ready\n".to_owned()),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        "/metrics" => (StatusCode::OK, PROMETHEUS, metrics()),
        "/version" => (StatusCode::OK, JSON, version()),
        _ => {
            let known = "not found: use /healthz, /readyz, /metrics or /version\n";
            (StatusCode::NOT_FOUND, TEXT, known.to_owned())
        }
    };

    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn version() -> String {
    let version = serde_json::json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
    });
    format!("{version}\n")
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        net::{Ipv4Addr, SocketAddr},
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::Notify,
        time::timeout,
    };

    use super::*;

    #[test]
    fn each_path_is_answered() {
        let table = [
            (Method::GET, "/healthz", 200, TEXT, "ok\n"),
            (Method::HEAD, "/healthz?verbose", 200, TEXT, "ok\n"),
            (Method::GET, "/readyz", 503, TEXT, "starting\n"),
            (Method::GET, "/metrics", 200, PROMETHEUS, "some 1\n"),
            (Method::GET, "/version", 200, JSON, "{\"name\":\"logpushd\",\"version\":\"0.1.0\"}\n"),
            (Method::POST, "/healthz", 405, TEXT, "method not allowed: use GET or HEAD\n"),
            (Method::DELETE, "/metrics", 405, TEXT, "method not allowed: use GET or HEAD\n"),
        ];
        for (method, path, status, content_type, body) in table {
            let request = Request::builder().method(&method).uri(path).body(()).unwrap();
            let ready = || Err("starting".to_owned());
            let response = answer(&request, &local(), &ready, &|| "some 1\n".to_owned());
            let line = format!("{method} {path}");
            assert_eq!(response.status(), status, "{line}");
            assert_eq!(response.headers()[CONTENT_TYPE], content_type, "{line}");
            assert_eq!(response.headers().contains_key(ALLOW), status == 405, "{line}");
            let expected = Full::<Bytes>::new(body.into());
            assert_eq!(format!("{:?}", response.into_body()), format!("{expected:?}"), "{line}");
        }
        for path in ["/", "/metrics/", "/healthz2", "//readyz"] {
            let request = Request::get(path).header("host", "localhost").body(()).unwrap();
            let response =
                answer(&request, &local(), &|| Ok(()), &|| panic!("rendered for {path}"));
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn dns_rebinding_is_refused() {
        for path in ["/metrics", "/readyz", "/", "/api/status"] {
            let request = Request::get(path).header("host", "attacker.example:9464");
            let metrics = || panic!("rendered for {path}");
            let response = answer(&request.body(()).unwrap(), &local(), &|| Ok(()), &metrics);
            assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{path}");
            let text = format!("{:?}", response.into_body());
            assert!(text.contains("admin.allowed_hosts"), "{text}");
        }
    }

    fn local() -> AllowedHosts {
        AllowedHosts::new(Vec::new())
    }

    /// Starts a listener that is ready.
    fn start() -> (SocketAddr, CancellationToken) {
        let listener = listen::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let probes = (|| Ok(()), String::new);
        tokio::spawn(serve(listener, stop.clone(), Vec::new(), |_| async {}, probes));
        (address, stop)
    }

    async fn half_a_head(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: loc").await.unwrap();
        stream
    }

    /// Waits until the listener closes the connection.
    async fn closed(mut stream: TcpStream) {
        let mut answer = Vec::new();
        let limit = Duration::from_secs(20);
        let end = timeout(limit, stream.read_to_end(&mut answer)).await.expect("still open");
        assert!(answer.is_empty() || end.is_err(), "{}", String::from_utf8_lossy(&answer));
    }

    #[tokio::test]
    async fn an_incomplete_head_has_a_short_deadline() {
        let (address, _stop) = start();
        closed(half_a_head(address).await).await;
    }

    #[tokio::test]
    async fn incomplete_heads_delay_no_probe() {
        let (address, _stop) = start();
        let mut held = VecDeque::new();
        for _ in 0..MAX_CONNECTIONS + 8 {
            held.push_back(half_a_head(address).await);
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        probe.write_all(request).await.unwrap();
        let mut answer = String::new();
        let limit = Duration::from_secs(20);
        timeout(limit, probe.read_to_string(&mut answer)).await.expect("waits").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        closed(held.pop_front().unwrap()).await;
    }

    #[tokio::test]
    async fn the_current_state_is_reported_until_the_stop() {
        let listener = listen::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let draining = Arc::new(AtomicBool::new(false));
        let ready = {
            let draining = Arc::clone(&draining);
            move || {
                if draining.load(Ordering::SeqCst) { Err("draining".to_owned()) } else { Ok(()) }
            }
        };
        let ended = Arc::new(Notify::new());
        let server = tokio::spawn({
            let (stop, ended) = (stop.clone(), Arc::clone(&ended));
            async move {
                let probes = (ready, || "metric 1\n".to_owned());
                serve(listener, stop, Vec::new(), |_| async {}, probes).await;
                ended.notify_one();
            }
        });

        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut ask = async |path: &str| {
            let request =
                Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new());
            let response = client.send_request(request.unwrap()).await.unwrap();
            let status = response.status().as_u16();
            let mut body = response.into_body();
            let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
            (status, String::from_utf8(bytes.to_vec()).unwrap())
        };
        assert_eq!(ask("/readyz").await, (200, "ready\n".to_owned()));
        draining.store(true, Ordering::SeqCst);
        assert_eq!(ask("/readyz").await, (503, "draining\n".to_owned()));
        assert_eq!(ask("/metrics").await, (200, "metric 1\n".to_owned()));

        stop.cancel();
        let in_time = Duration::from_secs(3);
        timeout(in_time, ended.notified()).await.expect("waits for an idle connection");
        server.await.unwrap();
        connection.await.unwrap().unwrap();
    }
}
