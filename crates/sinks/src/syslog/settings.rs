//! `[sink.NAME.syslog]`: its keys.

mod header;
mod levels;
mod target;

use settings::{
    Context, Table, settings,
    types::{FieldName, PositiveSpan, Size, Span},
    words,
};
use tls::ClientTls;

pub use self::target::SyslogTarget;
use self::{
    header::{FilledText, HeaderText, StructuredData},
    levels::{Facility, Severity, SeverityValues},
    target::SyslogTargets,
};
use super::{SyslogSink, probe::probe};
use crate::{
    Probe, Sink, SinkContext,
    kinds::{Claims, Kind, TlsClaim},
    message::Message,
};

/// The maximum payload of a UDP datagram.
const MAX_DATAGRAM: u64 = 65_507;

/// The default limit of a message, which is the default of syslog-ng.
const DEFAULT_MESSAGE: u64 = 64 << 10;

settings! {
    /// A syslog server (RFC 5424 or RFC 3164) gets one message per record: at least once and in
    /// order over TCP, TLS and unix sockets, best effort over UDP. See docs/sinks/syslog.md
    /// for rsyslog, syslog-ng and journald.
    pub struct Settings in "sink.NAME.syslog", checked by check {
        /// The server: `tcp://HOST:PORT`, `tls://HOST:PORT`, `udp://HOST:PORT` or
        /// `unix://PATH`. Of a list, the first server that works is used.
        pub targets "address": SyslogTargets as "tcp://siem.example.com:601",
        /// The format of the message header.
        ///
        /// `"rfc3164"` has neither a year nor a time zone. Use it for journald and old servers.
        pub format: SyslogFormat = "rfc5424",
        /// How messages are separated on a stream (RFC 6587).
        ///
        /// Use `"newline"` for servers that do not support octet counting.
        pub framing: Option<Framing> as "octet_counting"
            else "`\"octet_counting\"`; on a unix stream, `\"newline\"`",
        /// What follows the header: the record as received, or CEF or LEEF for ArcSight and
        /// QRadar. See docs/message-formats.md.
        pub message: MessageFormat = "json",
        /// The version of LEEF, with `message = "leef"`. Use `"1.0"` for parsers that take the
        /// `x09` in a header of version 2.0 literally.
        ///
        /// Both versions separate the attributes with tabs. The header of version 2.0 names
        /// the tab as `x09`.
        pub leef_version: LeefVersion = "2.0",
        /// The maximum size of a message with its header. With a `udp://` address, it is at
        /// most 65507 bytes.
        ///
        /// Do not exceed what the server accepts: by default, 8 KiB for rsyslog and 64 KiB for
        /// syslog-ng.
        pub max_message_bytes: Option<Size<1024, { 64 << 20 }>> as "64KiB"
            else "`\"64KiB\"`; with a `udp://` address, 65507 bytes",
        /// What happens to a longer message. `"truncate"` removes whole fields, the longest
        /// first, and lists them in the field `LogpushdDropped`. `"drop"` drops the message.
        ///
        /// Both are counted in `logpushd_sink_oversize_records_total`.
        pub oversize: Oversize = "truncate",
        /// The timeout for connecting, for the TLS handshake, and for a write while the server
        /// accepts no data.
        pub timeout: PositiveSpan = "10s",
        /// When a connection breaks, the messages sent within this time before are sent again.
        /// Batches stay in the spool for as long.
        ///
        /// Raise it if the server holds messages in memory for longer. Lower it, down to
        /// `"0s"`, if all connections break sooner than that.
        pub resend_window: Span = "5s",
        /// With several addresses: the time after a failure until an address is preferred to
        /// later ones again.
        pub failback: Span = "1m",
        /// The time in the header: the time of receipt of the batch, or the time of the record
        /// if it has one.
        pub time: SyslogTime = "received",
        /// The facility of every message.
        pub facility: Facility = "local0",
        /// The severity of messages for which `severity_values` has no entry.
        pub severity: Severity = "info",
        /// The top-level field of a record that determines the severity. Only with
        /// `severity_values`.
        pub severity_field: Option<FieldName> as "Action" else "`severity` for every message",
        /// The severity for each value of `severity_field`. Only with `severity_field`.
        pub severity_values: SeverityValues
            as { block = "warning", managed_challenge = "notice" }
            else "`severity` for every message",
        /// The host name in the header: up to 255 printable characters without spaces.
        pub hostname: Option<HeaderText<255>> as "logs.example.com" else "the name of the machine",
        /// The application name in the header; with `"rfc3164"`, the tag. `{dataset}` and
        /// `{endpoint}` are filled in. Up to 48 other characters.
        pub app_name: FilledText<48> = "logpushd",
        /// The message ID in the header. `{dataset}` and `{endpoint}` are filled in. Up to 32
        /// other characters. Only with `"rfc5424"`.
        pub msgid: FilledText<32> = "{dataset}",
        /// Structured data for every message. `{dataset}` and `{endpoint}` in values are
        /// filled in. Only with `"rfc5424"`.
        pub structured_data: StructuredData as { origin = { software = "logpushd" } } else "none",
        /// TLS for `tls://` addresses. Without such an address, the table is an error.
        pub tls: ClientTls,
    }
}

