//! Pebble, Let's Encrypt's own server for tests, with a DNS server that resolves every name to
//! 127.0.0.1.

use std::{
    fs::{self, File},
    io::Read as _,
    net::{TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use hyper::{HeaderMap, Method};
use logpushd::{
    config::HostPort,
    http_client::{BlockingClient, Request, Settings},
    tls,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{free_port, require, tls::Authority, wait_for, wait_until};

/// The settings of a Pebble.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// The port at which it validates names.
    pub(super) tls_port: u16,
    /// The lifetime of its certificates.
    pub(super) validity_seconds: u64,
    /// Of 100 valid nonces it rejects so many. A client with three rejected nonces in a row gives
    /// up for a while.
    pub(super) bad_nonces: u32,
}

impl Options {
    pub(super) fn new(tls_port: u16) -> Self {
        Self { tls_port, validity_seconds: 90 * 86_400, bad_nonces: 0 }
    }
}

/// A directory, and its settings while it is down.
pub(super) struct Pebble {
    dir: TempDir,
    port: u16,
    management: u16,
    running: Vec<Child>,
}

impl Pebble {
    /// A directory that does not run yet; `None` if the program is missing.
    pub(super) fn new() -> Option<Self> {
        if !require::has(&[&require::PEBBLE]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let pair = authority.sign_server();
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        fs::write(dir.path().join("cert.pem"), pair.cert).unwrap();
        fs::write(dir.path().join("key.pem"), pair.key).unwrap();
        Some(Self { dir, port: free_port(), management: free_port(), running: Vec::new() })
    }

    /// The keys of `[server.tls.acme]`.
    pub(super) fn keys(&self, domains: &str) -> String {
        format!(
            "domains = [{domains}]\ndirectory_url = \"https://127.0.0.1:{}/dir\"\n\
             directory_ca_file = \"{}\"\ncache_dir = \"acme\"",
            self.port,
            self.ca().display()
        )
    }

    fn ca(&self) -> std::path::PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Starts it. It remembers nothing of its previous run.
    pub(super) fn start(&mut self, options: Options) {
        self.stop();
        let dns = format!("127.0.0.1:{}", free_port());
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.dir.path().join("cert.pem"),
            "privateKey": self.dir.path().join("key.pem"),
            "httpPort": 1,
            "tlsPort": options.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": options.validity_seconds,
        }});
        let path = self.dir.path().join("pebble.json");
        fs::write(&path, config.to_string()).unwrap();

        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-dns01", &dns, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-management", &format!("127.0.0.1:{}", free_port())]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(&path).args(["-dnsserver", &dns]);
        // Its random delays serve no purpose here.
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        pebble.env("PEBBLE_WFE_NONCEREJECT", options.bad_nonces.to_string());
        // First the names: an order for a name that does not resolve fails for good.
        self.running.push(self.spawn(names, "names.log"));
        wait_until("names that resolve", || knows_names(&dns));
        self.running.push(self.spawn(pebble, "pebble.log"));
        for port in [self.port, self.management] {
            wait_until("pebble", || {
                let ended = self.running[1].try_wait().unwrap();
                assert!(ended.is_none(), "it has ended: {}", self.log());
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
    }

    pub(super) fn stop(&mut self) {
        for mut child in self.running.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its log.
    pub(super) fn log(&self) -> String {
        let mut text = String::new();
        File::open(self.dir.path().join("pebble.log")).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Writes the root certificate to a file. It changes at each start.
    pub(super) fn write_root(&self, path: &Path) {
        let server = HostPort { host: "127.0.0.1".to_owned(), port: self.management };
        let trust = tls::public(Some(&self.ca())).unwrap();
        let mut client = BlockingClient::new(Settings::new(trust)).unwrap();
        let request = Request {
            method: Method::GET,
            server,
            path: "/roots/0".to_owned(),
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        let root = wait_for("pebble's root", || client.send(&request).ok());
        assert_eq!(root.status, 200);
        fs::write(path, root.text + "\n").unwrap();
    }

    fn spawn(&self, mut command: Command, log: &str) -> Child {
        let log =
            File::options().create(true).append(true).open(self.dir.path().join(log)).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }
}

/// Whether a server answers a validation request for the address of a.test.
fn knows_names(dns: &str) -> bool {
    const QUESTION: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.connect(dns).unwrap();
    socket.send(QUESTION).is_ok() && socket.recv(&mut [0; 512]).is_ok()
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}
