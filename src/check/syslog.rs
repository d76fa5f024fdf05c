//! Checks the requirements of sinks that read acknowledgments from the kernel.

use std::io;

use crate::config::{Diagnostic, Document};

/// Reports each sink that sends over TCP or TLS if the kernel's list of connections is unreadable:
/// such a sink cannot know what has arrived, and fails. `readable` is the result of reading the
/// list.
pub(super) fn errors(document: &Document, readable: &io::Result<()>) -> Vec<Diagnostic> {
    let Err(error) = readable else { return Vec::new() };
    let keys = document.config.sinks.iter().filter_map(|sink| {
        let key = sink.kind.claims().acknowledged?;
        Some(sink.full_name(key))
    });
    keys.map(|key| document.error(&key, error.to_string())).collect()
}
