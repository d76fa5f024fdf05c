//! What the configuration will have and this version has not.
//!
//! Such a key is no misspelling: it gets an answer of its own, that says what to do until then.

/// Keys, and values as `key=value`; `*` stands for any one name.
const LATER: &[(&str, &str)] = &[(
    "endpoint.*.protocol=splunk_hec",
    "leave `protocol` out and use an HTTP destination in Logpush",
)];

/// What to do without `name`, if it is known and not there yet.
pub(super) fn advice(name: &str) -> Option<&'static str> {
    LATER.iter().find(|(pattern, _)| matches(pattern, name)).map(|(_, advice)| *advice)
}

fn matches(pattern: &str, name: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('.'), name.split('.'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if pattern == "*" || pattern == name => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_keys_and_values() {
        assert!(advice("endpoint.*.protocol=splunk_hec").is_some());
        assert!(advice("endpoint.*.format=xml").is_none());
        assert!(advice("sink.*.file").is_none());
    }
}
