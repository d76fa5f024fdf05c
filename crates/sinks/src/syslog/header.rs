//! Writes the header of a message, by RFC 5424 or RFC 3164.
//!
//! Except for severity and time, the header is the same for all records of a batch.

use std::io::Write as _;

use jiff::Timestamp;

use super::settings::{MessageFormat, Settings, SyslogFormat};

/// The maximum lengths of the fields, by RFC 5424; that of the tag by RFC 3164.
const MAX_HOSTNAME: usize = 255;
const MAX_APP_NAME: usize = 48;
const MAX_MSGID: usize = 32;
const MAX_TAG: usize = 32;

/// The header of a batch's messages.
#[derive(Debug)]
pub(super) struct Header {
    format: SyslogFormat,
    facility: u8,
    /// The precision of the time, with RFC 5424.
    precision: Precision,
    /// The text between the time and the record.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Precision {
    /// The format that IBM documents for LEEF: `QRadar` reads `yyyy-MM-ddTHH:mm:ss.SSSZ`.
    Milliseconds,
    /// The maximum of RFC 5424.
    Microseconds,
}

impl Header {
    /// `hostname` is `None` for RFC 3164 on a unix socket: syslog(3) does not send it there, and
    /// journald would treat it as a part of the message.
    pub(super) fn new(
        config: &Settings,
        hostname: Option<&str>,
        endpoint: &str,
        dataset: &str,
    ) -> Self {
        let fill = |text: &str| crate::origin_text::fill(text, dataset, endpoint);
        let mut rest = Vec::new();
        match config.format {
            SyslogFormat::Rfc5424 => {
                field(&mut rest, hostname.unwrap_or_default(), MAX_HOSTNAME);
                field(&mut rest, &fill(&config.app_name), MAX_APP_NAME);
                // PROCID: the daemon's process ID has no relation to the record.
                field(&mut rest, "", 0);
                field(&mut rest, &fill(&config.msgid), MAX_MSGID);
                rest.push(b' ');
                for (id, parameters) in &config.structured_data {
                    rest.push(b'[');
                    rest.extend_from_slice(id.as_bytes());
                    for (name, value) in parameters {
                        rest.push(b' ');
                        rest.extend_from_slice(name.as_bytes());
                        rest.extend_from_slice(b"=\"");
                        escape(&mut rest, &fill(value));
                        rest.push(b'"');
                    }
                    rest.push(b']');
                }
                if config.structured_data.is_empty() {
                    rest.push(b'-');
                }
                rest.push(b' ');
            }
            SyslogFormat::Rfc3164 => {
                if let Some(hostname) = hostname {
                    field(&mut rest, hostname, MAX_HOSTNAME);
                }
                field(&mut rest, &fill(&config.app_name), MAX_TAG);
                rest.extend_from_slice(b": ");
            }
        }
        let precision = match config.message {
            MessageFormat::Leef => Precision::Milliseconds,
            MessageFormat::Json | MessageFormat::Cef => Precision::Microseconds,
        };
        Self { format: config.format, facility: config.facility, precision, rest }
    }

    /// Appends the header of one message. `time` is from [`Header::time`].
    pub(super) fn write(&self, out: &mut Vec<u8>, severity: u8, time: &str) {
        let priority = u16::from(self.facility) * 8 + u16::from(severity);
        // Cannot fail: writes to a vector succeed.
        write!(out, "<{priority}>").ok();
        if self.format == SyslogFormat::Rfc5424 {
            out.extend_from_slice(b"1 ");
        }
        out.extend_from_slice(time.as_bytes());
        out.extend_from_slice(&self.rest);
    }

    /// Formats a time for the header, in UTC. RFC 3164 has neither a time zone nor a year.
    pub(super) fn time(&self, time: Timestamp) -> String {
        let form = match (self.format, self.precision) {
            (SyslogFormat::Rfc5424, Precision::Milliseconds) => "%Y-%m-%dT%H:%M:%S.%3fZ",
            (SyslogFormat::Rfc5424, Precision::Microseconds) => "%Y-%m-%dT%H:%M:%S.%6fZ",
            (SyslogFormat::Rfc3164, _) => "%b %e %H:%M:%S",
        };
        time.strftime(form).to_string()
    }
}

