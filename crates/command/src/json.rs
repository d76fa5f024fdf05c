//! `--json`: one object, in which no text can steer a terminal.

use std::io::{self, Write};

use serde::Serialize;
use settings::printable;

/// Writes one value over several lines.
pub fn write(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    let mut safe = String::with_capacity(text.len() + 1);
    printable::json(&text, &mut safe);
    safe.push('\n');
    out.write_all(safe.as_bytes())
}
