//! `validate --probe` checks the target of each network sink and writes no record.

use std::net::TcpListener;

use crate::support::{
    Exit, Finished, Setup, closed_port,
    collector::{Collector, refusal},
    finish, logpushd, names_in,
};

fn probe(setup: &Setup) -> Finished {
    setup.write_config();
    finish(logpushd().args(["validate", "--probe", "-c"]).arg(setup.config()))
}

/// The lines after the summary.
fn report(finished: &Finished) -> String {
    let lines = finished.stdout.lines().skip_while(|line| !line.starts_with("  checked as"));
    lines.skip(1).fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn a_probe_reports_each_network_sink_and_writes_no_record() {
    let collector = Collector::start();
    let syslog = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = syslog.local_addr().unwrap();
    let url = collector.url("/in/{dataset}?from={endpoint}");
    let setup = Setup::new()
        .table(
            "sink.collector.http",
            &format!(
                "url = \"{url}\"\nheaders = {{ X-Source = \"tests\" }}\n\
                secret_headers = {{ Authorization = \"token.txt\" }}\ndatasets = [\"dns_logs\"]"
            ),
        )
        .table(
            "sink.siem.syslog",
            &format!("address = [\"tcp://{server}\", \"udp://127.0.0.1:9\"]"),
        );
    setup.write("token.txt", "Bearer a-token\n");
    let finished = probe(&setup);
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    let at = collector.address;
    assert_eq!(
        report(&finished),
        format!(
            "sink collector (http, {url}): ok\n  \
            HEAD http://{at}/in/dns_logs answered 200 OK\n  \
            whether it accepts records shows with the first batch\n\
            sink siem (syslog, tcp://{server}, udp://127.0.0.1:9): ok\n  \
            tcp://{server}: connected\n  \
            udp://127.0.0.1:9: the name resolves; over UDP nothing else can be checked\n"
        )
    );
    let received = collector.received();
    assert_eq!(received.len(), 1);
    let request = &received[0];
    assert_eq!((request.method.as_str(), request.body.len()), ("HEAD", 0));
    assert_eq!(request.path, "/in/dns_logs?from=main");
    assert_eq!(request.headers["authorization"], "Bearer a-token");
    assert_eq!(request.headers["x-source"], "tests");
    let names = names_in(setup.directory());
    assert_eq!(names, ["logpushd.toml", "secrets.txt", "token.txt"], "nothing is created");
}

#[test]
fn a_sink_that_cannot_deliver_is_explained() {
    let collector = Collector::start();
    collector.answer_by(|_| refusal(401, ""));
    let (_port, closed) = closed_port();
    let setup = Setup::new()
        .table("sink.collector.http", &format!("url = \"{}\"", collector.url("/in")))
        .table("sink.siem.syslog", &format!("address = \"tcp://{closed}\""));
    let finished = probe(&setup);
    assert_eq!(finished.exit, Exit::Code(69), "{finished:?}");
    let (text, at) = (report(&finished), collector.address);
    for part in [
        format!("sink collector (http, http://{at}/in): failed\n  http://{at}/in answered 401 "),
        "\n  help: check the sink's credentials".to_owned(),
        format!("sink siem (syslog, tcp://{closed}): failed\n  tcp://{closed}: Connection refused"),
        "\n  help: check `address`, the server, and the firewalls between\n".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} not in {text}");
    }
    let summary = "logpushd: 2 of 2 probed sinks cannot deliver: collector, siem\n";
    assert!(finished.stderr.ends_with(summary), "{finished:?}");
}

/// The server is another daemon: it speaks TLS, and has a self-signed certificate.
#[test]
fn a_probe_verifies_certificates() {
    let server = Setup::new().start();
    let ca = server.path("fullchain.pem");
    let sinks = |tls: &str| {
        Setup::new()
            .table(
                "sink.collector.http",
                &format!("url = \"https://{}/in\"\n{tls}", server.address),
            )
            .table("sink.siem.syslog", &format!("address = \"tls://{}\"\n{tls}", server.address))
    };
    let finished = probe(&sinks(&format!("tls.ca_file = {ca:?}")));
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    let text = report(&finished);
    for part in ["/in answered 404 Not Found\n", ": connected, and verified the certificate\n"] {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
    let finished = probe(&sinks(""));
    assert_eq!(finished.exit, Exit::Code(69), "{finished:?}");
    let text = report(&finished);
    assert_eq!(
        text.matches("name the authority, or the certificate itself, in ca_file").count(),
        2,
        "{text}"
    );
    server.stop().exited_cleanly();
}

#[test]
fn files_and_standard_output_are_not_probed() {
    let finished = probe(&Setup::new());
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    assert_eq!(report(&finished), "no sink uses a network: nothing to probe\n");
    let both = finish(logpushd().args(["validate", "--probe", "--json"]));
    assert_eq!(both.exit, Exit::Code(64), "{both:?}");
}