words! {
    /// `format`
    pub enum SyslogFormat {
        /// The Syslog Protocol, RFC 5424.
        Rfc5424 = "rfc5424",
        /// The BSD syslog Protocol, RFC 3164.
        Rfc3164 = "rfc3164",
    }
}

words! {
    /// `time`
    pub enum SyslogTime {
        /// The time of receipt of the batch.
        Received = "received",
        /// The time of the record, if it has one.
        Event = "event",
    }
}

words! {
    /// `framing`, RFC 6587
    pub enum Framing {
        /// The length of each message comes before it.
        OctetCounting = "octet_counting",
        /// A line end follows each message.
        Newline = "newline",
    }
}

words! {
    /// `oversize`
    pub enum Oversize {
        /// Removes the longest fields.
        Truncate = "truncate",
        /// Drops the whole message.
        Drop = "drop",
    }
}

words! {
    /// `message`
    pub enum MessageFormat {
        /// The record as received.
        Json = "json",
        /// Common Event Format.
        Cef = "cef",
        /// Log Event Extended Format.
        Leef = "leef",
    }
}

words! {
    /// `leef_version`
    pub enum LeefVersion {
        /// The header names the character that separates attributes.
        V2 = "2.0",
        /// Attributes are always separated by tabs.
        V1 = "1.0",
    }
}

impl Kind for Settings {
    fn target(&self) -> String {
        let targets: Vec<_> = self.targets.iter().map(ToString::to_string).collect();
        targets.join(", ")
    }

    fn claims(&self) -> Claims<'_> {
        let is_network =
            |target: &SyslogTarget| matches!(target, SyslogTarget::Tcp(_) | SyslogTarget::Tls(_));
        Claims {
            tls: Some(TlsClaim { files: &self.tls, is_used: self.speaks_tls() }),
            acknowledged: self.targets.iter().any(is_network).then_some("address"),
            ..Claims::default()
        }
    }

    fn probe(&self, _datasets: &[String]) -> Option<Probe<'_>> {
        Some(Box::pin(async { probe(self) }))
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        Ok(Box::new(SyslogSink::new(self.clone(), context.counters)))
    }
}

impl Settings {
    /// The format of the message after the header.
    pub fn body(&self) -> Message {
        match (self.message, self.leef_version) {
            (MessageFormat::Json, _) => Message::Json,
            (MessageFormat::Cef, _) => Message::Cef,
            (MessageFormat::Leef, LeefVersion::V2) => Message::Leef,
            (MessageFormat::Leef, LeefVersion::V1) => Message::Leef1,
        }
    }

    /// The maximum size of a message with its header, without its framing.
    pub fn message_limit(&self) -> usize {
        let default = if self.has_udp() { MAX_DATAGRAM } else { DEFAULT_MESSAGE };
        usize::try_from(self.max_message_bytes.unwrap_or(default)).unwrap_or(usize::MAX)
    }

    fn has_udp(&self) -> bool {
        self.targets.iter().any(|target| matches!(target, SyslogTarget::Udp(_)))
    }

    /// Whether the sink uses TLS for one of the servers.
    pub fn speaks_tls(&self) -> bool {
        self.targets.iter().any(|target| matches!(target, SyslogTarget::Tls(_)))
    }
}

fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    if settings.message != MessageFormat::Leef && table.contains("leef_version") {
        let message =
            format!("`{}` has no effect: the message is not LEEF", table.full_name("leef_version"));
        let problem = table.problem_at("leef_version", message);
        cx.push(problem.hint("add message = \"leef\", or remove `leef_version`"));
    }
    for key in ["msgid", "structured_data"] {
        if settings.format == SyslogFormat::Rfc3164 && table.contains(key) {
            let message =
                format!("`{}` is not a part of the RFC 3164 header", table.full_name(key));
            let problem = table.problem_at(key, message);
            cx.push(problem.hint("remove it, or set format = \"rfc5424\""));
        }
    }
    if table.contains("severity_field") != table.contains("severity_values") {
        let message = "`severity_field` and `severity_values` have an effect only together";
        cx.push_incomplete(table.problem(message).hint(
            "set both, as in severity_field = \"Action\" and severity_values = { block = \"warning\" }",
        ));
    }
    if !table.is_valid("address") {
        return;
    }
    if settings.has_udp() && settings.max_message_bytes.is_some_and(|size| size > MAX_DATAGRAM) {
        let name = table.full_name("max_message_bytes");
        let message = format!("`{name}` must be between 1 KiB and {MAX_DATAGRAM} bytes");
        let problem = table.problem_at("max_message_bytes", message);
        cx.push(problem.hint("a UDP datagram cannot be larger"));
    }
    if settings.tls != ClientTls::default() && !settings.speaks_tls() {
        // An error, since the operator expects an encrypted connection.
        let message =
            format!("`{}` has no effect: no address begins with tls://", table.full_name("tls"));
        cx.push(table.problem(message).hint("write the address as \"tls://HOST:6514\""));
    }
}
