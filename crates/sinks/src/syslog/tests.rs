//! The sink with servers in the test process.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    thread,
    time::Duration,
};

use ::settings::Settings as _;
use http_client::HostPort;
use jiff::Timestamp;
use records::decode::{Encoding, Format};
use rustix::net::{self, AddressFamily, SocketType};
use spool::{Header as BatchHeader, Origin};

use super::*;

pub(super) const LONG: Duration = Duration::from_secs(20);

/// All formats except JSON.
const FORMS: [(MessageFormat, LeefVersion); 3] = [
    (MessageFormat::Cef, LeefVersion::V2),
    (MessageFormat::Leef, LeefVersion::V2),
    (MessageFormat::Leef, LeefVersion::V1),
];

pub(super) fn config() -> Settings {
    Settings {
        targets: Vec::new(),
        hostname: Some("h".into()),
        timeout: Duration::from_secs(5),
        resend_window: Duration::ZERO,
        ..Settings::sample().unwrap()
    }
}

pub(super) fn sink(targets: Vec<SyslogTarget>, change: impl FnOnce(&mut Settings)) -> SyslogSink {
    let mut config = Settings { targets, ..config() };
    change(&mut config);
    SyslogSink::new(config, SinkCounters::default())
}

pub(super) fn batch(sequence: u64) -> Batch {
    let header = BatchHeader {
        origin: Origin {
            endpoint: "main".into(),
            dataset: "dns_logs".into(),
            received: Timestamp::UNIX_EPOCH,
            sink: None,
        },
        records: 1,
        rejected: 0,
        record_limit: 1 << 20,
        digest: 0,
        encoding: Encoding::Identity,
        format: Format::Json,
        edition: records::decode::Edition::First,
    };
    Batch { sequence, header }
}

/// Makes one attempt, as delivery does.
pub(super) fn deliver(
    sink: &mut SyslogSink,
    sequence: u64,
    records: &str,
) -> Result<(), SinkError> {
    assert_eq!(sink.begin(&batch(sequence))?, Readiness::Ready);
    let block = Block { bytes: records.into(), ..Block::default() };
    sink.write(&block)?;
    sink.finish()
}

pub(super) fn at(address: SocketAddr) -> HostPort {
    HostPort { host: address.ip().to_string(), port: address.port() }
}

pub(super) fn listen() -> (TcpListener, SyslogTarget) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = SyslogTarget::Tcp(at(listener.local_addr().unwrap()));
    (listener, target)
}

/// A reserved port that refuses connections until the returned listener listens.
pub(super) fn refusing() -> (TcpListener, SyslogTarget) {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let bound = TcpListener::from(socket);
    let target = SyslogTarget::Tcp(at(bound.local_addr().unwrap()));
    (bound, target)
}

pub(super) fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

pub(super) fn wait_until(what: &str, mut ask: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !ask() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

const HEADER: &str = "<134>1 1970-01-01T00:00:00.000000Z h logpushd - dns_logs - ";

#[test]
fn each_transport_has_its_framing() {
    let dir = tempfile::tempdir().unwrap();
    let message = |record: &str| format!("{HEADER}{record}");
    let records = "{\"a\":1}\n{\"b\":\"é\"}\n";
    let (one, two) = (message("{\"a\":1}"), message("{\"b\":\"é\"}"));
    let counted = format!("{} {one}{} {two}", one.len(), two.len());
    let lines = format!("{one}\n{two}\n");

    let cases = [
        (None, &counted, &lines),
        (Some(Framing::OctetCounting), &counted, &counted),
        (Some(Framing::Newline), &lines, &lines),
    ];
    for (framing, over_tcp, over_unix) in cases {
        let (listener, target) = listen();
        let mut sink = sink(vec![target], |config| config.framing = framing);
        deliver(&mut sink, 1, records).unwrap();
        let mut stream = accept(&listener);
        drop(sink);
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert_eq!(got, *over_tcp, "{framing:?}");

        let path = dir.path().join(format!("{framing:?}"));
        let listener = UnixListener::bind(&path).unwrap();
        let mut sink = self::sink(vec![SyslogTarget::Unix(path)], |c| c.framing = framing);
        deliver(&mut sink, 1, records).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        drop(sink);
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert_eq!(got, *over_unix, "{framing:?}");
    }

    let mut buffer = [0; 1000];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = SyslogTarget::Udp(at(socket.local_addr().unwrap()));
    deliver(&mut sink(vec![target], |_| ()), 1, records).unwrap();
    for message in [&one, &two] {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], message.as_bytes());
    }

    let path = dir.path().join("datagram");
    let socket = UnixDatagram::bind(&path).unwrap();
    deliver(&mut sink(vec![SyslogTarget::Unix(path)], |_| ()), 1, records).unwrap();
    for message in [&one, &two] {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], message.as_bytes());
    }
}

