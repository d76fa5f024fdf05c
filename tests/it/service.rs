//! Notifications to the service manager (readiness, reloads, stop, watchdog), and what it passes:
//! listening sockets.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::support::{
    Connection, DEADLINE, Exit, Http, Setup, Upload, finish, logpushd, small_records, tls::Pair,
};

/// The receiving end of a service manager.
struct Manager {
    socket: UnixDatagram,
    /// The messages received, and not yet read.
    heard: Vec<String>,
}

impl Manager {
    fn of(setup: &mut Setup) -> Self {
        let path = setup.path("notify");
        // The environment of an earlier daemon.
        std::fs::remove_file(&path).ok();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        setup.service.env.push(("NOTIFY_SOCKET", path.to_str().unwrap().to_owned()));
        Self { socket, heard: Vec::new() }
    }

    fn next(&mut self) -> String {
        let mut bytes = [0; 4096];
        let came = self.socket.recv(&mut bytes);
        let length = came.unwrap_or_else(|error| panic!("{error} after {:?}", self.heard));
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        self.heard.push(text.clone());
        text
    }

    /// Waits for a message that contains this.
    #[track_caller]
    fn wait(&mut self, what: &str) -> String {
        loop {
            let text = self.next();
            if text.contains(what) {
                return text;
            }
        }
    }
}

#[test]
fn the_service_manager_is_notified_of_start_reload_and_stop() {
    let mut setup = Setup::new();
    let mut manager = Manager::of(&mut setup);
    let daemon = setup.start();
    let opening = manager.next();
    assert!(opening.contains("STATUS=opening the spool\nEXTEND_TIMEOUT_USEC="), "{opening}");
    assert_eq!(manager.next(), "READY=1", "and nothing before the daemon is ready");
    manager.wait("STATUS=receiving; batches in the spool: 0");

    daemon.signal(Signal::HUP);
    assert!(manager.wait("RELOADING=1").contains("\nMONOTONIC_USEC="));
    manager.wait("READY=1");

    daemon.signal(Signal::TERM);
    manager.wait("STOPPING=1");
    daemon.end().exited_cleanly();
    assert!(
        !manager.heard.iter().any(|text| text.contains("WATCHDOG")),
        "no watchdog was requested"
    );
}

#[test]
fn certificates_keys_and_secrets_may_be_credentials() {
    let mut setup = Setup::new()
        .table("server.tls", "cert_file = \"credential:chain\"\nkey_file = \"credential:key.pem\"")
        .table("endpoint.main", "path = \"/logpush/{dataset}\"\nsecret_file = \"credential:s\"");
    let pair = Pair::self_signed();
    std::fs::create_dir(setup.path("given")).unwrap();
    setup.write("given/chain", &pair.cert);
    setup.write("given/key.pem", &pair.key);
    setup.write("given/s", "first");
    // For the client alone.
    setup.write("fullchain.pem", &pair.cert);
    let given = setup.path("given").to_str().unwrap().to_owned();
    setup.service.env.push(("CREDENTIALS_DIRECTORY", given));
    let daemon = setup.start();
    let status = |secret: &str| daemon.send(Http::One, Upload::of("test").secret(secret)).status;
    assert_eq!((status("first"), status("next")), (200, 401));
    daemon.setup().write("given/s", "next");
    daemon.signal(Signal::HUP);
    daemon.wait_log("reloaded");
    assert_eq!((status("first"), status("next")), (401, 200));
    let stopped = daemon.stop().exited_cleanly();

    let validate = finish(
        logpushd()
            .args(["validate", "-c"])
            .arg(stopped.setup.config())
            .env_remove("CREDENTIALS_DIRECTORY"),
    );
    assert_eq!(validate.exit, Exit::Code(78));
    assert!(validate.stderr.contains("LoadCredential=key.pem:PATH"), "{}", validate.stderr);
}

#[test]
fn credentials_are_found_by_their_file_names() {
    // As the unit has it: systemd loads `credentials/` as `credentials_NAME`, and mounts that over it.
    let mut setup = Setup::new()
        .table(
            "endpoint.main",
            "path = \"/a\"\ndataset = \"a\"\nsecret_file = \"given/second.txt\"",
        )
        .table(
            "endpoint.b",
            "path = \"/b\"\ndataset = \"b\"\nsecret_file = \"credential:third.txt\"",
        );
    let given = std::fs::canonicalize(setup.directory()).unwrap().join("given");
    std::fs::create_dir(&given).unwrap();
    setup.write("given/credentials_second.txt", "the-second-secret-of-all");
    setup.write("given/credentials_third.txt", "the-third-secret-of-them");
    setup.service.env.push(("CREDENTIALS_DIRECTORY", given.to_str().unwrap().to_owned()));
    let daemon = setup.start();
    for (path, secret) in [("/a", "the-second-secret-of-all"), ("/b", "the-third-secret-of-them")] {
        let answer = daemon.send(Http::One, Upload::of("{}").to(path).secret(secret));
        assert_eq!(answer.status, 200, "{path}");
    }
    let stopped = daemon.stop().exited_cleanly();

    std::fs::remove_file(given.join("credentials_second.txt")).unwrap();
    let mut validate = logpushd();
    validate.args(["validate", "-c"]).arg(stopped.setup.config());
    let validate = finish(validate.env("CREDENTIALS_DIRECTORY", &given));
    assert_eq!(validate.exit, Exit::Code(78));
    let advice = format!("add LoadCredential=second.txt:{}", given.join("second.txt").display());
    let text = validate.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&advice), "{text}");
}

