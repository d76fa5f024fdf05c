//! What sinks that ask the kernel for acknowledgments need of the system.

use std::io;

use crate::config::{Diagnostic, Document};

/// Without the kernel's list of connections, a sink that sends over TCP or TLS cannot know what has
/// arrived, and fails. `readable` is whether the list can be read.
pub(super) fn errors(document: &Document, readable: &io::Result<()>) -> Vec<Diagnostic> {
    let Err(error) = readable else { return Vec::new() };
    let keys = document.config.sinks.iter().filter_map(|sink| {
        let key = sink.kind.claims().acknowledged?;
        Some(sink.full_name(key))
    });
    keys.map(|key| document.error(&key, error.to_string())).collect()
}
