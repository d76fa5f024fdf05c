//! Detects the framing of a JSON body by its first bytes: lines, an array, or an array in an envelope.

use super::json;

/// The byte order mark that some editors and Windows programs write before text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The number of bytes in which the key of an envelope is searched.
const MAX_ENVELOPE_BYTES: usize = 1024;

/// The framing of a body, and the number of bytes before its first record.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Opening {
    Lines,
    Array { bytes: usize },
    Envelope { bytes: usize },
}

impl Opening {
    /// Detects the framing by the first bytes of a body.
    pub(super) fn detect(body: &[u8]) -> Self {
        let blank = body.len() - body.trim_ascii_start().len();
        match body.get(blank) {
            Some(b'[') => Self::Array { bytes: blank + 1 },
            Some(b'{') => {
                let head = body.get(blank..).unwrap_or_default();
                let head = head.get(..MAX_ENVELOPE_BYTES).unwrap_or(head);
                match envelope(head) {
                    Some(bytes) => Self::Envelope { bytes: blank + bytes },
                    None => Self::Lines,
                }
            }
            _ => Self::Lines,
        }
    }
}

/// Whether a body is concatenated objects without line ends, as from a job whose `record_suffix` has no
/// line end. The single line of such a body can exceed any limit.
pub(super) fn is_one_line(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    body.first() == Some(&b'{')
        && memchr::memchr(b'\n', body).is_none()
        && json::first(body).is_some_and(|(_, end)| {
            let rest = body.get(end..).unwrap_or_default();
            let next = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
            next.first() == Some(&b'{')
        })
}

/// The length of `{"key":[` if `head` opens an envelope, rather than a record whose first field is an
/// array, such as `{"Logs":[{..}],"Outcome":..}` of `workers_trace_events`.
///
/// The key `events` is always an envelope. Any other key is one only if the line ends after the bracket,
/// since a record does not span lines.
fn envelope(head: &[u8]) -> Option<usize> {
    let rest = head.strip_prefix(b"{")?.trim_ascii_start().strip_prefix(b"\"")?;
    let key_bytes = memchr::memchr2(b'"', b'\\', rest)?;
    let (key, rest) = rest.split_at(key_bytes);
    let rest = rest.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b":")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"[")?;
    let bytes = head.len() - rest.len();
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or(rest);
    let ends_line = line.len() < rest.len() && line.trim_ascii().is_empty();
    let holds_objects = matches!(rest.trim_ascii_start().first(), Some(b'{' | b']'));
    (holds_objects && (key == b"events" || ends_line)).then_some(bytes)
}

/// Whether a body whose first line is `record` is read as lines, for any second line.
pub(super) fn opens_as_lines(record: &[u8]) -> bool {
    let record = record.trim_ascii_start();
    let head = record.get(..2 * MAX_ENVELOPE_BYTES).unwrap_or(record);
    Opening::detect(&[head, b"\n{"].concat()) == Opening::Lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framing_is_detected_by_the_first_bytes() {
        for (body, want) in [
            ("", Opening::Lines),
            ("  \n", Opening::Lines),
            ("{\"a\":1}\n", Opening::Lines),
            ("garbage", Opening::Lines),
            (" \r\n[", Opening::Array { bytes: 4 }),
            ("[{\"a\":1}]", Opening::Array { bytes: 1 }),
            ("{\"events\":[{\"a\":1}]}", Opening::Envelope { bytes: 11 }),
            ("{\"events\":[]}", Opening::Envelope { bytes: 11 }),
            ("{ \"events\" : [\n  {", Opening::Envelope { bytes: 14 }),
            ("{\"logs\":[\r\n{\"a\":1}", Opening::Envelope { bytes: 9 }),
            ("\n{\n  \"x\": [\n  {", Opening::Envelope { bytes: 11 }),
            ("{\"Logs\":[{\"a\":1}],\"Outcome\":\"ok\"}\n", Opening::Lines),
            ("{\"Logs\":[],\"Outcome\":\"ok\"}\n{", Opening::Lines),
            ("{\"events\":[1,2]}\n", Opening::Lines),
            ("{\"events\":\"[\"}\n", Opening::Lines),
            ("{\"events", Opening::Lines),
        ] {
            assert_eq!(Opening::detect(body.as_bytes()), want, "{body:?}");
        }
    }
}
