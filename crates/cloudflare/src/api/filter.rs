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

/// Operators whose value is a list.
const OF_LISTS: [&str; 2] = ["in", "!in"];

/// Fields of `firewall_events` that cannot be filtered.
const UNFILTERED: [&str; 8] = [
    "Action",
    "Description",
    "Kind",
    "MatchIndex",
    "Metadata",
    "OriginatorRayID",
    "RuleID",
    "Source",
];

/// Reads a filter and gives it back without blanks, which would count. An empty one takes all
/// records. `dataset`: if it is known.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str, dataset: Option<&str>) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let filter: Value =
        serde_json::from_str(text).map_err(|error| format!("the filter is no JSON: {error}"))?;
    let condition = filter.as_object().filter(|object| object.len() == 1);
    let Some(condition) = condition.and_then(|object| object.get("where")) else {
        return Err(r#"a filter is an object with the one key "where", as in {"where":{"key":"EdgeResponseStatus","operator":"geq","value":500}}"#.into());
    };
    let operators = count(condition, dataset)?;
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
fn count(condition: &Value, dataset: Option<&str>) -> Result<usize, String> {
    let wrong = || {
        format!(
            r#"{condition} is no condition: write {{"key":"FIELD","operator":"eq","value":"..."}}, or {{"and":[...]}} or {{"or":[...]}} with conditions in it"#
        )
    };
    let object = condition.as_object().ok_or_else(wrong)?;
    for junction in ["and", "or"] {
        if let Some(parts) = object.get(junction) {
            let parts = parts.as_array().filter(|_| object.len() == 1).ok_or_else(wrong)?;
            return parts.iter().map(|part| count(part, dataset)).sum();
        }
    }
    let key = object.get("key").and_then(Value::as_str).ok_or_else(wrong)?;
    let value = object.get("value").ok_or_else(wrong)?;
    let operator = object.get("operator").and_then(Value::as_str).ok_or_else(wrong)?;
    if !OPERATORS.contains(&operator) {
        return Err(format!("`{operator}` is no operator: use one of {}", OPERATORS.join(", ")));
    }
    if dataset == Some("firewall_events") && UNFILTERED.contains(&key) {
        return Err(format!("`{key}` of firewall_events cannot be filtered"));
    }
    match value {
        Value::Array(_) if OF_LISTS.contains(&operator) => Ok(1),
        // Else: 1004 bad predicate: failed to decode value ... supported kinds: []uint64
        value if OF_LISTS.contains(&operator) => Err(format!(
            "`{operator}` takes an array: write {{\"key\":\"{key}\",\"operator\":\"{operator}\",\"value\":[{value}]}}"
        )),
        Value::Object(_) => {
            Err(format!("`{key}` is compared with an object, which Cloudflare cannot"))
        }
        _ => Ok(1),
    }
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
            parse(text, None).unwrap(),
            r#"{"where":{"and":[{"key":"ClientRequestPath","operator":"contains","value":"/static"},{"or":[{"key":"A","operator":"!in","value":[1,2]}]}]}}"#
        );
        assert_eq!(parse(" \n", None).unwrap(), "");
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
            (
                r#"{"where":{"key":"A","operator":"in","value":"1,2"}}"#,
                r#"write {"key":"A","operator":"in","value":["1,2"]}"#,
            ),
            (r#"{"where":{"or":[{"key":"A","operator":"!in","value":7}]}}"#, "takes an array"),
            (r#"{"where":{"key":"A","operator":"eq","value":{}}}"#, "with an object"),
            (r#"{"where":{"key":"Action","operator":"eq","value":"x"}}"#, "cannot be filtered"),
            (&many, "31 operators"),
            (&long, "1048 bytes"),
        ] {
            let error = parse(text, Some("firewall_events")).unwrap_err();
            assert!(error.contains(expected), "{expected:?} not in {error:?}");
        }
    }
}