/// Appends a space and a field, truncated to `max` characters; `-` if it is empty.
fn field(out: &mut Vec<u8>, text: &str, max: usize) {
    let printable = text.bytes().filter(u8::is_ascii_graphic).take(max);
    out.push(b' ');
    let before = out.len();
    out.extend(printable);
    if out.len() == before {
        out.push(b'-');
    }
}

/// Appends the value of a parameter, with a backslash before `"`, `\` and `]`.
fn escape(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        if matches!(byte, b'"' | b'\\' | b']') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{settings::LeefVersion, tests::config},
        *,
    };

    fn header(config: &Settings, severity: u8) -> String {
        let header = Header::new(config, Some("host.example"), "main", "http_requests");
        let time = "2026-03-04T05:06:07.123456789Z".parse().unwrap();
        let mut out = Vec::new();
        header.write(&mut out, severity, &header.time(time));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc5424_follows_its_grammar() {
        let config = config();
        assert_eq!(
            header(&config, 6),
            "<134>1 2026-03-04T05:06:07.123456Z host.example logpushd - http_requests - "
        );
    }

    /// Whether `text` matches `pattern`, where `9` is any digit, `A` any ASCII letter, and any
    /// other character itself.
    fn has_form(text: &str, pattern: &str) -> bool {
        text.len() == pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(byte, form)| match form {
                b'9' => byte.is_ascii_digit(),
                b'A' => byte.is_ascii_alphabetic(),
                form => byte == form,
            })
    }

    /// "LEEF event components" in IBM's DSM guide: `<PRI>1 TIMESTAMP HOST` with milliseconds, or
    /// `<PRI>TIMESTAMP HOST`, and a space before the header of LEEF.
    #[test]
    fn leef_has_the_syslog_header_that_ibm_documents() {
        for leef_version in [LeefVersion::V2, LeefVersion::V1] {
            let mut config = Settings { message: MessageFormat::Leef, leef_version, ..config() };
            let new = header(&config, 6);
            let (time, rest) = new.strip_prefix("<134>1 ").unwrap().split_once(' ').unwrap();
            assert!(has_form(time, "9999-99-99T99:99:99.999Z"), "{time}");
            assert_eq!(time, "2026-03-04T05:06:07.123Z");
            assert!(rest.starts_with("host.example ") && rest.ends_with(' '), "{rest}");

            config.format = SyslogFormat::Rfc3164;
            let old = header(&config, 6);
            let (time, rest) = old.strip_prefix("<134>").unwrap().split_at(15);
            assert!(has_form(&time.replace(' ', "0"), "AAA099099:99:99"), "{time}");
            assert!(rest.starts_with(" host.example ") && rest.ends_with(' '), "{rest}");
        }
    }

    #[test]
    fn structured_data_is_filled_in_and_escaped() {
        let mut config = config();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        config.structured_data = vec![
            (
                "zone@32473".into(),
                vec![pair("of", "{endpoint}/{dataset}"), pair("q", r#"a"b\c]d é"#)],
            ),
            ("empty@32473".into(), vec![]),
        ];
        assert!(header(&config, 0).ends_with(
            r#" - http_requests [zone@32473 of="main/http_requests" q="a\"b\\c\]d é"][empty@32473] "#
        ));
    }

    #[test]
    fn rfc3164_has_a_padded_day_and_a_tag() {
        let mut config = config();
        config.format = SyslogFormat::Rfc3164;
        config.facility = 23;
        config.app_name = "cf-{dataset}".into();
        assert_eq!(header(&config, 7), "<191>Mar  4 05:06:07 host.example cf-http_requests: ");
        let header = Header::new(&config, None, "main", "dns_logs");
        assert_eq!(header.rest, b" cf-dns_logs: ");
    }

    #[test]
    fn fields_are_truncated_and_contain_no_space() {
        let mut config = config();
        config.app_name = "a".repeat(60);
        config.msgid = format!("b c\u{e9}{}", "d".repeat(40));
        let text = header(&config, 6);
        let fields: Vec<_> = text.split(' ').collect();
        assert_eq!(fields[3], "a".repeat(48));
        assert_eq!(fields[5], format!("bc{}", "d".repeat(30)));
        config.msgid = String::new();
        assert_eq!(header(&config, 6).split(' ').nth(5), Some("-"));
    }
}
