//! Writes CEF and LEEF: headers, keys, values, and escapes.

use std::{net::IpAddr, num::NonZeroU16};

use settings::printable;

use super::shorten::Span;

const VENDOR: &str = "Cloudflare";
const PRODUCT: &str = "Logpush";
/// The version of the mapping, not of the daemon: a SIEM treats another version as another device.
const VERSION: &str = "1";
/// The maximum length of the event ID in LEEF, in characters.
const EVENT_ID_LENGTH: usize = 255;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Syntax {
    Cef,
    /// LEEF 2.0.
    Leef,
    /// LEEF 1.0: only its header differs.
    Leef1,
}

impl Syntax {
    pub(super) fn pick<T>(self, cef: T, leef: T) -> T {
        match self {
            Self::Cef => cef,
            Self::Leef | Self::Leef1 => leef,
        }
    }
}

/// The replacement of a control or format character.
#[derive(Clone, Copy, Debug)]
enum Hidden {
    /// A space.
    Space,
    /// Its JSON escape, so that an array or an object in a value stays JSON.
    Escaped,
}

/// The type that a key requires of its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ValueType {
    Text,
    Address,
    Port,
    Integer,
    /// A signed integer of 32 bits.
    Short,
    Float,
    Outcome,
}

impl ValueType {
    fn of(key: &str) -> Self {
        match key {
            "src"
            | "dst"
            | "srcPreNAT"
            | "srcPostNAT"
            | "dstPostNAT"
            | "sourceTranslatedAddress"
            | "destinationTranslatedAddress" => Self::Address,
            "spt"
            | "dpt"
            | "srcPort"
            | "dstPort"
            | "sourceTranslatedPort"
            | "destinationTranslatedPort"
            | "srcPostNATPort"
            | "dstPostNATPort" => Self::Port,
            "in" | "out" | "fsize" => Self::Short,
            "cn1" | "cn2" | "cn3" | "srcBytes" | "dstBytes" | "srcPackets" => Self::Integer,
            "cfp1" => Self::Float,
            "outcome" => Self::Outcome,
            _ => Self::Text,
        }
    }
}

/// A message that is being written to a buffer.
#[derive(Debug)]
pub(super) struct Line<'o> {
    syntax: Syntax,
    out: &'o mut Vec<u8>,
    is_first: bool,
    /// The positions of the fields so far, if they are requested.
    spans: Option<Vec<Span>>,
}

impl<'o> Line<'o> {
    pub(super) fn begin(syntax: Syntax, out: &'o mut Vec<u8>) -> Self {
        Self { syntax, out, is_first: true, spans: None }
    }

    /// Begins a message, and records the positions of its fields.
    pub(super) fn measured(syntax: Syntax, out: &'o mut Vec<u8>) -> Self {
        Self { spans: Some(Vec::new()), ..Self::begin(syntax, out) }
    }

    pub(super) fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// Returns the positions of the fields that were written after [`Line::keep`].
    pub(super) fn spans(&mut self) -> Vec<Span> {
        self.spans.take().unwrap_or_default()
    }

    /// Makes the fields so far mandatory: shortening does not remove them.
    pub(super) fn keep(&mut self) {
        if let Some(spans) = &mut self.spans {
            spans.clear();
        }
    }

    /// The contents of the buffer, also from before the message.
    pub(super) fn written(&self) -> &[u8] {
        self.out
    }

    /// Replaces the contents of the buffer.
    pub(super) fn replace(&mut self, written: Vec<u8>) {
        *self.out = written;
    }

    /// Writes the header. `kind` distinguishes the events of a dataset. Only the header of CEF
    /// contains a name and a severity.
    pub(super) fn header(&mut self, dataset: &str, kind: Option<&str>, name: &str, severity: u8) {
        let version = match self.syntax {
            Syntax::Cef => "CEF:0",
            Syntax::Leef => "LEEF:2.0",
            Syntax::Leef1 => "LEEF:1.0",
        };
        self.put(&format!("{version}|{VENDOR}|{PRODUCT}|{VERSION}|"));
        let separator = if kind.is_some() { ":" } else { "" };
        let parts = [dataset, separator, kind.unwrap_or_default()];
        let id: String = parts.into_iter().flat_map(str::chars).take(EVENT_ID_LENGTH).collect();
        self.header_field(&id);
        match self.syntax {
            // The space is for liblognorm 2.0.6, which otherwise loses the first byte of the first
            // key.
            Syntax::Cef => {
                self.put("|");
                self.header_field(name);
                self.put(&format!("|{severity}| "));
            }
            Syntax::Leef => self.put("|x09|"),
            Syntax::Leef1 => self.put("|"),
        }
    }

    /// Writes a field of the header. CEF has escapes for it, LEEF does not.
    fn header_field(&mut self, text: &str) {
        let syntax = self.syntax;
        self.escaped(text, Hidden::Space, |byte| match byte {
            b'|' => Some(syntax.pick("\\|", "_")),
            b'\\' if syntax == Syntax::Cef => Some("\\\\"),
            _ => None,
        });
    }

