//! Parses any text as a destination. Each accepted destination can be encoded and parsed again.

use logpushd::destination::{Destination, Parsed, ProblemSeverity};

/// Reads `data` as a `destination_conf`. Skips bytes that are not text.
pub fn destination(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Destination::parse(text) {
        Ok(Parsed { destination, .. }) => {
            assert!(destination.path_and_query.starts_with('/'));
            // Headers may take more room than before.
            let Ok(encoded) = destination.encode() else { return };
            let parsed =
                Destination::parse(&encoded).expect("an encoded destination can be parsed");
            assert_eq!(parsed.destination, destination);
        }
        Err(problems) => {
            let length = text.chars().count();
            let is_error = |severity| severity == ProblemSeverity::Error;
            assert!(problems.0.iter().any(|problem| is_error(problem.severity)));
            assert!(
                problems.0.iter().filter_map(|problem| problem.column).all(|at| at <= length + 1)
            );
            assert!(!problems.to_string().contains('\u{1b}'), "an escape reaches the terminal");
        }
    }
}
