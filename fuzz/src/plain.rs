//! The simplest readers of bodies, to compare with the decoder.

use logpushd::decode::{Block, RejectReason};
use serde_json::value::RawValue;

use super::body::{BLOCK_BYTES, is_object};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Compares the blocks with the simplest reading of lines.
pub(super) fn check_lines(record_bytes: usize, body: &[u8], blocks: &[Block]) {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let start = body.trim_ascii_start();
    if !start.get(..BLOCK_BYTES).unwrap_or(start).contains(&b'\n') {
        // It may be read as one line of objects, of any length.
        return;
    }
    let (mut want, mut want_rejects, mut position) = (Vec::new(), Vec::new(), 0);
    for line in body.split(|byte| *byte == b'\n') {
        let record = line.strip_suffix(b"\r").unwrap_or(line);
        if record.trim_ascii().is_empty() {
            if record.len() > record_bytes {
                // Whether that is an empty line or a record too long depends on its position.
                return;
            }
            continue;
        }
        position += 1;
        let reason = if record.len() > record_bytes {
            RejectReason::TooLong
        } else if std::str::from_utf8(record).is_err() {
            RejectReason::NotUtf8
        } else if serde_json::from_slice::<&RawValue>(record).is_err() {
            if let Some(objects) = objects(record) {
                position += objects.len() as u64 - 1;
                for object in objects {
                    want.extend(as_one_line(object.as_bytes()));
                    want.push(b'\n');
                }
                continue;
            }
            RejectReason::NotJson
        } else if !is_object(record) {
            RejectReason::NotObject
        } else {
            want.extend(as_one_line(record));
            want.push(b'\n');
            continue;
        };
        want_rejects.push((position, reason));
    }
    let got: Vec<u8> = blocks.iter().flat_map(|block| &block.bytes).copied().collect();
    assert!(got == want, "got {:?}", String::from_utf8_lossy(&got));
    let rejects = blocks.iter().flat_map(|block| &block.rejects);
    let got: Vec<_> = rejects.map(|reject| (reject.position, reject.reason)).collect();
    assert_eq!(got, want_rejects);
}

/// Returns the objects of a line that contains only objects with optional commas between them.
fn objects(line: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(line).ok()?;
    let blank = |c: char| c.is_ascii_whitespace();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut objects = Vec::new();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let value = values.next()?.ok()?.get();
        if !value.starts_with('{') {
            return None;
        }
        objects.push(value);
        rest = rest.get(values.byte_offset()..)?.trim_start_matches([' ', '\t', '\r']);
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start_matches(blank);
    }
    Some(objects)
}

fn as_one_line(record: &[u8]) -> impl Iterator<Item = u8> {
    record.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })
}

/// Compares the blocks with what `serde_json` finds in a body of concatenated objects.
pub(super) fn check_concatenated(record_bytes: usize, body: &[u8], blocks: &[Block]) {
    let mut want = Vec::new();
    for value in serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>() {
        let Ok(value) = value.map(RawValue::get) else { return };
        if !value.starts_with('{') || value.len() > record_bytes {
            return;
        }
        want.extend(as_one_line(value.as_bytes()));
        want.push(b'\n');
    }
    let got: Vec<u8> = blocks.iter().flat_map(|block| &block.bytes).copied().collect();
    assert!(got == want, "got {:?}", String::from_utf8_lossy(&got));
    assert!(blocks.iter().all(|block| block.rejects.is_empty()));
}

/// Compares the blocks with the simplest reading of text.
pub(super) fn check_text(record_bytes: usize, body: &[u8], blocks: &[Block]) {
    let (mut want, mut want_rejects, mut position) = (String::new(), Vec::new(), 0);
    let mut at_start = true;
    for line in body.split(|byte| *byte == b'\n') {
        let mut text = line.strip_suffix(b"\r").unwrap_or(line);
        if at_start {
            text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        }
        let is_long = line.len() > record_bytes + 1;
        if text.trim_ascii().is_empty() && !is_long {
            continue;
        }
        // A byte order mark after a line that is too long to be read still counts.
        at_start &= is_long;
        position += 1;
        let made = std::str::from_utf8(text)
            .map(|text| serde_json::json!({ "message": text }).to_string());
        let reason = match made {
            _ if is_long || text.len() > record_bytes => RejectReason::TooLong,
            Err(_) => RejectReason::NotUtf8,
            Ok(made) if made.len() > record_bytes => RejectReason::TooLong,
            Ok(made) => {
                want += &(made + "\n");
                continue;
            }
        };
        want_rejects.push((position, reason));
    }
    let got: Vec<u8> = blocks.iter().flat_map(|block| &block.bytes).copied().collect();
    assert!(got == want.as_bytes(), "got {:?}", String::from_utf8_lossy(&got));
    let rejects = blocks.iter().flat_map(|block| &block.rejects);
    let got: Vec<_> = rejects.map(|reject| (reject.position, reject.reason)).collect();
    assert_eq!(got, want_rejects);
}
