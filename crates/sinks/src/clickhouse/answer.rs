//! Interprets the answers of ClickHouse by their exception codes.
//!
//! The codes are those of `src/Common/ErrorCodes.cpp`. The status alone is not enough: an exception
//! after the beginning of an answer leaves a 200 with the exception in its body.

use reqwest::{StatusCode, header::HeaderMap};

use crate::{network::HttpAnswer, upload::Verdict};

/// The maximum size of an answer.
const MAX_BYTES: usize = 1 << 20;

/// The header with the code of an exception.
const EXCEPTION_CODE: &str = "x-clickhouse-exception-code";

/// Codes of values that a column does not accept. Such an insert stores nothing.
const RECORD: [u16; 30] = [
    6,   // CANNOT_PARSE_TEXT
    25,  // CANNOT_PARSE_ESCAPE_SEQUENCE
    26,  // CANNOT_PARSE_QUOTED_STRING
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    32,  // ATTEMPT_TO_READ_AFTER_EOF
    33,  // CANNOT_READ_ALL_DATA
    38,  // CANNOT_PARSE_DATE
    41,  // CANNOT_PARSE_DATETIME
    53,  // TYPE_MISMATCH
    69,  // ARGUMENT_OUT_OF_BOUND
    70,  // CANNOT_CONVERT_TYPE
    72,  // CANNOT_PARSE_NUMBER
    117, // INCORRECT_DATA
    128, // TOO_LARGE_ARRAY_SIZE
    130, // CANNOT_READ_ARRAY_FROM_TEXT
    131, // TOO_LARGE_STRING_SIZE
    190, // SIZES_OF_ARRAYS_DONT_MATCH
    306, // TOO_DEEP_RECURSION
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    376, // CANNOT_PARSE_UUID
    407, // DECIMAL_OVERFLOW
    441, // CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING
    467, // CANNOT_PARSE_BOOL
    469, // VIOLATED_CONSTRAINT
    563, // CANNOT_READ_MAP_FROM_TEXT
    632, // UNEXPECTED_DATA_AFTER_PARSED_VALUE
    675, // CANNOT_PARSE_IPV4
    676, // CANNOT_PARSE_IPV6
    691, // UNKNOWN_ELEMENT_OF_ENUM
];

/// The meaning of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Meaning {
    /// The query was executed.
    Done,
    /// A record is at fault, and no record was stored.
    Record,
    /// The query may succeed later.
    Later,
    /// The operator has to do this.
    Operator(&'static str),
    /// The answer is not that of a query: the status decides.
    ByStatus,
}

/// Interprets the answer to an insert.
pub(super) async fn verdict(mut answer: HttpAnswer, skips_unknown_fields: bool) -> Verdict {
    match body(&mut answer, skips_unknown_fields).await {
        // An insert has no result.
        Ok(body) if body.trim_ascii().is_empty() => Verdict::Delivered,
        Ok(body) => Verdict::Alert {
            why: answer.failure(&format!("with a text: {}", String::from_utf8_lossy(&body))),
            action: NOT_CLICKHOUSE.to_owned(),
        },
        Err(verdict) => verdict,
    }
}

/// What to do about an answer that is not that of ClickHouse.
pub(super) const NOT_CLICKHOUSE: &str =
    "set `url` to the HTTP interface of ClickHouse, by default port 8123 or 8443";

/// Reads the result of a query.
///
/// # Errors
/// The query failed.
pub(super) async fn body(
    answer: &mut HttpAnswer,
    skips_unknown_fields: bool,
) -> Result<Vec<u8>, Verdict> {
    let body = match answer.body(MAX_BYTES).await {
        Ok(body) => body,
        // The server may close the connection before it has read a request that it refuses.
        Err(_) if !answer.status().is_success() => Vec::new(),
        Err(verdict) => return Err(verdict),
    };
    let text = String::from_utf8_lossy(&body);
    let meaning = meaning(answer.status(), answer.headers(), &text, skips_unknown_fields);
    let why = || answer.failure(&text);
    Err(match meaning {
        Meaning::Done => return Ok(body),
        Meaning::Record => Verdict::Refused { why: why() },
        Meaning::Later => Verdict::Retry { after: answer.retry_after(), why: why() },
        Meaning::Operator(action) => Verdict::Alert { why: why(), action: action.to_owned() },
        Meaning::ByStatus => match answer.verdict_with(&text) {
            // ClickHouse itself names the exception when a record is at fault.
            Verdict::Delivered | Verdict::Refused { .. } => {
                Verdict::Alert { why: why(), action: NOT_CLICKHOUSE.to_owned() }
            }
            verdict => verdict,
        },
    })
}

