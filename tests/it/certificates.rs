//! A new certificate is loaded as soon as its files are written, and an old one is warned of.

use std::fs;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{CertificateParams, KeyPair};

use crate::support::{
    Connection, Daemon, Exit, Http, Setup, Upload, finish, logpushd,
    tls::{Client, Pair},
    wait_for,
};

const TAKEN: &str = "changed certificate files loaded";
const REFUSED: &str = "cannot load the changed certificate files, keeping the old certificate";

/// Valid until midnight (UTC) in so many days.
fn valid_for(days: i64) -> Pair {
    let end = Timestamp::now().to_zoned(TimeZone::UTC).date().saturating_add(days.days());
    let month = u8::try_from(end.month()).unwrap();
    let day = u8::try_from(end.day()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).unwrap();
    params.not_after = rcgen::date_time_ymd(end.year().into(), month, day);
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn with(pair: &Pair) -> Setup {
    let keys = "cert_file = \"fullchain.pem\"\nkey_file = \"privkey.pem\"";
    let setup = Setup::new().table("server.tls", keys);
    put(&setup, pair);
    setup
}

/// As an ACME client would write them: one file, then the other.
fn put(setup: &Setup, pair: &Pair) {
    replace(setup, "fullchain.pem", &pair.cert);
    replace(setup, "privkey.pem", &pair.key);
}

/// Atomically: a check in between finds the old file or the new one, and never the same twice.
fn replace(setup: &Setup, name: &str, content: &str) {
    setup.write("beside", content);
    fs::rename(setup.path("beside"), setup.path(name)).unwrap();
}

fn shown(daemon: &Daemon) -> Vec<u8> {
    let trust = Client::trusting(&daemon.path("trusted.pem"));
    let connection = Connection::open(daemon.address, trust, Http::Two);
    connection.map(|connection| connection.certificate.to_vec()).unwrap_or_default()
}

#[test]
fn changed_files_are_loaded_without_a_signal_and_connections_stay_open() {
    let first = Pair::self_signed();
    let daemon = with(&first).start();
    let old: Vec<Connection> = Http::BOTH.map(|http| daemon.connect(http)).into();

    let next = Pair::self_signed();
    daemon.setup().write("trusted.pem", &next.cert);
    put(daemon.setup(), &next);
    daemon.wait_log(TAKEN);
    assert_eq!(shown(&daemon), next.der().to_vec());
    for connection in &old {
        assert_eq!(connection.certificate, first.der());
        let record = Upload::of("{\"a\":1}\n").gzipped();
        assert_eq!(connection.send(record).committed(), 1);
    }

    // Files that do not match are reported once, and change nothing. Between the two writes above
    // the files do not match either, should that take a while.
    let before = daemon.logged(REFUSED).len();
    replace(daemon.setup(), "privkey.pem", &Pair::self_signed().key);
    let complaint = daemon.wait_logs(REFUSED, before + 1).remove(before);
    assert!(complaint["error"].as_str().unwrap().contains("does not belong"), "{complaint}");
    assert_eq!(shown(&daemon), next.der().to_vec());
    let taken = daemon.logged(TAKEN).len();
    replace(daemon.setup(), "privkey.pem", &next.key);
    daemon.wait_logs(TAKEN, taken + 1);
    assert_eq!(daemon.logged(REFUSED).len(), before + 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_certificate_that_expires_soon_is_logged() {
    let far = valid_for(60);
    for (days, level, says) in [
        (20, Some("WARN"), "the certificate expires in "),
        (-1, Some("ERROR"), "the certificate has expired, at "),
        (60, None, "the certificate "),
    ] {
        let setup = with(&valid_for(days));
        let validated = finish(logpushd().args(["validate", "-c"]).arg(setup.write_config()));
        assert_eq!(validated.exit, Exit::Code(0), "{validated:?}");
        assert!(validated.stdout.contains(": ok"), "{validated:?}");
        assert_eq!(validated.stderr.contains(says), level.is_some(), "{validated:?}");

        let daemon = setup.start();
        if let Some(level) = level {
            let line = wait_for(says, || daemon.logged(says).into_iter().next());
            assert_eq!(line["level"], level, "{line}");
            assert!(line["message"].as_str().unwrap().contains("renew it"), "{line}");
        }
        // The next check would have reported this one.
        put(daemon.setup(), &far);
        daemon.wait_logs(TAKEN, 1);
        put(daemon.setup(), &far);
        daemon.wait_logs(TAKEN, 2);
        assert_eq!(
            daemon.logged("the certificate expire").len(),
            usize::from(days > 0 && days < 21)
        );
        daemon.stop().exited_cleanly();
    }
}
