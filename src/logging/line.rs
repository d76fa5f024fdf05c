//! Formats log lines as text or as JSON.
//!
//! Every value is bounded and escaped, also values from clients. No value can break a line, hide
//! characters, or pass for another field.

use std::{
    borrow::Cow,
    fmt::{Debug, Display, Write as _},
};

use jiff::Timestamp;
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use crate::{
    config::LogFormat,
    printable::{clipped, is_hidden, printable, unit_escapes, write_printable},
};

/// The maximum number of characters of a value. The longest values that are not from clients are
/// error texts.
const VALUE_CHARS: usize = 1024;

/// The maximum number of characters of a message. The longest messages are problems of a
/// configuration.
const MESSAGE_CHARS: usize = 8192;

/// The format of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) format: LogFormat,
    pub(super) reader: LogReader,
}

/// The reader of the lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LogReader {
    /// A terminal, a file or another program.
    Any,
    /// systemd's journal. It adds the time, and reads the priority from `<N>` at the beginning of a
    /// line, see sd-daemon(3).
    Journal,
}

impl Style {
    /// Returns an empty set of fields, for an event or a span.
    pub(super) fn fields(self) -> LogFields {
        let Self { format, .. } = self;
        LogFields { format, names: Vec::new(), message: String::new(), rest: String::new() }
    }

    /// Formats the line of an event.
    pub(super) fn line(self, event: &Event<'_>, fields: &LogFields) -> Vec<u8> {
        self.compose(*event.metadata().level(), &shown_target(event.metadata().target()), fields)
    }

    /// Formats a warning of the log itself, which is not an event.
    pub(super) fn warning(self, message: &str) -> Vec<u8> {
        let fields = LogFields { message: message.to_owned(), ..self.fields() };
        self.compose(Level::WARN, module_path!(), &fields)
    }

    /// Formats text at the end of the log, which is not an event.
    pub(super) fn final_text(self, text: &str) -> Vec<u8> {
        let prefix = match self.reader {
            LogReader::Any => "",
            LogReader::Journal => "<3>",
        };
        let mut line = String::new();
        for part in text.lines() {
            line.extend([prefix, part, "\n"]);
        }
        line.into_bytes()
    }

    fn compose(self, level: Level, target: &str, fields: &LogFields) -> Vec<u8> {
        let LogFields { message, rest, .. } = fields;
        let mut line = String::with_capacity(128 + message.len() + rest.len());
        // Writing to a string does not fail.
        match (self.format, self.reader) {
            (LogFormat::Text, LogReader::Any) => write!(line, "{:.6} ", Timestamp::now()),
            (LogFormat::Text, LogReader::Journal) => write!(line, "<{}>", priority(level)),
            (LogFormat::Json, _) => write!(
                line,
                r#"{{"timestamp":"{:.6}","level":"{level}","message":"#,
                Timestamp::now()
            ),
        }
        .ok();
        match self.format {
            LogFormat::Text => {
                write!(line, "{level:>5} {target}: {}", printable(message)).ok();
                line.push_str(rest);
            }
            LogFormat::Json => {
                push_json(&mut line, message);
                line.push_str(rest);
                line.push_str(r#","target":"#);
                push_json(&mut line, target);
                line.push('}');
            }
        }
        line.push('\n');
        line.into_bytes()
    }
}

/// The crates of the workspace. The log shows them as modules of the daemon, so that a filter for
/// `logpushd::` finds all of its lines.
const CRATES: [&str; 8] =
    ["cloudflare", "command", "http_client", "records", "settings", "sinks", "spool", "tls"];

pub(super) fn shown_target(target: &str) -> Cow<'_, str> {
    let name = target.split_once("::").map_or(target, |(name, _)| name);
    if !CRATES.contains(&name) {
        return target.into();
    }
    // `lib.rs` and the log call this crate `sink`.
    match target.strip_prefix("sinks") {
        Some(rest) => format!("logpushd::sink{rest}").into(),
        None => format!("logpushd::{target}").into(),
    }
}

/// Returns the priority of a level in syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The fields of an event or a span, formatted in their order.
pub(super) struct LogFields {
    format: LogFormat,
    names: Vec<&'static str>,
    message: String,
    rest: String,
}

impl LogFields {
    /// Adds the fields of a span of the event, unless the event has a field of the same name.
    pub(super) fn add_span(&mut self, span: &Self) {
        if !span.names.iter().any(|name| self.names.contains(name)) {
            self.names.extend(&span.names);
            self.rest.insert_str(0, &span.rest);
        }
    }

    fn begin(&mut self, field: &Field) {
        self.names.push(field.name());
        match self.format {
            LogFormat::Text => write!(self.rest, " {field}=").ok(),
            LogFormat::Json => write!(self.rest, ",\"{field}\":").ok(),
        };
    }

    fn plain(&mut self, field: &Field, value: &dyn Display) {
        self.begin(field);
        write!(self.rest, "{value}").ok();
    }

    fn text(&mut self, field: &Field, value: &dyn Display, quotes: Quotes) {
        if field.name() == "message" {
            self.message = clipped(value, MESSAGE_CHARS);
            return;
        }
        let value = clipped(value, VALUE_CHARS);
        self.begin(field);
        match self.format {
            LogFormat::Json => push_json(&mut self.rest, &value),
            LogFormat::Text if quotes == Quotes::IfNeeded && is_bare(&value) => {
                self.rest.push_str(&value);
            }
            LogFormat::Text => push_quoted(&mut self.rest, &value),
        }
    }
}

/// When a value of the text format is quoted.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Quotes {
    Always,
    IfNeeded,
}

impl Visit for LogFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, &value);
        } else {
            self.text(field, &value, Quotes::IfNeeded);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, &value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.plain(field, &value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.plain(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, &value, Quotes::Always);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &value, Quotes::IfNeeded);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format_args!("{value:?}"), Quotes::IfNeeded);
    }
}

/// Returns whether a value is unambiguous without quotes.
fn is_bare(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    !value.is_empty() && value.bytes().all(plain)
}

fn push_quoted(line: &mut String, value: &str) {
    line.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            _ => {
                write_printable(c, line).ok();
            }
        }
    }
    line.push('"');
}

fn push_json(line: &mut String, value: &str) {
    line.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if is_hidden(c) => unit_escapes(c, line),
            _ => line.push(c),
        }
    }
    line.push('"');
}

/// Formats a list as `a, b`.
pub(crate) fn list<T: AsRef<str>>(items: &[T]) -> String {
    items.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}