fn meaning(
    status: StatusCode,
    headers: &HeaderMap,
    text: &str,
    skips_unknown_fields: bool,
) -> Meaning {
    let Some(code) = exception_code(headers, text) else {
        let is_clickhouse = headers.keys().any(|name| name.as_str().starts_with("x-clickhouse-"));
        let is_whole = !text.contains("__exception__");
        return match status.is_success() && is_clickhouse {
            true if is_whole => Meaning::Done,
            true => Meaning::Later,
            false => Meaning::ByStatus,
        };
    };
    let meaning = meaning_of_code(code, status, text, skips_unknown_fields);
    // The table itself may have stored the block before a view failed: the chunk must not be
    // divided, since its parts have other tokens.
    if text.contains("while pushing to view") && meaning != Meaning::Later {
        return Meaning::Operator(
            "repair the materialized view that the message names, or drop it; the insert is \
             repeated with the same token",
        );
    }
    meaning
}

fn meaning_of_code(
    code: u16,
    status: StatusCode,
    text: &str,
    skips_unknown_fields: bool,
) -> Meaning {
    if code == 117 && !skips_unknown_fields && text.contains("Unknown field found") {
        return Meaning::Operator(
            "add a column for the field to the table, or set `skip_unknown_fields = true`",
        );
    }
    if RECORD.contains(&code) {
        return Meaning::Record;
    }
    operator_code(code).unwrap_or_else(|| {
        let is_permanent = status.is_client_error()
            && status != StatusCode::REQUEST_TIMEOUT
            && status != StatusCode::TOO_MANY_REQUESTS;
        if is_permanent {
            Meaning::Operator("check the table, the server and the sink's settings")
        } else {
            Meaning::Later
        }
    })
}

/// What the operator has to do about an exception, if only the operator can repair it.
fn operator_code(code: u16) -> Option<Meaning> {
    let action = match code {
        // NO_SUCH_COLUMN_IN_TABLE, ILLEGAL_COLUMN, THERE_IS_NO_COLUMN, NOT_FOUND_COLUMN_IN_BLOCK
        8 | 10 | 16 | 44 => "compare the columns of the table with the fields of the records",
        // NOT_IMPLEMENTED
        48 => "set `table` to a table that accepts inserts",
        // UNKNOWN_TABLE, UNKNOWN_DATABASE
        60 | 81 => {
            "create the table, or set `database` and `table` to the right names; \
             docs/sinks/clickhouse.md has statements"
        }
        // UNKNOWN_FORMAT, UNKNOWN_SETTING
        73 | 115 => {
            "use ClickHouse 22.8 or later, and only settings in `url` that the server knows"
        }
        // READONLY, DATABASE_ACCESS_DENIED, ACCESS_DENIED, UNKNOWN_ROLE, SET_NON_GRANTED_ROLE
        164 | 291 | 497 | 511 | 512 => "grant the user of the sink INSERT on the table",
        // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, IP_ADDRESS_NOT_ALLOWED,
        // AUTHENTICATION_FAILED, USER_EXPIRED
        192..=195 | 516 | 720 => {
            "check `user`, the password in `password_file`, and the networks \
             that the user may connect from"
        }
        // NOT_ENOUGH_SPACE
        243 => "free space on the disk of the ClickHouse server",
        // SETTING_CONSTRAINT_VIOLATION, READONLY_SETTING
        452 | 472 => "let the user of the sink change the setting that the message names",
        // TABLE_IS_PERMANENTLY_READ_ONLY
        774 => "make the table writable, or set `table` to another one",
        _ => return None,
    };
    Some(Meaning::Operator(action))
}

