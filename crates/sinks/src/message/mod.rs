//! Formats a record as a message for a SIEM: JSON (the record itself), CEF or LEEF.
//!
//! `docs/message-formats.md` documents the rules. The tables in `mapping` assign the members of a
//! record to keys. A message contains all members of the record that are not empty.

use std::borrow::Cow;

mod line;
mod mapping;
mod members;
mod severity;
mod shorten;
mod shorten_json;
#[cfg(test)]
mod tests;

pub(crate) use self::members::Members;
use self::{
    line::{Line, Syntax},
    mapping::{Field, IdForm, IdPart, Mapping, Source},
};

/// The format of a message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Message {
    /// The record as received.
    #[default]
    Json,
    /// Common Event Format, version 0.
    Cef,
    /// Log Event Extended Format, version 2.0.
    Leef,
    /// Log Event Extended Format, version 1.0, where tabs always separate the attributes.
    Leef1,
}

/// Appends the message for `record`, a JSON object of `dataset`: one line, without its line end. A
/// record that cannot be parsed becomes the value of one field.
pub fn render(message: Message, dataset: &str, record: &[u8], out: &mut Vec<u8>) {
    match message {
        Message::Json => out.extend_from_slice(record),
        Message::Cef => event(Syntax::Cef, dataset, record, out),
        Message::Leef => event(Syntax::Leef, dataset, record, out),
        Message::Leef1 => event(Syntax::Leef1, dataset, record, out),
    }
}

/// Appends a message of at most `max` bytes, without its longest fields, which are listed in a
/// field of their own. Returns whether that is possible; if not, nothing is appended.
pub fn render_within(
    message: Message,
    dataset: &str,
    record: &[u8],
    max: usize,
    out: &mut Vec<u8>,
) -> bool {
    let syntax = match message {
        Message::Json => return shorten_json::shorten(record, max, out),
        Message::Cef => Syntax::Cef,
        Message::Leef => Syntax::Leef,
        Message::Leef1 => Syntax::Leef1,
    };
    let start = out.len();
    let mut line = Line::measured(syntax, out);
    fields(&mut line, dataset, record);
    let spans = line.spans();
    let fits = shorten::shorten(&mut line, &spans, start.saturating_add(max));
    if !fits {
        out.truncate(start);
    }
    fits
}

/// Returns the severity of a record from 1 to 10. `None` if it contains no member that determines the
/// severity, and its dataset has no minimum.
pub(crate) fn severity(dataset: &str, members: &Members<'_>) -> Option<u8> {
    let mapping = Mapping::of(dataset);
    severity::known(mapping.base, mapping.severity, members)
}

fn event(syntax: Syntax, dataset: &str, record: &[u8], out: &mut Vec<u8>) {
    fields(&mut Line::begin(syntax, out), dataset, record);
}

fn fields(line: &mut Line<'_>, dataset: &str, record: &[u8]) {
    let syntax = line.syntax();
    let mapping = Mapping::of(dataset);
    let mut members = Members::of(dataset, record);
    let severity = severity::of(mapping.base, mapping.severity, &members);
    let kind = kind(mapping, &members);
    let name = if mapping.name.is_empty() { dataset } else { mapping.name };

    line.header(dataset, kind.as_deref(), name, severity);
    line.pair("cat", dataset);
    if let Some(time) = members.time() {
        line.number(syntax.pick("rt", "devTime"), time.as_millisecond());
    }
    if syntax != Syntax::Cef {
        line.number("sev", severity.into());
    }
    line.keep();
    let mut last = "";
    for field in mapping.fields {
        let key = syntax.pick(field.cef, field.leef);
        // Of several members for a key, the first one with a value gets it.
        if !key.is_empty() && key != last && write(line, &mut members, field, key) {
            last = key;
        }
    }
    for (key, value) in members.rest() {
        line.pair(&key, &value);
    }
    if !members.are_read() {
        line.pair(syntax.pick("msg", "Record"), &String::from_utf8_lossy(record));
    }
}

/// The part of the event ID after the dataset: it distinguishes the events of a dataset.
fn kind(mapping: &Mapping, members: &Members<'_>) -> Option<String> {
    let parts: Vec<_> = mapping
        .event
        .iter()
        .filter_map(|alternatives| alternatives.iter().find_map(|part| id_part(part, members)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(":"))
}

fn id_part<'m>(part: &IdPart, members: &'m Members<'_>) -> Option<Cow<'m, str>> {
    let word = members.word(part.member)?;
    match part.form {
        IdForm::Word => Some(word),
        IdForm::StatusClass => match word.parse::<i64>() {
            Ok(status @ 100..=599) => Some(format!("{}xx", status / 100).into()),
            Ok(_) => None,
            Err(_) => Some(word),
        },
        IdForm::Bool { yes, no } => Some(match word.as_ref() {
            "true" => yes.into(),
            "false" => no.into(),
            _ => word,
        }),
    }
}

/// Whether the value is the one that Cloudflare uses for a missing value.
fn is_unknown(word: &str) -> bool {
    word.eq_ignore_ascii_case("unknown")
}

/// Writes a field. Returns whether the record has a value for it, and the value has the type of the
/// key.
fn write(line: &mut Line<'_>, members: &mut Members<'_>, field: &Field, key: &str) -> bool {
    match field.from {
        Source::Member(name) => {
            let Some(value) = members.text(name).filter(|text| !is_unknown(text)) else {
                return false;
            };
            let fits = line.typed(key, name, &value);
            if fits {
                members.set_written(name);
            }
            fits
        }
        Source::Time(name) => {
            let time = members.time_of(name);
            if let Some(time) = time {
                line.number(key, time.as_millisecond());
            }
            time.is_some()
        }
        Source::List(name) => {
            let list = members.list(name);
            if let Some(list) = &list {
                line.typed(key, name, list);
            }
            list.is_some()
        }
        Source::Url { scheme, host, path, query } => {
            let parts = [scheme, host, path].map(|name| members.text(name));
            let [Some(before), Some(host), Some(after)] = parts else { return false };
            let query_text = query.and_then(|name| members.text(name)).unwrap_or_default();
            line.pair(key, &format!("{before}://{host}{after}{query_text}"));
            // The host also stays a field of its own, which is easier to search.
            for name in [scheme, path].into_iter().chain(query) {
                members.set_written(name);
            }
            true
        }
    }
}
