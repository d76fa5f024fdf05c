//! The two syntaxes: headers, keys, values, and what is escaped in them.

use std::{net::IpAddr, num::NonZeroU16};

const VENDOR: &str = "Cloudflare";
const PRODUCT: &str = "Logpush";
/// Of the mapping, not of the daemon: to a SIEM another version is another device.
const VERSION: &str = "1";
/// So long may the event's ID be in LEEF, in characters.
const EVENT_ID_LENGTH: usize = 255;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Syntax {
    Cef,
    Leef,
}

impl Syntax {
    pub(super) fn pick<T>(self, cef: T, leef: T) -> T {
        match self {
            Self::Cef => cef,
            Self::Leef => leef,
        }
    }
}

/// What a key demands of its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Text,
    Address,
    Port,
    Integer,
    Float,
    Outcome,
}

impl Kind {
    fn of(key: &str) -> Self {
        match key {
            "src" | "dst" | "srcPreNAT" | "dstPostNAT" | "destinationTranslatedAddress" => {
                Self::Address
            }
            "spt"
            | "dpt"
            | "srcPort"
            | "dstPort"
            | "destinationTranslatedPort"
            | "dstPostNATPort" => Self::Port,
            "in" | "out" | "fsize" | "cn1" | "cn2" | "cn3" | "srcBytes" | "dstBytes" => {
                Self::Integer
            }
            "cfp1" => Self::Float,
            "outcome" => Self::Outcome,
            _ => Self::Text,
        }
    }
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Line<'o> {
    syntax: Syntax,
    out: &'o mut Vec<u8>,
    is_first: bool,
}

impl<'o> Line<'o> {
    pub(super) fn begin(syntax: Syntax, out: &'o mut Vec<u8>) -> Self {
        Self { syntax, out, is_first: true }
    }

    /// `kind` tells the events of a dataset apart. Only CEF has a name and a severity here.
    pub(super) fn header(&mut self, dataset: &str, kind: Option<&str>, name: &str, severity: u8) {
        let version = self.syntax.pick("CEF:0", "LEEF:2.0");
        self.put(&format!("{version}|{VENDOR}|{PRODUCT}|{VERSION}|"));
        let separator = if kind.is_some() { ":" } else { "" };
        let parts = [dataset, separator, kind.unwrap_or_default()];
        let id: String = parts.into_iter().flat_map(str::chars).take(EVENT_ID_LENGTH).collect();
        self.header_field(&id);
        match self.syntax {
            Syntax::Cef => {
                self.put("|");
                self.header_field(name);
                self.put(&format!("|{severity}|"));
            }
            Syntax::Leef => self.put("|x09|"),
        }
    }

    /// CEF escapes; LEEF cannot.
    fn header_field(&mut self, text: &str) {
        let syntax = self.syntax;
        self.escaped(text, |byte| match byte {
            b'|' => Some(syntax.pick("\\|", "_")),
            b'\\' if syntax == Syntax::Cef => Some("\\\\"),
            _ if byte.is_ascii_control() => Some(" "),
            _ => None,
        });
    }

    /// A pair whose value is any text.
    pub(super) fn pair(&mut self, key: &str, value: &str) {
        if !self.is_first {
            self.put(self.syntax.pick(" ", "\t"));
        }
        self.is_first = false;
        self.put(key);
        self.put("=");
        let syntax = self.syntax;
        self.escaped(value, |byte| match byte {
            b'\n' => Some("\\n"),
            b'\r' => Some("\\r"),
            b'\\' if syntax == Syntax::Cef => Some("\\\\"),
            b'=' if syntax == Syntax::Cef => Some("\\="),
            b'\t' if syntax == Syntax::Leef => Some("\\t"),
            _ if byte.is_ascii_control() => Some(" "),
            _ => None,
        });
    }

    pub(super) fn number(&mut self, key: &str, number: i64) {
        self.pair(key, &number.to_string());
    }

    /// A pair whose key stands in a dictionary. `false`, and nothing is written, if it demands another
    /// type of value: a reader may drop the whole event for that. `member` becomes the label of a
    /// custom key.
    pub(super) fn typed(&mut self, key: &str, member: &str, value: &str) -> bool {
        let value = match Kind::of(key) {
            Kind::Address => match value.parse() {
                Ok(IpAddr::V6(_)) if self.syntax == Syntax::Cef => return self.ipv6(key, value),
                Ok(_) => value,
                Err(_) => return false,
            },
            // Port 0 is how a missing one comes.
            Kind::Port if value.parse::<NonZeroU16>().is_err() => return false,
            Kind::Integer if value.parse::<i64>().is_err() => return false,
            Kind::Float if !value.parse().is_ok_and(f64::is_finite) => return false,
            Kind::Outcome => match value {
                "true" => "success",
                "false" => "failure",
                other => other,
            },
            Kind::Port | Kind::Integer | Kind::Float | Kind::Text => value,
        };
        self.pair(key, value);
        if is_custom(key) {
            self.pair(&format!("{key}Label"), member);
        }
        true
    }

    /// CEF 0 has keys of their own for IPv6, two of them with a meaning that its readers know.
    fn ipv6(&mut self, key: &str, value: &str) -> bool {
        let (key, label) = match key {
            "src" => ("c6a2", "Source IPv6 Address"),
            "dst" => ("c6a3", "Destination IPv6 Address"),
            _ => return false,
        };
        self.pair(key, value);
        self.pair(&format!("{key}Label"), label);
        true
    }

    fn escaped(&mut self, text: &str, escape: impl Fn(u8) -> Option<&'static str>) {
        let mut rest = text;
        while let Some((at, with)) =
            rest.bytes().enumerate().find_map(|(at, byte)| Some((at, escape(byte)?)))
        {
            // Only ASCII is escaped, so both cuts are between characters.
            let (before, from) = rest.split_at(at);
            self.put(before);
            self.put(with);
            rest = from.get(1..).unwrap_or_default();
        }
        self.put(rest);
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// Keys that say nothing without a label.
pub(super) fn is_custom(key: &str) -> bool {
    matches!(key, "cs1" | "cs2" | "cs3" | "cs4" | "cs5" | "cs6" | "cn1" | "cn2" | "cn3" | "cfp1")
}
