//! Raises the limit of open files, and compares it with the needs of the configuration.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use super::OVERFLOW_CONNECTIONS;
use crate::{config::Config, http::MAX_UPLOADS, sink::MAX_OPEN_FILES};

/// Descriptors for standard streams, listeners, the runtime, the spool, checkpoints, certificates
/// and sinks with few files or connections.
const RESERVE: u64 = 128;

/// Raises the soft limit to the hard limit, and warns if that is too low.
pub(super) fn raise(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let (limit, error) = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => (raised, None),
        Err(error) => (limit, Some(error)),
    };
    if let Some(error) = error {
        warn!(%error, "cannot raise the soft limit of open files (RLIMIT_NOFILE)");
    }
    let needed = needed(config);
    if let Some(limit) = limit.current.filter(|limit| *limit < needed) {
        warn!(
            limit,
            needed,
            "the limit of open files is too low for limits.max_connections and the sinks; raise \
             LimitNOFILE (systemd) or `ulimit -Hn`, or lower limits.max_connections"
        );
    }
}

/// Returns the maximum number of open files: one for each connection and each body, those of the
/// sinks, and those of the quarantine.
fn needed(config: &Config) -> u64 {
    let sinks = config.sinks.iter().map(|sink| sink.kind.claims().descriptors).sum::<usize>();
    let quarantine = MAX_OPEN_FILES;
    let connections = config.limits.max_connections + OVERFLOW_CONNECTIONS;
    let bodies = MAX_UPLOADS.min(config.limits.max_connections);
    (connections + bodies + sinks + quarantine) as u64 + RESERVE
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn needed_with(more: &str) -> u64 {
        let text = format!(
            "[server.tls]\nself_signed = true\n[spool]\ndir = \"/s\"\n\
             [endpoint.main]\npath = \"/l/{{dataset}}\"\nauth = \"none\"\n{more}"
        );
        let path = Path::new("/etc/logpushd/logpushd.toml");
        needed(&config::check_text(path, &text).unwrap())
    }

    #[test]
    fn each_connection_and_each_file_of_a_sink_needs_a_descriptor() {
        let file = |name: &str| format!("[sink.{name}.file]\npath = \"/{name}/{{dataset}}\"\n");
        let one = needed_with(&file("a"));
        assert_eq!(one, 1024 + 64 + 512 + 2 * 64 + 128);
        assert_eq!(needed_with(&(file("a") + &file("b"))), one + 64);
        assert_eq!(needed_with(&(file("a") + "[sink.out.stdout]\n")), one);
        let http = "[sink.out.http]\nurl = \"https://a.example/\"\nin_flight = 200\n";
        assert_eq!(needed_with(&(file("a") + http)), one + 200);
        let few = "[limits]\nmax_connections = 24\n".to_owned() + &file("a");
        assert_eq!(needed_with(&few), one - 1000 - (512 - 24));
    }
}
