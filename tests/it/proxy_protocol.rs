//! Behind a proxy that sends PROXY protocol headers, the header sets the client's address. No other
//! client can set one.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::{
    net::{AddressFamily, SocketType, bind, connect, socket},
    process::Signal,
};

use crate::support::{
    DEADLINE, Daemon, Exit, SECRET, Setup, finish, free_port, logpushd, require, wait_until,
};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REFUSED: &str = "logpushd_refused_total{reason=\"proxy_header\"}";

/// A daemon behind a proxy on 127.0.0.1, whose endpoint allows one network.
fn setup(proxy: &str) -> Setup {
    Setup::new()
        .table("server", &format!("address = \"127.0.0.1:0\"\nproxy_protocol_from = [\"{proxy}\"]"))
        .table(
            "endpoint.main",
            "path = \"/logpush/{dataset}\"\nsecret_file = \"secrets.txt\"\n\
             allow_from = [\"192.0.2.0/24\", \"2001:db8::/32\", \"127.0.0.2\"]",
        )
}

fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, content].concat()
}

/// Sends a batch over a connection that starts with `header`. Returns the connection and the
/// status, or `None` if there is no TLS.
fn send(daemon: &Daemon, tcp: TcpStream, header: &[u8]) -> Option<(impl Sized + use<>, u16)> {
    (&tcp).write_all(header).unwrap();
    let mut tls = daemon.trust().over(tcp).ok()?;
    let request = format!(
        "POST /logpush/a HTTP/1.1\r\nhost: localhost\r\nx-logpush-secret: {SECRET}\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    tls.write_all(request.as_bytes()).ok()?;
    let mut start = [0; 12];
    tls.read_exact(&mut start).ok()?;
    let status = str::from_utf8(&start[9..]).unwrap().parse().unwrap();
    Some((tls, status))
}

fn status(daemon: &Daemon, header: &[u8]) -> Option<u16> {
    let tcp = TcpStream::connect(daemon.address).unwrap();
    send(daemon, tcp, header).map(|(_, status)| status)
}

#[test]
fn the_client_address_comes_from_the_header() {
    let daemon = setup("127.0.0.1").start();
    let allowed = [192, 0, 2, 1, 127, 0, 0, 1, 0x30, 0x39, 1, 187];
    let foreign = [198, 51, 100, 1, 127, 0, 0, 1, 0x30, 0x39, 1, 187];
    let tlvs = [&allowed[..], b"\x04\x00\x05abcde\x20\x00\x01x"].concat();
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let IpAddr::V6(v6) = v6 else { unreachable!() };
    let v6 = [&v6.octets()[..], &[0; 16], &[0, 7, 1, 187]].concat();
    let table: [(&[u8], Option<u16>); 9] = [
        (b"PROXY TCP4 192.0.2.1 127.0.0.1 12345 443\r\n", Some(200)),
        // As without a proxy, a connection that no endpoint allows is closed before TLS.
        (b"PROXY TCP4 198.51.100.1 127.0.0.1 12345 443\r\n", None),
        (b"PROXY TCP6 2001:db8::1 ::1 12345 443\r\n", Some(200)),
        // The proxy's own address: loopback is answered, so that an operator sees why.
        (b"PROXY UNKNOWN\r\n", Some(403)),
        (&v2(0x21, 0x11, &allowed), Some(200)),
        (&v2(0x21, 0x11, &tlvs), Some(200)),
        (&v2(0x21, 0x11, &foreign), None),
        (&v2(0x21, 0x21, &v6), Some(200)),
        (&v2(0x20, 0x00, &[]), Some(403)),
    ];
    for (header, expected) in table {
        assert_eq!(status(&daemon, header), expected, "{}", header.escape_ascii());
    }
    let committed = daemon.wait_logs("committed", 1);
    let peers: Vec<_> = committed.iter().map(|line| line["peer"].as_str().unwrap()).collect();
    assert!(peers.iter().any(|peer| peer.starts_with("192.0.2.1:")), "{peers:?}");
    assert_eq!(daemon.count("logpushd_refused_total{reason=\"forbidden\"}"), 2);
    assert_eq!(daemon.count("logpushd_refused_total{reason=\"address_not_allowed\"}"), 2);
    assert_eq!(daemon.count(REFUSED), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_proxy_must_send_a_header() {
    let daemon = setup("127.0.0.1").start();
    for header in [
        b"".as_slice(),
        b"PROXY TCP4 192.0.2.1 127.0.0.1 99999 443\r\n",
        &v2(0x21, 0x11, b"short"),
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(status(&daemon, header), None, "{}", header.escape_ascii());
    }
    daemon.wait_count(REFUSED, |count| count == 4);
    let line = daemon.wait_log("closed a connection from a proxy");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("send-proxy-v2"), "{error}");
    // A health check that only connects is no failure.
    drop(TcpStream::connect(daemon.address).unwrap());
    assert_eq!(status(&daemon, b"PROXY TCP4 192.0.2.1 127.0.0.1 1 443\r\n"), Some(200));
    assert_eq!(daemon.count(REFUSED), 4);
    daemon.stop().exited_cleanly();
}

#[test]
fn only_proxies_can_set_the_client_address() {
    let daemon = setup("192.0.2.77").start();
    assert_eq!(status(&daemon, b""), Some(403), "without a header it is served");
    assert_eq!(status(&daemon, b"PROXY TCP4 192.0.2.1 127.0.0.1 1 443\r\n"), None);
    let line = daemon.wait_log("tls handshake failed");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("server.proxy_protocol_from"), "{error}");

    // A reload makes it a proxy.
    let server = "address = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.0/8\"]";
    daemon.setup().write_config_with(&[("server", Some(server))]);
    daemon.signal(Signal::HUP);
    daemon.wait_log("reloaded");
    assert_eq!(status(&daemon, b"PROXY TCP4 192.0.2.1 127.0.0.1 1 443\r\n"), Some(200));
    assert_eq!(status(&daemon, b""), None);
    daemon.stop().exited_cleanly();
}

#[test]
fn connections_count_for_the_client_and_not_for_the_proxy() {
    let daemon = setup("127.0.0.1").table("limits", "max_connections_per_address = 2").start();
    let send = |header: &[u8]| send(&daemon, TcpStream::connect(daemon.address).unwrap(), header);
    let first = b"PROXY TCP4 192.0.2.1 127.0.0.1 1 443\r\n";
    // Verified by their request, so that none is closed for another.
    let held: Vec<_> = (0..2).map(|_| send(first).unwrap()).collect();
    assert!(held.iter().all(|(_, status)| *status == 200));
    assert!(send(first).is_none(), "the third connection of an address");
    for host in 2..6 {
        let other = format!("PROXY TCP4 192.0.2.{host} 127.0.0.1 1 443\r\n");
        assert_eq!(send(other.as_bytes()).unwrap().1, 200, "{other}");
    }
    let refused = "logpushd_refused_total{reason=\"too_many_connections\"}";
    daemon.wait_count(refused, |count| count == 1);
    drop(held);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_replay_on_the_host_of_a_proxy_is_accepted() {
    let port = free_port();
    let setup = Setup::new()
        .table(
            "server",
            &format!("address = \"127.0.0.1:{port}\"\nproxy_protocol_from = [\"127.0.0.1\"]"),
        )
        .table("limits", "max_record_bytes = \"1KiB\"")
        .table("spool", "dir = \"spool\"");
    let daemon = setup.start();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(2000));
    let tcp = TcpStream::connect(daemon.address).unwrap();
    (&tcp).write_all(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 443\r\n").unwrap();
    let mut tls = daemon.trust().over(tcp).unwrap();
    let request = format!(
        "POST /logpush/a HTTP/1.1\r\nhost: localhost\r\nx-logpush-secret: {SECRET}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{long}",
        long.len()
    );
    tls.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).ok();
    assert!(answer.contains("\"quarantined\":1"), "{answer}");
    wait_until("the record in quarantine", || {
        let list =
            finish(logpushd().args(["quarantine", "list", "-c"]).arg(daemon.setup().config()));
        list.stdout.contains("\n1 record, ")
    });
    // The limit is raised, and the record is valid.
    daemon.setup().write_config_with(&[("limits", None)]);
    daemon.signal(Signal::HUP);
    daemon.wait_log("reloaded");
    let replay =
        finish(logpushd().args(["quarantine", "replay", "-c"]).arg(daemon.setup().config()));
    assert_eq!(replay.exit, Exit::Code(0), "{} {}", replay.stdout, replay.stderr);
    daemon.wait_file("out/a.ndjson", format!("{long}\n").as_bytes());
    assert_eq!(daemon.count(REFUSED), 0);
    daemon.stop().exited_cleanly();
}

/// A program that is killed when this is dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts `HAProxy` in front of the daemon. Returns `None` and reports the reason if it is missing.
fn haproxy(directory: &Path, port: u16, daemon: SocketAddr, option: &str) -> Option<Proxy> {
    let config = directory.join("haproxy.cfg");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
         frontend https\n bind 127.0.0.1:{port}\n default_backend logpushd\n\
         backend logpushd\n server logpushd {daemon} {option}\n"
    );
    fs::write(&config, text).unwrap();
    if !require::has(&[&require::HAPROXY]) {
        return None;
    }
    let mut command = Command::new(require::program("haproxy")?);
    command.args(["-db", "-f"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let proxy = Proxy(command.spawn().unwrap());
    wait_until("HAProxy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(proxy)
}

/// Connects from an address of loopback.
fn connect_from(source: Ipv4Addr, target: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((source, 0))).unwrap();
    connect(&socket, &target).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn haproxy_sends_the_client_address_in_both_versions() {
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"]
    {
        let daemon = setup("127.0.0.1").start();
        let port = free_port();
        let Some(proxy) = haproxy(daemon.setup().directory(), port, daemon.address, option) else {
            return;
        };
        let target = (Ipv4Addr::LOCALHOST, port).into();
        // 127.0.0.2 is allowed, 127.0.0.3 and the proxy's own 127.0.0.1 are not.
        for (source, expected) in [(2, Some(200)), (3, None), (1, Some(403))] {
            let tcp = connect_from(Ipv4Addr::new(127, 0, 0, source), target);
            let status = send(&daemon, tcp, b"").map(|(_, status)| status);
            assert_eq!(status, expected, "from 127.0.0.{source} by {option}");
        }
        assert_eq!(daemon.count(REFUSED), 0);
        drop(proxy);
        daemon.stop().exited_cleanly();
    }
}
