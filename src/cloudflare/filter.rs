//! Which records a job sends: the filter, checked as far as Cloudflare documents it.

use serde_json::Value;

/// Cloudflare documents "approximately 30 operators and 1000 bytes".
const MAX_BYTES: usize = 1000;
const MAX_OPERATORS: usize = 30;

const OPERATORS: [&str; 14] = [
    "eq",
    "!eq",
    "lt",
    "leq",
    "gt",
    "geq",
    "startsWith",
    "endsWith",
    "!startsWith",
    "!endsWith",
    "contains",
    "!contains",
    "in",
    "!in",
];

/// Reads a filter and gives it back without blanks, which would count. An empty one takes all
/// records.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let filter: Value =
        serde_json::from_str(text).map_err(|error| format!("the filter is no JSON: {error}"))?;
    let condition = filter.as_object().filter(|object| object.len() == 1);
    let Some(condition) = condition.and_then(|object| object.get("where")) else {
        return Err(r#"a filter is an object with the one key "where", as in {"where":{"key":"EdgeResponseStatus","operator":"geq","value":500}}"#.into());
    };
    let operators = count(condition)?;
    if operators > MAX_OPERATORS {
        return Err(format!(
            "the filter has {operators} operators, Cloudflare takes about {MAX_OPERATORS}"
        ));
    }
    let text = filter.to_string();
    if text.len() > MAX_BYTES {
        return Err(format!(
            "the filter has {} bytes without its blanks, Cloudflare takes {MAX_BYTES}: leave out conditions, or let the sink choose with `where`",
            text.len()
        ));
    }
    Ok(text)
}

/// How many operators a condition has.
fn count(condition: &Value) -> Result<usize, String> {
    let wrong = || {
        format!(
            r#"{condition} is no condition: write {{"key":"FIELD","operator":"eq","value":"..."}}, or {{"and":[...]}} or {{"or":[...]}} with conditions in it"#
        )
    };
    let object = condition.as_object().ok_or_else(wrong)?;
    for junction in ["and", "or"] {
        if let Some(parts) = object.get(junction) {
            let parts = parts.as_array().filter(|_| object.len() == 1).ok_or_else(wrong)?;
            return parts.iter().map(count).sum();
        }
    }
    let has_key = object.get("key").is_some_and(Value::is_string) && object.contains_key("value");
    let operator = object.get("operator").and_then(Value::as_str).filter(|_| has_key);
    let operator = operator.ok_or_else(wrong)?;
    if OPERATORS.contains(&operator) {
        return Ok(1);
    }
    Err(format!("`{operator}` is no operator: use one of {}", OPERATORS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_sent_without_blanks() {
        let text = r#" { "where" : { "and" : [
            {"key":"ClientRequestPath","operator":"contains","value":"/static"},
            {"or":[{"key":"A","operator":"!in","value":[1,2]}]} ] } } "#;
        assert_eq!(
            parse(text).unwrap(),
            r#"{"where":{"and":[{"key":"ClientRequestPath","operator":"contains","value":"/static"},{"or":[{"key":"A","operator":"!in","value":[1,2]}]}]}}"#
        );
        assert_eq!(parse(" \n").unwrap(), "");
    }

    #[test]
    fn what_cloudflare_would_refuse_is_named() {
        let condition = r#"{"key":"A","operator":"eq","value":1}"#;
        let many = format!(r#"{{"where":{{"or":[{}]}}}}"#, vec![condition; 31].join(","));
        let long =
            format!(r#"{{"where":{{"key":"A","operator":"eq","value":"{}"}}}}"#, "x".repeat(1000));
        for (text, expected) in [
            ("where", "no JSON"),
            ("[]", r#"one key "where""#),
            (condition, r#"one key "where""#),
            (r#"{"where":{},"x":1}"#, r#"one key "where""#),
            (r#"{"where":{}}"#, "is no condition"),
            (r#"{"where":{"and":{}}}"#, "is no condition"),
            (r#"{"where":{"key":"A","operator":"eq"}}"#, "is no condition"),
            (r#"{"where":{"key":"A","operator":"ne","value":1}}"#, "`ne` is no operator"),
            (&many, "31 operators"),
            (&long, "1048 bytes"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{expected:?} not in {error:?}");
        }
    }
}
