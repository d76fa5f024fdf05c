//! rsyslog and syslog-ng as processes, with an input for each way to send.

use std::{
    env,
    fmt::Write as _,
    fs,
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use logpushd::sink::message::Message;
use tempfile::TempDir;

use crate::support::{free_port, require, tls::Authority, wait_until};

/// A way to send, and the sink that does.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) transport: &'static str,
    pub(super) framing: &'static str,
    pub(super) format: &'static str,
    port: u16,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Rsyslog,
    SyslogNg,
}

/// A server that runs.
pub(super) struct Server {
    kind: Kind,
    dir: TempDir,
    ways: Vec<Way>,
    child: Option<Child>,
    /// Each life writes files of its own: one that was killed may end in half a line.
    life: u32,
}

const OCTETS: &str = "octet_counting";
const LINES: &str = "newline";
const NEW: &str = "rfc5424";
const OLD: &str = "rfc3164";

/// Name, transport, framing, format. A datagram has no framing: any will do. A name may end in what the
/// body is.
const RSYSLOG: &[(&str, &str, &str, &str)] = &[
    ("udp_new", "udp", OCTETS, NEW),
    ("udp_old", "udp", OCTETS, OLD),
    ("tcp_octets_new", "tcp", OCTETS, NEW),
    ("tcp_octets_old", "tcp", OCTETS, OLD),
    ("tcp_lines_new", "tcp", LINES, NEW),
    ("tcp_lines_old", "tcp", LINES, OLD),
    ("tcp_octets_cef", "tcp", OCTETS, NEW),
    ("tcp_octets_leef", "tcp", OCTETS, NEW),
    ("tls_octets_new", "tls", OCTETS, NEW),
    ("tls_octets_old", "tls", OCTETS, OLD),
    ("tls_lines_new", "tls", LINES, NEW),
    ("tls_lines_old", "tls", LINES, OLD),
    ("datagram_new", "datagram", OCTETS, NEW),
    ("datagram_old", "datagram", OCTETS, OLD),
    ("stream_octets_new", "stream", OCTETS, NEW),
    ("stream_octets_old", "stream", OCTETS, OLD),
    ("stream_lines_new", "stream", LINES, NEW),
    ("stream_lines_old", "stream", LINES, OLD),
];

/// Its `syslog()` counts octets and takes RFC 5424, its `network()` takes lines of both forms; unix
/// streams are lines.
const SYSLOG_NG: &[(&str, &str, &str, &str)] = &[
    ("udp_new", "udp", OCTETS, NEW),
    ("udp_old", "udp", OCTETS, OLD),
    ("tcp_octets_new", "tcp", OCTETS, NEW),
    ("tcp_lines_new", "tcp", LINES, NEW),
    ("tcp_lines_old", "tcp", LINES, OLD),
    ("tcp_octets_cef", "tcp", OCTETS, NEW),
    ("tcp_octets_leef", "tcp", OCTETS, NEW),
    ("tls_octets_new", "tls", OCTETS, NEW),
    ("tls_lines_new", "tls", LINES, NEW),
    ("tls_lines_old", "tls", LINES, OLD),
    ("datagram_new", "datagram", OCTETS, NEW),
    ("datagram_old", "datagram", OCTETS, OLD),
    ("stream_lines_new", "stream", LINES, NEW),
    ("stream_lines_old", "stream", LINES, OLD),
];

impl Way {
    pub(super) fn message(&self) -> Message {
        match self.name.rsplit('_').next() {
            Some("cef") => Message::Cef,
            Some("leef") => Message::Leef,
            _ => Message::Json,
        }
    }
}

impl Kind {
    /// How to start it, if it is there.
    pub(super) fn command(self) -> Option<Command> {
        match self {
            Self::Rsyslog => Some(Command::new(require::program("rsyslogd")?)),
            Self::SyslogNg => syslog_ng(),
        }
    }

    fn ways(self) -> Vec<Way> {
        let list = if self == Self::Rsyslog { RSYSLOG } else { SYSLOG_NG };
        list.iter()
            .map(|(name, transport, framing, format)| {
                // It must be known before the server starts, and stay when it starts again.
                Way { name, transport, framing, format, port: free_port() }
            })
            .collect()
    }
}

