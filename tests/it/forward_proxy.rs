//! Sinks and `logpushd job` send requests through the proxy of the environment.

use crate::support::{
    Daemon, Exit, Setup, closed_port,
    cloudflare::{Cloudflare, TOKEN, ZONE},
    collector::Collector,
    finish,
    forward_proxy::ForwardProxy,
    logpushd, numbered,
    tls::{Authority, server_config},
    wait_until,
};

/// `user` and `p@ss`.
const AUTHORIZATION: &str = "Basic dXNlcjpwQHNz";

/// A daemon that gets these variables.
fn start(mut setup: Setup, variables: &[(&'static str, String)]) -> Daemon {
    setup.service.env = variables.to_vec();
    setup.start()
}

#[test]
fn sinks_deliver_through_the_proxy_of_the_environment() {
    let authority = Authority::new();
    let proxy = ForwardProxy::requiring(AUTHORIZATION);
    let encrypted = Collector::start_tls(server_config(&authority.sign_server(), None));
    let (plain, local) = (Collector::start(), Collector::start());
    let names = [("encrypted", "https", &encrypted), ("plain", "http", &plain)];
    let mut setup = Setup::new();
    setup.write("ca.pem", authority.pem());
    let tls = "tls = { ca_file = \"ca.pem\", server_name = \"localhost\" }";
    for (name, scheme, collector) in names {
        let port = collector.address.port();
        let url = format!("url = \"{scheme}://{name}.invalid:{port}/in\"\n");
        let keys = url + if scheme == "https" { tls } else { "" };
        setup.set(&format!("sink.{name}.http"), &keys);
    }
    setup.set("sink.local.http", &format!("url = \"{}\"", local.url("/in")));
    setup.set("sink.excluded.http", "url = \"https://in.excluded.invalid/\"");
    let url = format!("http://user:p%40ss@{}", proxy.address);
    let daemon = start(
        setup,
        &[
            ("HTTPS_PROXY", url.clone()),
            ("http_proxy", url.replace("http://", "")),
            ("NO_PROXY", "excluded.invalid".to_owned()),
        ],
    );
    let records = numbered(1, 20);
    daemon.commit(&records);
    for collector in [&encrypted, &plain, &local] {
        assert_eq!(collector.wait_lines(20).concat().as_bytes(), records);
    }
    let failed = daemon.wait_log("the sink failed").to_string();
    assert!(failed.contains("resolving in.excluded.invalid: "), "{failed}");

    let requests = proxy.requests();
    let lines: Vec<_> = requests.iter().map(|request| request.line.as_str()).collect();
    let (tunnel, forwarded) = (encrypted.address.port(), plain.address.port());
    let expected = [
        format!("CONNECT encrypted.invalid:{tunnel} HTTP/1.1"),
        format!("POST http://plain.invalid:{forwarded}/in HTTP/1.1"),
    ];
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(expected.iter().all(|line| lines.contains(&line.as_str())), "{lines:?}");
    for request in &requests {
        assert_eq!(request.authorization.as_deref(), Some(AUTHORIZATION));
    }
    let stopped = daemon.stop();
    assert!(!stopped.log.contains("p%40ss") && !stopped.log.contains("p@ss"), "{}", stopped.log);
}

#[test]
fn failures_of_the_proxy_are_distinguished_from_those_of_the_target() {
    let authority = Authority::new();
    let collector = Collector::start_tls(server_config(&authority.sign_server(), None));
    let port = collector.address.port();
    let (_held, closed) = closed_port();
    let [locked, refusing, open] = [
        ForwardProxy::requiring(AUTHORIZATION),
        ForwardProxy::refusing(503),
        ForwardProxy::start(),
    ];
    let at = |proxy: &ForwardProxy| proxy.address.to_string();
    for (proxy, class, expected) in [
        (
            closed.to_string(),
            "proxy",
            "connecting to the proxy PROXY for TARGET: Connection refused",
        ),
        (
            "no-such-proxy.invalid:1".to_owned(),
            "proxy",
            "connecting to the proxy PROXY for TARGET: failed to lookup address",
        ),
        (
            at(&locked),
            "proxy",
            "connecting to the proxy PROXY for TARGET: it requires a user name and a password, or \
             others (407)",
        ),
        (
            at(&refusing),
            "proxy",
            "connecting to the proxy PROXY for TARGET: it refuses to connect to that server, or cannot",
        ),
        (
            at(&open),
            "tls",
            "TLS handshake with TARGET through the proxy PROXY: no trusted authority vouches for",
        ),
    ] {
        let url = format!("url = \"https://collector.invalid:{port}/in\"");
        let setup = Setup::new().table("sink.collector.http", &url);
        let daemon = start(setup, &[("https_proxy", format!("http://{proxy}"))]);
        daemon.commit(&numbered(1, 5));
        let is_locked = proxy == at(&locked);
        let event = if is_locked { "the sink failed: action required" } else { "the sink failed" };
        let line = daemon.wait_log(event).to_string();
        let target = format!("collector.invalid:{port}");
        let text = expected.replace("PROXY", &proxy).replace("TARGET", &target);
        assert!(line.contains(&text), "{text:?} not in {line}");
        assert_eq!(line.contains("HTTPS_PROXY"), is_locked, "{line}");
        let series = "logpushd_sink_last_error_timestamp_seconds";
        let sample = format!("{series}{{sink=\"collector\",class=\"{class}\"}}");
        wait_until(&sample, || daemon.ask("/metrics").1.contains(&sample));
        drop(daemon.kill());
    }
    assert!(collector.received().is_empty());
}

#[test]
fn an_unusable_proxy_is_reported_before_anything_is_sent() {
    let setup = Setup::new().table("sink.collector.http", "url = \"https://b.example/\"");
    setup.write_config();
    let unusable = "socks5://user:hidden@a.example:1080";
    let says = "the environment variable HTTPS_PROXY is no usable proxy: socks5:// proxies are not";
    let mut validate = logpushd();
    validate.args(["validate", "-c"]).arg(setup.config()).env("HTTPS_PROXY", unusable);
    let finished = finish(&mut validate);
    assert_eq!(finished.exit, Exit::Code(78), "{finished:?}");
    assert!(finished.stderr.contains(says), "{finished:?}");
    assert!(!finished.stderr.contains("hidden"), "{finished:?}");
    setup.write("token", format!("{TOKEN}\n"));
    let mut job = logpushd();
    job.args(["job", "list", "--zone", ZONE, "--token-file"]).arg(setup.path("token"));
    let finished = finish(job.env("HTTPS_PROXY", unusable));
    assert_eq!(finished.exit, Exit::Code(64), "{finished:?}");
    assert!(finished.stderr.contains(says) && !finished.stderr.contains("hidden"), "{finished:?}");
    // Without a sink that uses a network, the variable does not matter.
    let setup = Setup::new();
    setup.write_config();
    let mut validate = logpushd();
    validate.args(["validate", "-c"]).arg(setup.config()).env("HTTPS_PROXY", unusable);
    assert_eq!(finish(&mut validate).exit, Exit::Code(0));
}

#[test]
fn job_reaches_the_api_through_the_proxy() {
    let authority = Authority::new();
    let setup = Setup::new();
    let pair = authority.sign_server_named("api.invalid");
    setup.write("api.pem", &pair.cert);
    setup.write("api-key.pem", &pair.key);
    setup.write("ca.pem", authority.pem());
    setup.write("token", format!("{TOKEN}\n"));
    let (cert, key, ca) = (setup.path("api.pem"), setup.path("api-key.pem"), setup.path("ca.pem"));
    let api = Cloudflare::start("127.0.0.1:0".parse().unwrap(), &cert, &key, &ca).unwrap();
    let port = api.address.port();
    let url = api.url().replace(&api.address.to_string(), &format!("api.invalid:{port}"));
    let list = |proxy: &str| {
        let mut command = logpushd();
        command.args(["job", "list", "--zone", ZONE, "--api-url", &url]).arg("--ca").arg(&ca);
        command.arg("--token-file").arg(setup.path("token")).env("HTTPS_PROXY", proxy);
        finish(&mut command)
    };
    let proxy = ForwardProxy::requiring(AUTHORIZATION);
    let finished = list(&format!("http://user:p%40ss@{}", proxy.address));
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    assert_eq!(api.requests().len(), 1);
    assert_eq!(proxy.requests()[0].line, format!("CONNECT api.invalid:{port} HTTP/1.1"));
    let finished = list(&format!("http://user:hidden@{}", proxy.address));
    assert_eq!(finished.exit, Exit::Code(69), "{finished:?}");
    let text = format!(
        "cannot reach Cloudflare's API: connecting to the proxy {} for api.invalid:{port}: it requires",
        proxy.address
    );
    assert!(finished.stderr.contains(&text), "{finished:?}");
    assert!(!finished.stderr.contains("hidden"), "{finished:?}");
}
