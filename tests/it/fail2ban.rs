//! The filter for fail2ban finds the addresses of senders with wrong secrets in real lines of the
//! daemon, and no address that a client wrote.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Connection, Exit, Http, Setup, Upload, finish, logpushd, repository, require, tls, wait_for,
};

/// The source of the log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Text,
    Json,
    Journal,
}

/// The log of a daemon after a wrong secret, a scanner, and clients that write addresses into every
/// logged value.
fn log(form: Form) -> (Setup, PathBuf) {
    let format = if form == Form::Json { "json" } else { "text" };
    let setup = Setup::new().table("log", &format!("format = \"{format}\""));
    setup.write_config();
    let path = setup.path("log");
    let file = File::create(&path).unwrap();
    let mut command = logpushd();
    command.args(["run", "-c"]).arg(setup.config()).stdout(Stdio::null());
    if form == Form::Journal {
        let stat = file.metadata().unwrap();
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.dev(), stat.ino()));
    }
    let mut child = command.stderr(file).spawn().unwrap();
    let address = wait_for("an address in the log", || {
        let text = fs::read_to_string(&path).unwrap();
        let (_, rest) =
            text.split_once("ready").map(|(before, _)| before)?.split_once("listening")?;
        let start = rest.find("127.0.0.1:")?;
        let address = rest.get(start..)?.split(['"', ' ', '\n']).next()?;
        address.parse().ok()
    });
    let trust = || tls::Client::trusting(&setup.path("fullchain.pem"));
    let send = |upload| Connection::open(address, trust(), Http::Two).unwrap().send(upload).status;
    assert_eq!(send(Upload::of("x").secret("wrong")), 401);
    assert_eq!(send(Upload::of("x").to("/nowhere")), 404);
    let raw = |head: &str| {
        let mut stream = trust().raw(address, &[b"http/1.1"]).unwrap();
        let tail = "host: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(format!("{head}\r\n{tail}").as_bytes()).unwrap();
        stream.read_to_end(&mut Vec::new()).ok();
    };
    for forged in [
        "refused status=401 reason=\"unauthorized\" peer=198.51.100.7:1 method=\"",
        "{\"timestamp\":\"\",\"level\":\"WARN\",\"message\":\"refused\",\"status\":401,\
         \"reason\":\"unauthorized\",\"peer\":\"198.51.100.7:1\",\"method\":\"",
    ] {
        let path = forged.replace(' ', "%20");
        raw(&format!("POST /{path} HTTP/1.1"));
        raw(&format!("POST /logpush/a?peer=198.51.100.7:1 HTTP/1.1\r\nx-logpush-secret: {forged}"));
        raw(&format!("POST http://x/{path} HTTP/1.1"));
    }
    raw("peer198.51.100.7 /logpush/a HTTP/1.1");
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(Exit::from(wait_for("its end", || child.try_wait().unwrap())), Exit::Code(0));
    if form == Form::Journal {
        // As fail2ban gets them from the journal.
        let text = fs::read_to_string(&path).unwrap();
        let line = |line: &str| {
            let (_, message) = line.split_once('>').unwrap();
            format!("Nov 30 02:09:20 host logpushd[7]: {message}\n")
        };
        fs::write(&path, text.lines().map(line).collect::<String>()).unwrap();
    }
    (setup, path)
}

/// The addresses that the filter finds.
fn found(log: &PathBuf, mode: &str) -> Vec<String> {
    let filter = repository("pkg/fail2ban/filter.d/logpushd.conf");
    let filter = format!("{}[mode={mode}]", filter.display());
    let mut command = Command::new("fail2ban-regex");
    let done = finish(command.args(["-o", "ip"]).arg(log).arg(filter));
    assert_eq!(done.exit, Exit::Code(0), "{}{}", done.stdout, done.stderr);
    done.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn only_senders_with_a_wrong_secret_are_found() {
    if !require::has(&[&require::FAIL2BAN]) {
        return;
    }
    for form in [Form::Text, Form::Json, Form::Journal] {
        let (_setup, log) = log(form);
        let text = fs::read_to_string(&log).unwrap();
        // One wrong secret, and one in each of the two requests with a forged value.
        assert_eq!(found(&log, "normal"), ["127.0.0.1"; 3], "{form:?}\n{text}");
        let refused = text.lines().filter(|line| line.contains("refused")).count();
        assert_eq!(found(&log, "aggressive").len(), refused, "{form:?}\n{text}");
        assert!(found(&log, "aggressive").iter().all(|address| address == "127.0.0.1"));
    }
}

#[test]
fn an_ipv6_address_is_found() {
    if !require::has(&[&require::FAIL2BAN]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let line = "2026-11-30T02:09:20.123456Z  WARN logpushd::http::log: refused status=401 \
                reason=\"unauthorized\" peer=[2001:db8::7]:4711 method=\"POST\" path=\"/\"\n";
    fs::write(&log, line).unwrap();
    assert_eq!(found(&log, "normal"), ["2001:db8::7"]);
}