/// How to start syslog-ng, if it is there. It excludes rsyslog on Debian: `LOGPUSHD_SYSLOG_NG` is a
/// directory where its packages were unpacked.
pub(crate) fn syslog_ng() -> Option<Command> {
    let unpacked = env::var_os("LOGPUSHD_SYSLOG_NG").map(PathBuf::from);
    let Some(root) = unpacked else {
        let command = Command::new("/usr/sbin/syslog-ng");
        return Path::new(command.get_program()).exists().then_some(command);
    };
    let mut command = Command::new(root.join("usr/sbin/syslog-ng"));
    let lib = root.join("usr/lib");
    let arch = format!("{}-linux-gnu", env::consts::ARCH);
    let libraries = [lib.join("syslog-ng"), lib.join(&arch), root.join("lib").join(&arch)];
    command.env("LD_LIBRARY_PATH", env::join_paths(libraries).unwrap());
    let modules = fs::read_dir(lib.join("syslog-ng")).ok()?;
    let modules = modules.map(|entry| entry.unwrap().path()).find(|path| path.is_dir())?;
    command.arg("--module-path").arg(modules);
    Some(command)
}

impl Server {
    pub(super) fn start(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        for (name, pair) in [("server", authority.sign_server()), ("client", authority.sign())] {
            fs::write(dir.path().join(format!("{name}.pem")), pair.cert).unwrap();
            fs::write(dir.path().join(format!("{name}.key")), pair.key).unwrap();
        }
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        let mut server = Self { kind, dir, ways: kind.ways(), child: None, life: 0 };
        server.revive();
        server
    }

    pub(super) fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// The keys of a sink that sends in this way.
    pub(super) fn keys(&self, way: &Way) -> String {
        let dir = self.dir.path().display();
        let Way { framing, format, port, name, transport } = way;
        let message = match way.message() {
            Message::Json => "json",
            Message::Cef => "cef",
            Message::Leef | Message::Leef1 => "leef",
        };
        let address = match *transport {
            "datagram" | "stream" => format!("unix://{dir}/{name}"),
            network => format!("{network}://localhost:{port}"),
        };
        let keys = format!(
            "address = \"{address}\"\nframing = \"{framing}\"\nformat = \"{format}\"\nmessage = \"{message}\"\n"
        );
        if *transport != "tls" {
            return keys;
        }
        format!(
            "{keys}tls = {{ ca_file = \"{dir}/ca.pem\", cert_file = \"{dir}/client.pem\", key_file = \"{dir}/client.key\" }}"
        )
    }

    /// The whole lines that it has written for this way, over all lives.
    pub(super) fn records(&self, way: &Way) -> Vec<String> {
        let mut records = Vec::new();
        for life in 1..=self.life {
            let text = fs::read(self.out(way, life)).unwrap_or_default();
            let lines = text.split_inclusive(|byte| *byte == b'\n');
            for line in lines.filter(|line| line.ends_with(b"\n")) {
                let line = String::from_utf8(line.to_vec()).unwrap();
                // What rsyslog calls the message begins with the space behind the tag.
                let line = line.trim_end_matches('\n');
                records.push(line.strip_prefix(' ').unwrap_or(line).to_owned());
            }
        }
        records
    }

    fn out(&self, way: &Way, life: u32) -> PathBuf {
        self.dir.path().join(format!("{}.{life}.out", way.name))
    }

    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts, and waits until every input is open.
    pub(super) fn revive(&mut self) {
        self.life += 1;
        let dir = self.dir.path();
        let config = dir.join("server.conf");
        let mut command = self.kind.command().expect("it is installed");
        match self.kind {
            Kind::Rsyslog => {
                fs::write(&config, self.rsyslog()).unwrap();
                command.args(["-n", "-i", "NONE", "-f"]).arg(&config);
            }
            Kind::SyslogNg => {
                fs::write(&config, self.syslog_ng()).unwrap();
                command.args(["-F", "--no-caps", "-f"]).arg(&config);
                command.arg("-R").arg(dir.join("persist"));
                command.arg("-c").arg(dir.join("control"));
                command.arg("-p").arg(dir.join("pid"));
            }
        }
        let log = fs::File::create(dir.join("server.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        for way in &self.ways {
            // A socket that a dead server left is no sign of life.
            fs::remove_file(dir.join(way.name)).ok();
        }
        self.child = Some(command.spawn().unwrap());
        wait_until("a server that listens", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let log = || fs::read_to_string(self.dir.path().join("server.log")).unwrap();
            assert!(ended.is_none(), "it ended: {}", log());
            self.ways.iter().all(|way| self.is_open(way))
        });
    }

