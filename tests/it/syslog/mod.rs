//! Records reach a syslog server unchanged and in order, also if the server is killed; then some
//! arrive twice.

/// The real ones.
mod foreign;
mod receiver;
mod servers;

use std::{collections::HashSet, fs, os::unix::net::UnixDatagram, thread, time::Duration};

use rustix::process::Signal;

pub(crate) use self::servers::syslog_ng;

use self::receiver::{FRAMING, Receiver, Transport};
use crate::support::{
    DEADLINE, Daemon, Exit, Setup, finish, logpushd, names_in, numbered, wait_for, wait_until,
};

const ERRORS: &str = r#"logpushd_sink_errors_total{sink="siem"}"#;
const RESENT: &str = r#"logpushd_sink_resent_records_total{sink="siem"}"#;

fn setup(address: &str, keys: &str) -> Setup {
    Setup::new()
        .without("sink.archive.file")
        .table("sink.siem.syslog", &format!("address = {address}\n{keys}"))
}

fn lines(records: &[u8]) -> Vec<String> {
    String::from_utf8(records.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

/// Asserts that each record arrived, in order if duplicates are left out.
#[track_caller]
fn check_order(what: &str, got: &[String], want: &[String]) {
    let mut seen = HashSet::new();
    let first: Vec<_> = got.iter().filter(|record| seen.insert(record.as_str())).collect();
    let at = first.iter().zip(want).take_while(|(got, want)| *got == want).count();
    assert!(
        first.len() == want.len() && at == want.len(),
        "{what}: {} of {} records, {} in all; they differ at {at}:\n got: {:?}\nwant: {:?}",
        first.len(),
        want.len(),
        got.len(),
        first.get(at),
        want.get(at)
    );
}

#[track_caller]
fn wait_records(what: &str, want: &[String], got: impl Fn() -> Vec<String>) {
    let last = want.last().unwrap();
    wait_until(what, || got().contains(last));
    check_order(what, &got(), want);
}

/// Commits numbered batches, and returns the records.
fn commit(daemon: &Daemon, batches: std::ops::Range<u64>, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let records = numbered(batch, count);
        daemon.commit(&records);
        all.extend(lines(&records));
    }
    all
}

#[test]
fn records_that_a_dead_server_had_not_stored_are_sent_again() {
    for transport in Transport::ALL {
        let receiver = Receiver::new(transport);
        // Long enough for a slow machine to reach the kill.
        let keys = format!("{}\nresend_window = \"1m\"", receiver.keys());
        let daemon = setup(&receiver.address(), &keys).start();
        let mut all = commit(&daemon, 0..5, 200);
        wait_until("the first records", || !receiver.records().is_empty());
        // It has read them, and is killed before it has stored them.
        receiver.kill(5 * 200);
        all.extend(commit(&daemon, 5..10, 200));
        daemon.wait_count(ERRORS, |errors| errors >= 2);
        receiver.restart();
        all.extend(commit(&daemon, 10..15, 200));
        wait_records(&format!("{transport:?}"), &all, || receiver.records());
        assert!(daemon.count(RESENT) > 0, "{transport:?}");
        let delivered = r#"logpushd_sink_delivered_records_total{sink="siem"}"#;
        // The server has it before the daemon counts it.
        daemon.wait_count(delivered, |delivered| delivered >= 3000);
        assert_eq!(daemon.count(delivered), 3000, "each is counted once");
        let stopped = daemon.stop().exited_cleanly();
        assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0], "{transport:?}");
    }
}