    /// Writes a key with any text as its value.
    pub(super) fn pair(&mut self, key: &str, value: &str) {
        let start = self.out.len();
        if !self.is_first {
            self.put(self.syntax.pick(" ", "\t"));
        }
        self.is_first = false;
        let key_start = self.out.len();
        self.put(key);
        let key_end = self.out.len();
        self.put("=");
        let syntax = self.syntax;
        self.escaped(value, Hidden::Escaped, |byte| match byte {
            b'\n' => Some("\\n"),
            b'\r' => Some("\\r"),
            b'\\' if syntax == Syntax::Cef => Some("\\\\"),
            b'=' if syntax == Syntax::Cef => Some("\\="),
            b'\t' => Some(syntax.pick(" ", "\\t")),
            _ => None,
        });
        let end = self.out.len();
        if let Some(spans) = &mut self.spans {
            spans.push(Span { start, key: (key_start, key_end), end });
        }
    }

    /// Writes the label of the last field, which is removed together with it.
    fn label(&mut self, key: &str, label: &str) {
        self.pair(&format!("{key}Label"), label);
        let Some(spans) = &mut self.spans else { return };
        let last = spans.pop();
        if let (Some(Span { end, .. }), Some(labeled)) = (last, spans.last_mut()) {
            labeled.end = end;
        }
    }

    pub(super) fn number(&mut self, key: &str, number: i64) {
        self.pair(key, &number.to_string());
    }

    /// Writes a key of the dictionary with its value. Writes nothing and returns `false` if the key
    /// requires another type: a parser may drop the whole event for that. `member` becomes the
    /// label of a custom key.
    pub(super) fn typed(&mut self, key: &str, member: &str, value: &str) -> bool {
        let value = match ValueType::of(key) {
            ValueType::Address => match value.parse() {
                Ok(IpAddr::V6(_)) if self.syntax == Syntax::Cef => return self.ipv6(key, value),
                Ok(_) => value,
                Err(_) => return false,
            },
            // Port 0 stands for a missing port.
            ValueType::Port if value.parse::<NonZeroU16>().is_err() => return false,
            ValueType::Integer if value.parse::<i64>().is_err() => return false,
            ValueType::Short if value.parse::<i32>().is_err() => return false,
            ValueType::Float if !value.parse().is_ok_and(f64::is_finite) => return false,
            ValueType::Outcome => match value {
                "true" => "success",
                "false" => "failure",
                other => other,
            },
            ValueType::Port
            | ValueType::Integer
            | ValueType::Short
            | ValueType::Float
            | ValueType::Text => value,
        };
        self.pair(key, value);
        if is_custom(key) {
            self.label(key, member);
        }
        true
    }

    /// Writes an IPv6 address under one of the custom keys for IPv6 of CEF 0. Parsers know the
    /// meaning of two of them by their labels.
    fn ipv6(&mut self, key: &str, value: &str) -> bool {
        let (key, label) = match key {
            "src" => ("c6a2", "Source IPv6 Address"),
            "dst" => ("c6a3", "Destination IPv6 Address"),
            _ => return false,
        };
        self.pair(key, value);
        self.label(key, label);
        true
    }

    /// Appends `text`. `escape` returns the escape of an ASCII character. `hidden` is the
    /// replacement of control and format characters without such an escape.
    fn escaped(&mut self, text: &str, hidden: Hidden, escape: impl Fn(u8) -> Option<&'static str>) {
        let mut rest = text;
        // Most text is ASCII, and bytes are faster to check than characters.
        let has_hidden = !text.is_ascii() && text.contains(printable::is_hidden);
        let found = |rest: &str| {
            if has_hidden {
                let found = |(_, c): &(usize, char)| {
                    printable::is_hidden(*c)
                        || u8::try_from(*c)
                            .is_ok_and(|byte| byte.is_ascii() && escape(byte).is_some())
                };
                return rest.char_indices().find(found);
            }
            let found = |byte: u8| byte.is_ascii_control() || escape(byte).is_some();
            let at = rest.bytes().position(found)?;
            Some((at, rest.get(at..)?.chars().next()?))
        };
        while let Some((at, c)) = found(rest) {
            let (before, from) = rest.split_at(at);
            self.put(before);
            let with = u8::try_from(c).ok().filter(u8::is_ascii).and_then(&escape);
            match (with, hidden) {
                (Some(with), _) => self.put(with),
                (None, Hidden::Space) => self.put(" "),
                (None, Hidden::Escaped) => {
                    let mut written = String::new();
                    printable::unit_escapes(c, &mut written);
                    let written = match self.syntax {
                        Syntax::Cef => written.replace('\\', "\\\\"),
                        Syntax::Leef | Syntax::Leef1 => written,
                    };
                    self.put(&written);
                }
            }
            rest = from.get(c.len_utf8()..).unwrap_or_default();
        }
        self.put(rest);
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// Whether the meaning of a key depends on a label.
pub(super) fn is_custom(key: &str) -> bool {
    matches!(key, "cs1" | "cs2" | "cs3" | "cs4" | "cs5" | "cs6" | "cn1" | "cn2" | "cn3" | "cfp1")
}