    fn is_open(&self, way: &Way) -> bool {
        let path = self.dir.path().join(way.name);
        match way.transport {
            "datagram" => UnixDatagram::unbound().unwrap().connect(path).is_ok(),
            "stream" => UnixStream::connect(path).is_ok(),
            "udp" => {
                let port = format!(":{:04X} ", way.port);
                let table = fs::read_to_string("/proc/self/net/udp").unwrap();
                table.lines().any(|line| line.contains(&port))
            }
            _ => std::net::TcpStream::connect(("127.0.0.1", way.port)).is_ok(),
        }
    }

    fn rsyslog(&self) -> String {
        let dir = self.dir.path().display();
        let mut text = format!(
            r#"
global(workDirectory="{dir}" maxMessageSize="128k" net.enableDNS="off"
       parser.escapeControlCharactersOnReceive="off"
       defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{dir}/ca.pem"
       defaultNetstreamDriverCertFile="{dir}/server.pem"
       defaultNetstreamDriverKeyFile="{dir}/server.key")
main_queue(queue.workerThreads="1")
module(load="imudp") module(load="imtcp") module(load="imptcp")
module(load="imuxsock" SysSock.Use="off")
template(name="body" type="string" string="%msg%\n")
"#
        );
        for way in &self.ways {
            let Way { name, port, transport, .. } = way;
            let out = self.out(way, self.life);
            let out = out.display();
            let input = match *transport {
                "udp" => {
                    format!(r#"type="imudp" address="127.0.0.1" port="{port}" rcvbufSize="8m""#)
                }
                "tcp" => format!(r#"type="imtcp" address="127.0.0.1" port="{port}""#),
                "tls" => format!(
                    r#"type="imtcp" address="127.0.0.1" port="{port}" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid""#
                ),
                "datagram" => format!(
                    r#"type="imuxsock" socket="{dir}/{name}" useSpecialParser="off" useSysTimeStamp="off" rateLimit.interval="0""#
                ),
                _ => format!(r#"type="imptcp" path="{dir}/{name}""#),
            };
            writeln!(
                text,
                r#"ruleset(name="{name}") {{ action(type="omfile" file="{out}" template="body") }}
input({input} ruleset="{name}")"#
            )
            .unwrap();
        }
        text
    }

    fn syslog_ng(&self) -> String {
        let dir = self.dir.path().display();
        let tls = format!(
            r#"transport("tls") tls(key-file("{dir}/server.key") cert-file("{dir}/server.pem") ca-file("{dir}/ca.pem") peer-verify(required-trusted))"#
        );
        let mut text = String::from(
            "@version: 3.38\noptions { keep-hostname(yes); log-msg-size(131072); stats-freq(0); };\n",
        );
        for way in &self.ways {
            let Way { name, port, transport, framing, format } = way;
            let flags = if *format == NEW { " flags(syslog-protocol)" } else { "" };
            let at = format!(r#"ip("127.0.0.1") port({port})"#);
            let source = match (*transport, *framing, *format) {
                ("udp", _, NEW) => format!(r#"syslog({at} transport("udp") so-rcvbuf(8388608))"#),
                ("udp", ..) => format!(r#"network({at} transport("udp") so-rcvbuf(8388608))"#),
                ("tcp", OCTETS, _) => format!(r#"syslog({at} transport("tcp"))"#),
                ("tcp", ..) => format!(r#"network({at} transport("tcp"){flags})"#),
                ("tls", OCTETS, _) => format!("syslog({at} {tls})"),
                ("tls", ..) => format!("network({at} {tls}{flags})"),
                ("datagram", ..) => format!(r#"unix-dgram("{dir}/{name}"{flags})"#),
                _ => format!(r#"unix-stream("{dir}/{name}"{flags})"#),
            };
            let out = self.out(way, self.life);
            writeln!(
                text,
                r#"source s_{name} {{ {source}; }};
destination d_{name} {{ file("{}" template("${{MSG}}\n")); }};
log {{ source(s_{name}); destination(d_{name}); }};"#,
                out.display()
            )
            .unwrap();
        }
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
