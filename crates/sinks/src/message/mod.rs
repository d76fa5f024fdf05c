//! Turns one record into a message that a SIEM reads: its own JSON, CEF or LEEF.
//!
//! Pure: no clock, no sockets. The rules are told to people in `docs/message-formats.md`; what goes
//! where stands in the tables of `mapping`, and nothing of a record is left out but empty values.

use std::borrow::Cow;

mod line;
mod mapping;
mod members;
mod severity;
mod shorten;
mod shorten_json;
#[cfg(test)]
mod tests;

use self::{
    line::{Line, Syntax},
    mapping::{Field, IdForm, IdPart, Mapping, Source},
    members::Members,
};

/// What the body of a message is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Message {
    /// The record as it came.
    #[default]
    Json,
    /// Common Event Format, version 0.
    Cef,
    /// Log Event Extended Format, version 2.0.
    Leef,
    /// Log Event Extended Format, version 1.0: attributes are always separated by tabs.
    Leef1,
}

/// Appends to `out` the message for `record`, a JSON object of `dataset`: one line, without an end of
/// line. It cannot fail: a record that cannot be read goes into the message as a whole.
pub fn render(message: Message, dataset: &str, record: &[u8], out: &mut Vec<u8>) {
    match message {
        Message::Json => out.extend_from_slice(record),
        Message::Cef => event(Syntax::Cef, dataset, record, out),
        Message::Leef => event(Syntax::Leef, dataset, record, out),
        Message::Leef1 => event(Syntax::Leef1, dataset, record, out),
    }
}

/// The same in at most `max` bytes: the longest fields are left out and named in a field. Returns whether there
/// is such a message; if not, nothing is appended.
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
        // Of several members for one key the first that has a value takes it.
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

/// What tells the dataset's events apart, for the event's ID.
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
        IdForm::Truth { yes, no } => Some(match word.as_ref() {
            "true" => yes.into(),
            "false" => no.into(),
            _ => word,
        }),
    }
}

/// What Cloudflare has where there is nothing to say.
fn says_nothing(word: &str) -> bool {
    word.eq_ignore_ascii_case("unknown")
}

/// Says whether there was such a value and it fits the key.
fn write(line: &mut Line<'_>, members: &mut Members<'_>, field: &Field, key: &str) -> bool {
    match field.from {
        Source::Member(name) => {
            let Some(value) = members.text(name).filter(|text| !says_nothing(text)) else {
                return false;
            };
            let fits = line.typed(key, name, &value);
            if fits {
                members.mark(name);
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
            let asked = query.and_then(|name| members.text(name)).unwrap_or_default();
            line.pair(key, &format!("{before}://{host}{after}{asked}"));
            // The host stays by itself, too: people search for it.
            for name in [scheme, path].into_iter().chain(query) {
                members.mark(name);
            }
            true
        }
    }
}
