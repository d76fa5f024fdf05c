//! The documented configurations of proxies, run as printed except for ports, names and paths.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustls::ClientConnection;

use crate::support::{
    DEADLINE, Daemon, SECRET, Setup, free_port, repository, require, wait_for, wait_until,
};

/// Stopped at the end of the test.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A block of code of the documentation: the one with this text in it.
fn printed(text: &str) -> String {
    let page = fs::read_to_string(repository("docs/guide/proxy.md")).unwrap();
    let blocks: Vec<_> = page.split("```").skip(1).step_by(2).collect();
    let block = blocks.iter().find(|block| block.contains(text)).unwrap();
    block.split_once('\n').unwrap().1.to_owned()
}

/// Replaces printed values with those of the test.
fn fitted(printed: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(printed.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in {text}");
        text.replace(from, to)
    })
}

fn start(command: &mut Command, output: &Path, port: u16) -> Proxy {
    let output = File::create(output).unwrap();
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let proxy = Proxy(command.spawn().unwrap());
    wait_until("the proxy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    proxy
}

fn connect(port: u16) -> TcpStream {
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    tcp
}

/// Sends a record, and returns the status.
fn post(mut stream: impl Read + Write) -> u16 {
    let request = format!(
        "POST /logpush/dns_logs HTTP/1.1\r\nhost: localhost\r\nx-logpush-secret: {SECRET}\r\n\
         content-length: 8\r\n\r\n{{\"a\":1}}\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    str::from_utf8(&start[9..]).unwrap().parse().unwrap()
}

fn path(daemon: &Daemon, name: &str) -> String {
    daemon.path(name).display().to_string()
}

#[test]
fn caddy_forwards_records_and_does_not_log_the_secret() {
    if !require::has(&[&require::CADDY]) {
        return;
    }
    let daemon = Setup::new().start();
    let port = free_port();
    let address = format!("https://{}", daemon.address);
    let text = fitted(
        &printed("tls_trusted_ca_certs"),
        &[
            // Not part of the test: its port, and its own certificates.
            ("    log {", "    admin off\n    auto_https off\n    log {"),
            ("logs.example.com", &format!("http://localhost:{port}")),
            ("https://127.0.0.1:8443", &address),
            ("/etc/caddy/logpushd.pem", &path(&daemon, "fullchain.pem")),
        ],
    );
    daemon.setup().write("Caddyfile", text);
    let output = daemon.path("caddy.log");
    let mut command = Command::new(require::program("caddy").unwrap());
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(daemon.path("Caddyfile"));
    command.env("HOME", daemon.path("")).env("XDG_DATA_HOME", daemon.path(""));
    command.env("XDG_CONFIG_HOME", daemon.path(""));
    let _proxy = start(&mut command, &output, port);
    assert_eq!(post(connect(port)), 200);
    daemon.wait_file("out/dns_logs.ndjson", b"{\"a\":1}\n");
    let _stopped = daemon.stop().exited_cleanly();
    assert_eq!(post(connect(port)), 502);
    let log = || fs::read_to_string(&output).unwrap();
    wait_until("the failure is in the log of the proxy", || log().contains("\"status\":502"));
    assert!(!log().contains(SECRET), "{}", log());
    // It would be in the log without the filter.
    assert!(log().contains("\"headers\":{"), "{}", log());
}

#[test]
fn nginx_forwards_records() {
    if !require::has(&[&require::NGINX]) {
        return;
    }
    let daemon = Setup::new().start();
    let port = free_port();
    let server = fitted(
        &printed("proxy_ssl_trusted_certificate"),
        &[
            ("listen 443 ", &format!("listen 127.0.0.1:{port} ")),
            (
                "/etc/letsencrypt/live/logs.example.com/fullchain.pem",
                &path(&daemon, "fullchain.pem"),
            ),
            ("/etc/letsencrypt/live/logs.example.com/privkey.pem", &path(&daemon, "privkey.pem")),
            ("https://127.0.0.1:8443", &format!("https://{}", daemon.address)),
            ("/etc/nginx/logpushd.pem", &path(&daemon, "fullchain.pem")),
        ],
    );
    let directory = path(&daemon, "");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {directory}/nginx-{kind};\n"))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {directory}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{server}}}\n"
    );
    daemon.setup().write("nginx.conf", text);
    let mut command = Command::new(require::program("nginx").unwrap());
    command.arg("-c").arg(daemon.path("nginx.conf"));
    let output = daemon.path("nginx.log");
    let _proxy = start(&mut command, &output, port);
    let trust = daemon.trust();
    assert_eq!(post(trust.over(connect(port)).unwrap()), 200);
    daemon.wait_file("out/dns_logs.ndjson", b"{\"a\":1}\n");
    let _stopped = daemon.stop().exited_cleanly();
    assert_eq!(post(trust.over(connect(port)).unwrap()), 502);
    assert!(!fs::read_to_string(&output).unwrap().contains(SECRET));
}

/// The daemon's settings for a proxy that sends the PROXY protocol.
const BEHIND_PROXY: &str = "address = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1\"]";

/// Runs `HAProxy` as it is printed, with this line for the daemon.
fn haproxy(daemon: &Daemon, server: &str) -> (Proxy, u16, TcpListener) {
    let port = free_port();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fitted(
        &printed("req.ssl_sni"),
        &[
            (":443", &format!("127.0.0.1:{port}")),
            ("logs.example.com", "localhost"),
            ("    server logpushd 127.0.0.1:8443\n", &format!("    {server}\n")),
            ("127.0.0.1:8443", &daemon.address.to_string()),
        ],
    );
    // The rest of a machine's configuration.
    let others = format!(
        "\nbackend web\n    mode tcp\n    timeout connect 3s\n    timeout server 2m\n    \
         server web {}\n",
        web.local_addr().unwrap()
    );
    daemon.setup().write("haproxy.cfg", text + &others);
    let mut command = Command::new(require::program("haproxy").unwrap());
    command.arg("-db").arg("-f").arg(daemon.path("haproxy.cfg"));
    (start(&mut command, &daemon.path("haproxy.log"), port), port, web)
}

#[test]
fn haproxy_forwards_only_connections_for_the_daemon() {
    if !require::has(&[&require::HAPROXY]) {
        return;
    }
    let daemon = Setup::new().start();
    let (_proxy, port, web) = haproxy(&daemon, "server logpushd 127.0.0.1:8443");
    assert_eq!(post(daemon.trust().over(connect(port)).unwrap()), 200);
    daemon.wait_file("out/dns_logs.ndjson", b"{\"a\":1}\n");
    // Another name in the handshake.
    assert_goes_to(&web, &handshake_for(&daemon, port));
}

#[test]
fn haproxy_sends_the_client_address_to_the_daemon() {
    if !require::has(&[&require::HAPROXY]) {
        return;
    }
    for line in table("HAProxy") {
        let daemon = Setup::new().table("server", BEHIND_PROXY).start();
        let (_proxy, port, _web) = haproxy(&daemon, &line);
        assert_eq!(post(daemon.trust().over(connect(port)).unwrap()), 200, "{line}");
        daemon.wait_file("out/dns_logs.ndjson", b"{\"a\":1}\n");
        daemon.stop().exited_cleanly();
    }
}

/// Runs nginx's stream module as it is printed, with this additional line in the block of the
/// server.
fn nginx_stream(daemon: &Daemon, more: &str) -> (Proxy, u16, TcpListener) {
    let port = free_port();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fitted(
        &printed("ssl_preread"),
        &[
            ("listen 443;", &format!("listen 127.0.0.1:{port};\n        {more}")),
            ("logs.example.com", "localhost"),
            ("127.0.0.1:8443", &daemon.address.to_string()),
            ("127.0.0.1:10443", &web.local_addr().unwrap().to_string()),
        ],
    );
    let module = require::file_in(require::NGINX_MODULES, "ngx_stream_module.so").unwrap();
    let directory = path(daemon, "");
    let text = format!(
        "load_module {};\ndaemon off;\nmaster_process off;\npid {directory}/nginx.pid;\n\
         error_log stderr;\nevents {{}}\n{text}",
        module.display()
    );
    daemon.setup().write("nginx.conf", text);
    let mut command = Command::new(require::program("nginx").unwrap());
    command.arg("-c").arg(daemon.path("nginx.conf"));
    (start(&mut command, &daemon.path("nginx.log"), port), port, web)
}

#[test]
fn nginx_forwards_only_connections_for_the_daemon() {
    if !require::has(&[&require::NGINX, &require::NGINX_STREAM]) {
        return;
    }
    let daemon = Setup::new().start();
    let (_proxy, port, web) = nginx_stream(&daemon, "");
    assert_eq!(post(daemon.trust().over(connect(port)).unwrap()), 200);
    daemon.wait_file("out/dns_logs.ndjson", b"{\"a\":1}\n");
    assert_goes_to(&web, &handshake_for(&daemon, port));
}

#[test]
fn nginx_sends_the_client_address_to_the_daemon() {
    if !require::has(&[&require::NGINX, &require::NGINX_STREAM]) {
        return;
    }
    for line in table("nginx, stream module") {
        let daemon = Setup::new().table("server", BEHIND_PROXY).start();
        let (_proxy, port, _web) = nginx_stream(&daemon, &line);
        assert_eq!(post(daemon.trust().over(connect(port)).unwrap()), 200, "{line}");
        daemon.wait_file("out/dns_logs.ndjson", b"{\"a\":1}\n");
        daemon.stop().exited_cleanly();
    }
}

/// The settings that the table of proxies prints for one: also the one in brackets.
fn table(proxy: &str) -> Vec<String> {
    let page = fs::read_to_string(repository("docs/guide/proxy.md")).unwrap();
    let row = page.lines().find_map(|line| line.strip_prefix(&format!("| {proxy} | "))).unwrap();
    let code: Vec<_> = row.split('`').skip(1).step_by(2).collect();
    let first = code[0].to_owned();
    let Some(other) = code.get(1).filter(|other| other.starts_with("send-proxy")) else {
        return vec![first];
    };
    let (begin, _) = first.rsplit_once(' ').unwrap();
    vec![first.clone(), format!("{begin} {other}")]
}

/// Starts a handshake with another name.
fn handshake_for(daemon: &Daemon, port: u16) -> TcpStream {
    let mut tcp = connect(port);
    let name = "other.example.com".try_into().unwrap();
    let mut tls = ClientConnection::new(daemon.trust().config(&[]), name).unwrap();
    tls.write_tls(&mut tcp).unwrap();
    tcp
}

/// Asserts that another server gets the data of this client.
#[track_caller]
fn assert_goes_to(web: &TcpListener, _client: &TcpStream) {
    web.set_nonblocking(true).unwrap();
    let mut first = [0];
    // A connection that only showed that the proxy listens may come first.
    loop {
        let (mut got, _) = wait_for("a connection to the other server", || web.accept().ok());
        got.set_nonblocking(false).unwrap();
        got.set_read_timeout(Some(DEADLINE)).unwrap();
        if got.read_exact(&mut first).is_ok() {
            break;
        }
    }
    // A TLS handshake.
    assert_eq!(first, [22]);
}
