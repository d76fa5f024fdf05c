//! Checks the filter of a job, as far as Cloudflare documents its rules.

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

/// Operators that take an array.
const LIST_OPERATORS: [&str; 2] = ["in", "!in"];

/// Fields of `firewall_events` that cannot be filtered.
const UNFILTERABLE: [&str; 8] = [
    "Action",
    "Description",
    "Kind",
    "MatchIndex",
    "Metadata",
    "OriginatorRayID",
    "RuleID",
    "Source",
];

/// Checks a filter and returns it without insignificant white space, which would count toward the limit.
///
/// An empty filter matches all records. `dataset` is the job's dataset, if known.
///
/// # Errors
/// The filter is not valid JSON, or breaks a rule that Cloudflare documents.
pub fn parse(text: &str, dataset: Option<&str>) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let filter: Value = serde_json::from_str(text)
        .map_err(|error| format!("the filter is not valid JSON: {error}"))?;
    let condition = filter.as_object().filter(|object| object.len() == 1);
    let Some(condition) = condition.and_then(|object| object.get("where")) else {
        return Err(r#"a filter is an object whose only key is "where", such as {"where":{"key":"EdgeResponseStatus","operator":"geq","value":500}}"#.into());
    };
    let operators = count_operators(condition, dataset)?;
    if operators > MAX_OPERATORS {
        return Err(format!(
            "the filter has {operators} operators, and Cloudflare accepts about {MAX_OPERATORS}"
        ));
    }
    let text = filter.to_string();
    if text.len() > MAX_BYTES {
        return Err(format!(
            "the filter has {} bytes without white space, and Cloudflare accepts {MAX_BYTES}; remove conditions, or filter in the sink with `where`",
            text.len()
        ));
    }
    Ok(text)
}

/// Counts the operators of a condition.
fn count_operators(condition: &Value, dataset: Option<&str>) -> Result<usize, String> {
    let wrong = || {
        format!(
            r#"{condition} is not a condition: write {{"key":"FIELD","operator":"eq","value":"..."}}, or {{"and":[...]}} or {{"or":[...]}} around conditions"#
        )
    };
    let object = condition.as_object().ok_or_else(wrong)?;
    for junction in ["and", "or"] {
        if let Some(parts) = object.get(junction) {
            let parts = parts.as_array().filter(|_| object.len() == 1).ok_or_else(wrong)?;
            return parts.iter().map(|part| count_operators(part, dataset)).sum();
        }
    }
    let key = object.get("key").and_then(Value::as_str).ok_or_else(wrong)?;
    let value = object.get("value").ok_or_else(wrong)?;
    let operator = object.get("operator").and_then(Value::as_str).ok_or_else(wrong)?;
    if !OPERATORS.contains(&operator) {
        return Err(format!(
            "`{operator}` is not an operator: use one of {}",
            OPERATORS.join(", ")
        ));
    }
    if dataset == Some("firewall_events") && UNFILTERABLE.contains(&key) {
        return Err(format!("Cloudflare cannot filter firewall_events by `{key}`"));
    }
    match value {
        Value::Array(_) if LIST_OPERATORS.contains(&operator) => Ok(1),
        // Cloudflare answers: 1004 bad predicate: failed to decode value ... supported kinds: []uint64
        value if LIST_OPERATORS.contains(&operator) => Err(format!(
            "`{operator}` takes an array: write {{\"key\":\"{key}\",\"operator\":\"{operator}\",\"value\":[{value}]}}"
        )),
        Value::Object(_) => {
            Err(format!("`{key}` is compared with an object, which Cloudflare does not support"))
        }
        _ => Ok(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_removed_from_a_filter() {
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
    fn filters_that_cloudflare_would_refuse_are_rejected() {
        let condition = r#"{"key":"A","operator":"eq","value":1}"#;
        let many = format!(r#"{{"where":{{"or":[{}]}}}}"#, vec![condition; 31].join(","));
        let long =
            format!(r#"{{"where":{{"key":"A","operator":"eq","value":"{}"}}}}"#, "x".repeat(1000));
        for (text, expected) in [
            ("where", "not valid JSON"),
            ("[]", r#"only key is "where""#),
            (condition, r#"only key is "where""#),
            (r#"{"where":{},"x":1}"#, r#"only key is "where""#),
            (r#"{"where":{}}"#, "is not a condition"),
            (r#"{"where":{"and":{}}}"#, "is not a condition"),
            (r#"{"where":{"key":"A","operator":"eq"}}"#, "is not a condition"),
            (r#"{"where":{"key":"A","operator":"ne","value":1}}"#, "`ne` is not an operator"),
            (
                r#"{"where":{"key":"A","operator":"in","value":"1,2"}}"#,
                r#"write {"key":"A","operator":"in","value":["1,2"]}"#,
            ),
            (r#"{"where":{"or":[{"key":"A","operator":"!in","value":7}]}}"#, "takes an array"),
            (r#"{"where":{"key":"A","operator":"eq","value":{}}}"#, "with an object"),
            (
                r#"{"where":{"key":"Action","operator":"eq","value":"x"}}"#,
                "cannot filter firewall_events by `Action`",
            ),
            (&many, "31 operators"),
            (&long, "1048 bytes"),
        ] {
            let error = parse(text, Some("firewall_events")).unwrap_err();
            assert!(error.contains(expected), "{expected:?} not in {error:?}");
        }
    }
}
