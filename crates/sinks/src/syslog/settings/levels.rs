//! The facilities and severities of RFC 5424, by name.

use settings::{Context, Diagnostic, Value, reference::Takes, setting};

/// The index of each facility is its number.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// The index of each severity is its number.
const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

setting! {
    /// The number of a facility.
    pub struct Facility(u8): Takes::OneOf(&FACILITIES), read by facility;
}

setting! {
    /// The number of a severity.
    pub struct Severity(u8): Takes::OneOf(&SEVERITIES), read by severity;
}

setting! {
    /// Values of a field and their severities.
    pub struct SeverityValues(Vec<(String, u8)>): Takes::Names("values and severities"),
        read by severity_values;
}

fn facility(value: &Value<'_>, cx: &mut Context) -> Option<u8> {
    value.choice(&numbered(&FACILITIES), cx)
}

fn severity(value: &Value<'_>, cx: &mut Context) -> Option<u8> {
    value.choice(&numbered(&SEVERITIES), cx)
}

fn numbered(words: &[&'static str]) -> Vec<(&'static str, u8)> {
    words.iter().copied().zip(0..).collect()
}

fn severity_values(value: &Value<'_>, cx: &mut Context) -> Option<Vec<(String, u8)>> {
    let pairs = value.pairs(cx)?;
    let known = numbered(&SEVERITIES);
    let mut values = Vec::new();
    for (value, severity) in pairs {
        let word = severity.get_ref();
        if let Some((_, number)) = known.iter().find(|(name, _)| name == word) {
            values.push((value.into_inner(), *number));
            continue;
        }
        let choices = SEVERITIES.map(|name| format!("\"{name}\"")).join(", ");
        let message = format!("`{}` is not a severity", word.escape_debug());
        cx.push(
            Diagnostic::at(severity.span(), message).hint(format!("valid values are {choices}")),
        );
    }
    Some(values)
}