#[test]
fn a_suspended_daemon_resumes_without_sending_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    // Its queue is full: each send waits, with a deadline, and SIGCONT ends such a wait.
    let fill = || {
        // One socket each: a sender may queue less than the queue has room for.
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        filler.send_to(b"", &path).is_ok()
    };
    let mut fillers = 0;
    while fill() {
        fillers += 1;
    }
    let daemon = setup(&format!("\"unix://{}\"", path.display()), "timeout = \"1m\"").start();
    let all = commit(&daemon, 0..2, 20);
    daemon.wait_log("connected");
    for _ in 0..20 {
        daemon.signal(Signal::STOP);
        wait_until("a process that is stopped", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with('T')
        });
        daemon.signal(Signal::CONT);
    }
    let mut buffer = [0; 4096];
    let mut receive = || socket.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap();
    for _ in 0..fillers {
        assert_eq!(receive(), b"");
    }
    for record in &all {
        let message = String::from_utf8(receive()).unwrap();
        assert!(message.ends_with(record), "{message}");
    }
    assert_eq!(daemon.count(ERRORS), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn recently_sent_batches_stay_in_the_spool_until_confirmed() {
    let receiver = Receiver::new(Transport::Tcp);
    let keys = format!("{}\nresend_window = \"1h\"", receiver.keys());
    let daemon = setup(&receiver.address(), &keys).start();
    let all = commit(&daemon, 0..3, 10);
    wait_records("first", &all, || receiver.records());
    // A checkpoint is stored, and releases nothing.
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(names_in(&daemon.path("spool/batches")).len(), 3);

    let stopped = daemon.kill();
    receiver.kill(all.len());
    receiver.restart();
    let daemon = stopped.start();
    wait_records("after a crash", &all, || receiver.records());

    // A graceful close is as good as an acknowledgment.
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
    let before = receiver.records().len();
    let daemon = stopped.start();
    let more = commit(&daemon, 3..4, 10);
    wait_until("the next", || receiver.records().ends_with(&more));
    assert_eq!(receiver.records().len(), before + 10, "no record arrives twice");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_server_that_stops_reading_delays_no_shutdown_and_gets_its_records_later() {
    let receiver = Receiver::new(Transport::Tcp);
    let keys = format!("{}\ntimeout = \"2s\"", receiver.keys());
    let daemon = setup(&receiver.address(), &keys).start();
    receiver.stall();
    let count = 20_000;
    let all = commit(&daemon, 0..8, count);
    daemon.wait_count(ERRORS, |errors| errors >= 1);
    let failure = wait_for("a line", || daemon.logged("the sink failed").pop());
    let text = failure["error"].as_str().unwrap();
    assert!(text.contains("accepted no data for 2000ms"), "{text}");
    let stopped = daemon.stop().exited_cleanly();
    assert!(!names_in(&stopped.setup.path("spool/batches")).is_empty());

    receiver.kill(usize::MAX);
    receiver.restart();
    let daemon = stopped.start();
    wait_records("later", &all, || receiver.records());
    daemon.stop().exited_cleanly();
}

#[test]
fn an_untrusted_server_gets_nothing() {
    let receiver = Receiver::new(Transport::Tls);
    let cases = [
        (
            receiver.keys_without_certificate(),
            "requires a client certificate (received fatal alert: CertificateRequired): set cert_file and key_file",
        ),
        (receiver.keys_with_name("other.example"), "set tls.server_name"),
        (receiver.keys_trusting_another(), "name the authority that signed it in ca_file"),
        (format!("{FRAMING}tls = {{}}"), "UnknownIssuer"),
    ];
    for (keys, expected) in cases {
        let daemon = setup(&receiver.address(), &keys).start();
        commit(&daemon, 0..1, 3);
        daemon.wait_count(ERRORS, |errors| errors >= 1);
        let failure = wait_for("a line", || daemon.logged("the sink failed").pop());
        let text = failure["error"].as_str().unwrap();
        assert!(text.contains(expected) && text.contains("tls://"), "{text}");
        let stopped = daemon.stop().exited_cleanly();
        assert_eq!(names_in(&stopped.setup.path("spool/batches")).len(), 1);
    }
    assert_eq!(receiver.records(), [""; 0]);
}

/// As OpenSSL does: the certificate is listed, so it is trusted, although an authority issued it.
#[test]
fn a_self_signed_server_is_trusted_if_ca_file_lists_its_certificate() {
    let receiver = Receiver::self_signed();
    let daemon = setup(&receiver.address(), &receiver.keys()).start();
    let all = commit(&daemon, 0..2, 10);
    wait_records("over TLS", &all, || receiver.records());
    assert_eq!(daemon.logged("the sink failed"), [""; 0]);
    daemon.stop().exited_cleanly();
}

#[test]
fn validate_checks_the_certificates_of_a_sink() {
    let receiver = Receiver::new(Transport::Tls);
    let validate = |keys: &str| {
        let setup = setup(&receiver.address(), keys);
        let path = setup.write_config();
        finish(logpushd().args(["validate", "-c"]).arg(path))
    };
    assert_eq!(validate(&receiver.keys()).exit, Exit::Code(0));
    let refused = validate(&receiver.keys().replace("client.key", "ca.pem"));
    assert_eq!(refused.exit, Exit::Code(78));
    let expected = ["logpushd.toml:", ": no private key in ", "ca.pem: key_file expects"];
    assert!(expected.iter().all(|part| refused.stderr.contains(part)), "{}", refused.stderr);
}
