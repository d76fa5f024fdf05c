//! rsyslog and syslog-ng as processes, with an input for each transport.

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

/// An input, and the sink that sends to it.
#[derive(Clone, Debug)]
pub(super) struct Input {
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

/// A running server.
pub(super) struct Server {
    kind: Kind,
    dir: TempDir,
    inputs: Vec<Input>,
    child: Option<Child>,
    /// Each run writes its own files: a killed run may end in half a line.
    run: u32,
}

const OCTETS: &str = "octet_counting";
const LINES: &str = "newline";
const NEW: &str = "rfc5424";
const OLD: &str = "rfc3164";

/// Name, transport, framing, format. A datagram has no framing: any will do. A name may end in the
/// format of the message.
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

/// Its `syslog()` counts octets and accepts RFC 5424, its `network()` accepts lines of both
/// formats; unix streams are lines.
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

impl Input {
    pub(super) fn message(&self) -> Message {
        match self.name.rsplit('_').next() {
            Some("cef") => Message::Cef,
            Some("leef") => Message::Leef,
            _ => Message::Json,
        }
    }
}

impl Kind {
    /// How to start it, if it is installed.
    pub(super) fn command(self) -> Option<Command> {
        match self {
            Self::Rsyslog => Some(Command::new(require::program("rsyslogd")?)),
            Self::SyslogNg => syslog_ng(),
        }
    }

    fn inputs(self) -> Vec<Input> {
        let list = if self == Self::Rsyslog { RSYSLOG } else { SYSLOG_NG };
        list.iter()
            .map(|(name, transport, framing, format)| {
                // The port must be known before the server starts, and stay the same across
                // restarts.
                Input { name, transport, framing, format, port: free_port() }
            })
            .collect()
    }
}

/// How to start syslog-ng, if it is installed. It conflicts with rsyslog on Debian:
/// `LOGPUSHD_SYSLOG_NG` is a directory with its unpacked packages.
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
        let mut server = Self { kind, dir, inputs: kind.inputs(), child: None, run: 0 };
        server.restart();
        server
    }

    pub(super) fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The keys of the sink for this input.
    pub(super) fn keys(&self, input: &Input) -> String {
        let dir = self.dir.path().display();
        let Input { framing, format, port, name, transport } = input;
        let message = match input.message() {
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

    /// The complete lines that it has written for this input, over all restarts.
    pub(super) fn records(&self, input: &Input) -> Vec<String> {
        let mut records = Vec::new();
        for run in 1..=self.run {
            let text = fs::read(self.out(input, run)).unwrap_or_default();
            let lines = text.split_inclusive(|byte| *byte == b'\n');
            for line in lines.filter(|line| line.ends_with(b"\n")) {
                let line = String::from_utf8(line.to_vec()).unwrap();
                // rsyslog's message begins with the space after the tag.
                let line = line.trim_end_matches('\n');
                records.push(line.strip_prefix(' ').unwrap_or(line).to_owned());
            }
        }
        records
    }

    fn out(&self, input: &Input, run: u32) -> PathBuf {
        self.dir.path().join(format!("{}.{run}.out", input.name))
    }

    pub(super) fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts, and waits until every input is open.
    pub(super) fn restart(&mut self) {
        self.run += 1;
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
        for input in &self.inputs {
            // The socket of a dead server does not count.
            fs::remove_file(dir.join(input.name)).ok();
        }
        self.child = Some(command.spawn().unwrap());
        wait_until("a server that listens", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let log = || fs::read_to_string(self.dir.path().join("server.log")).unwrap();
            assert!(ended.is_none(), "it has ended: {}", log());
            self.inputs.iter().all(|input| self.is_open(input))
        });
    }

    fn is_open(&self, input: &Input) -> bool {
        let path = self.dir.path().join(input.name);
        match input.transport {
            "datagram" => UnixDatagram::unbound().unwrap().connect(path).is_ok(),
            "stream" => UnixStream::connect(path).is_ok(),
            "udp" => {
                let port = format!(":{:04X} ", input.port);
                let table = fs::read_to_string("/proc/self/net/udp").unwrap();
                table.lines().any(|line| line.contains(&port))
            }
            _ => std::net::TcpStream::connect(("127.0.0.1", input.port)).is_ok(),
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
        for input in &self.inputs {
            let Input { name, port, transport, .. } = input;
            let out = self.out(input, self.run);
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
        for input in &self.inputs {
            let Input { name, port, transport, framing, format } = input;
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
            let out = self.out(input, self.run);
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