/// The code of the exception that the answer reports.
fn exception_code(headers: &HeaderMap, text: &str) -> Option<u16> {
    let header = headers.get(EXCEPTION_CODE).and_then(|value| value.to_str().ok());
    let header = header.and_then(|value| value.trim().parse().ok()).filter(|code| *code != 0);
    header.or_else(|| {
        text.match_indices("Code: ").find_map(|(at, before)| {
            let rest = text.get(at + before.len()..)?;
            let (code, rest) = rest.split_once(|c: char| !c.is_ascii_digit())?;
            // Older servers write "Code: 60, e.displayText() = DB::Exception: ...".
            let is_exception = rest.get(..rest.len().min(80))?.contains("DB::Exception");
            if is_exception { code.parse().ok() } else { None }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let named = |(name, value): &(&'static str, &str)| {
            (reqwest::header::HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(named).collect()
    }

    /// The meaning of an exception, as ClickHouse reports it.
    fn exception(status: u16, code: u16, message: &str, skips: bool) -> Meaning {
        let code = code.to_string();
        let headers = headers(&[("x-clickhouse-exception-code", &code)]);
        let text = format!("Code: {code}. DB::Exception: {message} (version 26.9.2.1)");
        meaning(StatusCode::from_u16(status).unwrap(), &headers, &text, skips)
    }

    #[test]
    fn each_exception_has_its_meaning() {
        for (status, codes, expected) in [
            (400, &[6, 25, 26, 27, 38, 41, 53, 72, 117, 376, 441, 675, 676][..], "record"),
            (500, &[33, 69, 70, 130, 131, 349, 407, 467, 469, 563, 632, 691], "record"),
            (404, &[60, 81, 115, 73], "operator"),
            (403, &[192, 193, 497, 516], "operator"),
            (401, &[194], "operator"),
            (500, &[16, 164, 195, 243, 291, 452, 472, 511, 512, 720, 774], "operator"),
            (501, &[48], "operator"),
            // Not listed: the status decides.
            (400, &[36, 62], "operator"),
            (404, &[46, 47], "operator"),
            (500, &[3, 159, 201, 202, 209, 210, 225, 236, 241, 242, 252, 285, 286, 319], "later"),
            (500, &[244, 354, 394, 439, 999, 1000, 1002], "later"),
            (408, &[159], "later"),
            (503, &[209, 439], "later"),
        ] {
            for code in codes {
                let found = match exception(status, *code, "", true) {
                    Meaning::Record => "record",
                    Meaning::Operator(_) => "operator",
                    Meaning::Later => "later",
                    Meaning::Done | Meaning::ByStatus => "other",
                };
                assert_eq!(found, expected, "{status} {code}");
            }
        }
    }

    #[test]
    fn an_unknown_field_is_for_the_operator_unless_it_is_skipped() {
        let message = "Unknown field found while parsing JSONEachRow format: RayName";
        let stops = exception(400, 117, message, false);
        assert!(
            matches!(stops, Meaning::Operator(action) if action.contains("column")),
            "{stops:?}"
        );
        let duplicate = "Duplicate field found while parsing JSONEachRow format: RayID";
        assert_eq!(exception(400, 117, duplicate, false), Meaning::Record);
    }

    #[test]
    fn the_exception_of_a_view_is_no_fault_of_a_record() {
        let message = "Cannot parse string 'abc' as UInt8: while pushing to view d.mv";
        let found = exception(400, 6, message, true);
        assert!(matches!(found, Meaning::Operator(action) if action.contains("view")), "{found:?}");
        let message = "Memory limit exceeded: while pushing to view d.mv";
        assert_eq!(exception(500, 241, message, true), Meaning::Later);
    }

    #[test]
    fn a_200_counts_only_without_an_exception() {
        let ok = StatusCode::OK;
        let clickhouse = headers(&[("x-clickhouse-query-id", "1")]);
        assert_eq!(meaning(ok, &clickhouse, "", true), Meaning::Done);
        for late in [
            "Code: 241. DB::Exception: Memory limit exceeded",
            "1\tCode: 241, e.displayText() = DB::Exception: Memory limit exceeded",
            "__exception__\r\nrumfyutuqkncbgau",
        ] {
            assert_eq!(meaning(ok, &clickhouse, late, true), Meaning::Later, "{late}");
        }
        let code = headers(&[("x-clickhouse-exception-code", "241")]);
        assert_eq!(meaning(ok, &code, "", true), Meaning::Later);
        // Text of a record is no exception.
        assert_eq!(meaning(ok, &clickhouse, "Code: 241", true), Meaning::Done);
        // Another server accepts any request.
        assert_eq!(meaning(ok, &HeaderMap::new(), "", true), Meaning::ByStatus);
    }

    #[test]
    fn an_answer_of_a_proxy_is_interpreted_by_its_status() {
        let bad_gateway = StatusCode::BAD_GATEWAY;
        assert_eq!(meaning(bad_gateway, &HeaderMap::new(), "<html>", true), Meaning::ByStatus);
    }
}
