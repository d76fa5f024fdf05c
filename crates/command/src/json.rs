//! Output of `--json`: one object, with control characters escaped so that no text can control a
//! terminal.

use std::io::{self, Write};

use serde::Serialize;
use settings::printable;

/// Writes `value` as indented JSON, followed by a line feed.
pub fn write(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    let mut safe = String::with_capacity(text.len() + 1);
    printable::json(&text, &mut safe);
    safe.push('\n');
    out.write_all(safe.as_bytes())
}
