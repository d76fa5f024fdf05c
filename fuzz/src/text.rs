//! The configuration: any text is either a valid `Config` or problems that can be shown.

use std::path::Path;

use logpushd::{
    config::{self, Config, SinkKind},
    sink::template::PathTemplate,
};

/// Reads `data` as a configuration. Skips bytes that are not text.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/etc/logpushd/logpushd.toml");
    match config::check_text(path, text) {
        Ok(config) => check_config(&config),
        Err(problems) => {
            assert!(!problems.diagnostics().is_empty(), "refused without a reason");
            for problem in problems.diagnostics() {
                let Some(span) = &problem.span else { continue };
                assert!(text.get(span.clone()).is_some(), "{span:?} is no part of the text");
                assert!(!problem.message.contains('\n'), "{:?} is no line", problem.message);
            }
            let shown = problems.to_string();
            assert!(!shown.contains('\u{1b}'), "an escape sequence reaches the terminal");
            assert!(
                shown.matches("/etc/logpushd/logpushd.toml").count()
                    >= problems.diagnostics().len()
            );
        }
    }
}

/// Checks the properties that the daemon relies on.
fn check_config(config: &Config) {
    assert!(!config.server.addresses.is_empty());
    assert!(!config.endpoints.is_empty());
    assert!(!config.sinks.is_empty());
    for endpoint in &config.endpoints {
        assert!(is_name(&endpoint.name));
        assert!(!endpoint.sinks.is_empty());
        for name in &endpoint.sinks {
            assert!(config.sinks.iter().any(|sink| sink.name == *name), "no sink {name}");
        }
    }
    for sink in &config.sinks {
        assert!(is_name(&sink.name));
        if let SinkKind::File(file) = &sink.kind {
            assert!(file.path.starts_with('/'));
            assert!(PathTemplate::parse(&file.path).is_ok(), "{:?}", file.path);
        }
    }
    let limits = &config.limits;
    assert!(limits.max_record_bytes <= limits.max_inflated_bytes);
    assert!(limits.max_body_bytes <= limits.max_in_flight_bytes);
    assert!(limits.max_connections > 0);
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