#[test]
fn a_full_spool_is_in_the_status() {
    let mut setup = Setup::new().table("spool", "dir = \"spool\"\nmax_bytes = \"256KiB\"");
    // A directory has replaced the file.
    std::fs::create_dir_all(setup.path("out/http_requests.ndjson")).unwrap();
    let mut manager = Manager::of(&mut setup);
    let daemon = setup.start();
    let mut seed = 0;
    let full = std::iter::from_fn(|| {
        seed += 1;
        // Of unknown length, so that the spool fills completely.
        let (upload, feed) = Upload::fed(None);
        assert!(feed.push(&small_records(seed, 100)));
        drop(feed);
        Some(daemon.send(Http::Two, upload).status)
    });
    assert_eq!(full.take(100).find(|status| *status != 200), Some(503));
    // The status has the reason; the first values are those of the previous state.
    manager
        .wait("STATUS=refusing: the spool is full (spool.max_bytes = 256 KiB): the sink archive");
    std::fs::remove_dir(daemon.path("out/http_requests.ndjson")).unwrap();
    manager.wait("STATUS=receiving");
    daemon.stop().exited_cleanly();
}

#[test]
fn watchdog_notifications_continue_until_the_stop() {
    let mut setup = Setup::new();
    let mut manager = Manager::of(&mut setup);
    setup.service.env.push(("WATCHDOG_USEC", "400000".to_owned()));
    let daemon = setup.start();
    manager.wait("READY=1");
    for _ in 0..3 {
        manager.wait("WATCHDOG=1");
    }
    // A request in progress delays the stop, and the notifications continue.
    let records = small_records(1, 100);
    let connection = daemon.connect(Http::One);
    let (upload, feed) = Upload::fed(Some(records.len() as u64));
    thread::scope(|scope| {
        let answer = scope.spawn(|| connection.send(upload));
        assert!(feed.push(&records[..10]));
        daemon.wait_count("logpushd_received_bytes_total", |bytes| bytes > 0);
        daemon.signal(Signal::TERM);
        manager.wait("STOPPING=1");
        manager.wait("WATCHDOG=1");
        manager.wait("WATCHDOG=1");
        assert!(feed.push(&records[10..]));
        assert_eq!(answer.join().unwrap().committed(), 100);
    });
    daemon.end().exited_cleanly();
}

#[test]
fn a_watchdog_of_another_process_is_ignored() {
    let mut setup = Setup::new();
    let mut manager = Manager::of(&mut setup);
    let env = [("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")];
    setup.service.env.extend(env.map(|(name, value)| (name, value.to_owned())));
    let daemon = setup.start();
    manager.wait("STATUS=receiving");
    daemon.stop().exited_cleanly();
    manager.wait("STOPPING=1");
    assert!(!manager.heard.iter().any(|text| text.contains("WATCHDOG")), "{:?}", manager.heard);
}

#[test]
fn a_restart_refuses_no_connection_on_a_socket_that_was_passed() {
    let mut setup = Setup::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    setup.service.socket = Some((socket.into(), "https"));
    let mut daemon = setup.start();
    assert_eq!(daemon.address, address);
    assert_ne!(daemon.admin, address);
    daemon.commit(b"{\"a\":0}\n");
    let mut all = b"{\"a\":0}\n".to_vec();
    let over = AtomicBool::new(false);
    let daemon = thread::scope(|scope| {
        let knocks = scope.spawn(|| {
            let mut knocks = 0;
            while !over.load(Ordering::Relaxed) {
                TcpStream::connect(address).expect("the connection is accepted");
                knocks += 1;
                thread::sleep(Duration::from_millis(5));
            }
            knocks
        });
        for round in 1..4 {
            let trust = daemon.trust();
            let stopped = daemon.stop().exited_cleanly();
            let record = format!("{{\"a\":{round}}}\n");
            all.extend(record.as_bytes());
            // The request arrives while no daemon runs, and the next one answers it.
            let waiting = scope.spawn(move || {
                let connection = Connection::open(address, trust, Http::Two).unwrap();
                connection.send(Upload::of(record)).committed()
            });
            daemon = stopped.start();
            assert_eq!(waiting.join().unwrap(), 1);
        }
        over.store(true, Ordering::Relaxed);
        assert!(knocks.join().unwrap() > 3);
        daemon
    });
    assert_eq!(daemon.stop().exited_cleanly().file("out/http_requests.ndjson"), all);
}

#[test]
fn the_socket_of_the_admin_listener_is_recognized_by_its_name() {
    let mut setup = Setup::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    setup.service.socket = Some((socket.into(), "admin"));
    let daemon = setup.start();
    assert_eq!(daemon.admin, address);
    assert_eq!(daemon.ask("/readyz").0, 200);
    daemon.commit(b"{\"a\":0}\n");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_passed_socket_with_another_address_is_used_and_logged() {
    let mut setup = Setup::new().table("server", "address = \"127.0.0.1:1\"");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    setup.service.socket = Some((socket.into(), "logpushd.socket"));
    let daemon = setup.start();
    daemon.wait_log("server.address contains 127.0.0.1:1, but no socket of the service manager");
    daemon.commit(b"{\"a\":0}\n");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_passed_socket_of_another_type_is_reported() {
    let mut setup = Setup::new();
    setup.service.socket = Some((UdpSocket::bind("127.0.0.1:0").unwrap().into(), "https"));
    let Err(stopped) = setup.try_start() else { panic!("it started") };
    assert_eq!(stopped.exit, Exit::Code(69));
    assert!(stopped.log.contains("socket 0 (\"https\") of the service manager"), "{}", stopped.log);
    assert!(stopped.log.contains("ListenStream="), "{}", stopped.log);
}