#[test]
fn the_severity_follows_a_field() {
    let (listener, target) = listen();
    let mut sink = sink(vec![target], |config| {
        config.framing = Some(Framing::Newline);
        let values = vec![("block".into(), 4), ("503".into(), 3), ("true".into(), 0)];
        config.severity_field = Some("A".into());
        config.severity_values = values;
    });
    let records =
        "{\"A\":\"block\"}\n{\"A\":503}\n{\"A\":true}\n{\"A\":\"allow\"}\n{\"B\":{\"A\":503}}\n";
    deliver(&mut sink, 1, records).unwrap();
    let mut stream = accept(&listener);
    drop(sink);
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    let priorities: Vec<_> = got.lines().map(|line| line.split('>').next().unwrap()).collect();
    assert_eq!(priorities, ["<132", "<131", "<128", "<134", "<134"]);
}

#[test]
fn a_datagram_that_is_too_long_for_the_socket_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("datagram");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut sink = sink(vec![SyslogTarget::Unix(path)], |c| c.max_message_bytes = Some(64 << 20));
    let records = format!("{{\"pad\":\"{}\"}}\n{{\"b\":2}}\n", "x".repeat(4 << 20));
    deliver(&mut sink, 1, &records).unwrap();
    assert_eq!(sink.counters.oversize_records.value(), 1);
    let mut buffer = [0; 1000];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..length].ends_with(b"{\"b\":2}"));
}

#[test]
fn a_message_can_be_cef_or_leef() {
    for (form, expected) in FORMS.into_iter().zip([
        " - CEF:0|Cloudflare|Logpush|1|dns_logs|",
        " - LEEF:2.0|Cloudflare|Logpush|1|dns_logs|",
        " - LEEF:1.0|Cloudflare|Logpush|1|dns_logs|",
    ]) {
        let (listener, target) = listen();
        let mut sink = sink(vec![target], |config| {
            (config.message, config.leef_version) = form;
        });
        deliver(&mut sink, 1, "{\"QueryName\":\"a\\nb\"}\n").unwrap();
        let mut stream = accept(&listener);
        drop(sink);
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert!(got.contains(expected) && !got.contains('\n'), "{got}");
    }
}

#[test]
fn with_event_the_time_is_that_of_the_record_if_it_has_one() {
    let (listener, target) = listen();
    let mut sink = sink(vec![target], |config| {
        config.framing = Some(Framing::Newline);
        config.time = SyslogTime::Event;
    });
    let records = "{\"Timestamp\":\"2026-03-04T05:06:07.5Z\"}\n{\"Timestamp\":0}\n";
    deliver(&mut sink, 1, records).unwrap();
    let mut stream = accept(&listener);
    drop(sink);
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    let times: Vec<_> = got.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(times, ["2026-03-04T05:06:07.500000Z", "1970-01-01T00:00:00.000000Z"]);
}

#[test]
fn a_long_message_loses_members_or_is_dropped_and_is_counted() {
    for (oversize, expected) in [(Oversize::Truncate, 3), (Oversize::Drop, 2)] {
        let (listener, target) = listen();
        let mut sink = sink(vec![target], |config| {
            config.framing = Some(Framing::Newline);
            config.max_message_bytes = Some(1024);
            config.oversize = oversize;
        });
        let pad = "€".repeat(1000);
        let long = format!("{{\"a\":1}}\n{{\"pad\":\"{pad}\",\"c\":3}}\n{{\"b\":2}}\n");
        deliver(&mut sink, 1, &long).unwrap();
        assert_eq!(sink.counters.oversize_records.value(), 1);
        let mut stream = accept(&listener);
        drop(sink);
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        let lines: Vec<_> = got.lines().collect();
        assert_eq!(lines.len(), expected, "{oversize:?}");
        assert!(lines.iter().all(|line| line.len() <= 1024));
        assert_eq!(lines[expected - 1], format!("{HEADER}{{\"b\":2}}"));
        if oversize == Oversize::Truncate {
            let expected = r#"{"c":3,"LogpushdDropped":["pad"]}"#;
            assert_eq!(lines[1], format!("{HEADER}{expected}"));
        }
    }
}

/// A parser would not accept a message that is cut elsewhere.
#[test]
fn a_long_message_of_cef_or_leef_loses_whole_fields() {
    for form in FORMS {
        let (listener, target) = listen();
        let mut sink = sink(vec![target], |config| {
            config.framing = Some(Framing::Newline);
            config.max_message_bytes = Some(1024);
            (config.message, config.leef_version) = form;
        });
        let record = format!("{{\"Pad\":\"{}\",\"Odd\":\"kept\"}}\n", "\\\\=".repeat(1000));
        deliver(&mut sink, 1, &record).unwrap();
        assert_eq!(sink.counters.oversize_records.value(), 1);
        let mut stream = accept(&listener);
        drop(sink);
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        assert!(got.len() <= 1025 && got.contains("Odd=kept"), "{got}");
        assert!(got.ends_with("LogpushdDropped=Pad\n"), "{got}");
    }
}

#[test]
fn the_name_of_this_machine_is_the_default() {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(hostname(), name.trim());
}
