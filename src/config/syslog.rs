//! `[sink.NAME.syslog]`: its keys, checked.

use std::{fmt, path::PathBuf, time::Duration};

use super::{ClientTls, HostPort};
use crate::sink::message::Message;

/// `[sink.NAME.syslog]`
#[derive(Clone, Debug, PartialEq)]
pub struct SyslogSink {
    /// Where to send to: the first that works. At least one.
    pub targets: Vec<SyslogTarget>,
    /// The form of a header.
    pub format: SyslogFormat,
    /// What follows the header.
    pub message: Message,
    /// Which time stands in a header.
    pub time: SyslogTime,
    /// How messages are told apart on a stream; `None`: as the transport has it by default.
    pub framing: Option<Framing>,
    /// 0 to 23.
    pub facility: u8,
    /// Of a record for which `severity_by` has none; 0 to 7.
    pub severity: u8,
    /// A field of the record that has a say in its severity.
    pub severity_by: Option<SeverityBy>,
    /// `None`: the name of the machine.
    pub hostname: Option<String>,
    /// APP-NAME, or the TAG of RFC 3164. May hold `{dataset}` and `{endpoint}`.
    pub app_name: String,
    /// MSGID of RFC 5424; the same.
    pub msgid: String,
    /// STRUCTURED-DATA of RFC 5424: SD-IDs, and their parameters. The values may hold the same.
    pub structured_data: Vec<(String, Vec<(String, String)>)>,
    /// The most that a message may have, header and all, without its framing.
    pub max_message_bytes: usize,
    /// What becomes of a longer one.
    pub oversize: Oversize,
    /// For connecting, for a TLS handshake, and for a write without progress.
    pub timeout: Duration,
    /// What was sent within this time before a connection broke is sent again.
    pub resend_window: Duration,
    /// After how long a target that failed is preferred again.
    pub failback: Duration,
    /// For `tls://`.
    pub tls: ClientTls,
}

/// One value of `sink.NAME.syslog.address`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SyslogTarget {
    /// `udp://HOST:PORT`
    Udp(HostPort),
    /// `tcp://HOST:PORT`
    Tcp(HostPort),
    /// `tls://HOST:PORT`
    Tls(HostPort),
    /// `unix://PATH`: a datagram or a stream socket, whichever is there.
    Unix(PathBuf),
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, at) = match self {
            Self::Udp(at) => ("udp", at),
            Self::Tcp(at) => ("tcp", at),
            Self::Tls(at) => ("tls", at),
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
        };
        write!(f, "{scheme}://{at}")
    }
}

/// `sink.NAME.syslog.format`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyslogFormat {
    /// `"rfc5424"`
    Rfc5424,
    /// `"rfc3164"`
    Rfc3164,
}

/// `sink.NAME.syslog.time`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SyslogTime {
    /// `"received"`: that of the batch.
    Received,
    /// `"event"`: that of the record, if it has one.
    Event,
}

/// `sink.NAME.syslog.framing`, RFC 6587
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// `"octet_counting"`
    OctetCounting,
    /// `"newline"`
    Newline,
}

/// `sink.NAME.syslog.oversize`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Oversize {
    /// `"truncate"`
    Truncate,
    /// `"drop"`
    Drop,
}

/// `sink.NAME.syslog.severity_field` and `severity_values`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeverityBy {
    /// Its name, at the top of a record.
    pub field: String,
    /// A value of it as text, and the severity, 0 to 7.
    pub values: Vec<(String, u8)>,
}
