//! What a syslog sink needs of the system.

use std::io;

use crate::{
    config::{Diagnostic, Document, SinkKind},
    sink::syslog::SyslogTarget,
};

/// Without the kernel's list of connections, a sink that sends over TCP or TLS cannot know what has
/// arrived, and fails. `readable` is whether the list can be read.
pub(super) fn errors(document: &Document, readable: &io::Result<()>) -> Vec<Diagnostic> {
    let Err(error) = readable else { return Vec::new() };
    let is_network =
        |target: &SyslogTarget| matches!(target, SyslogTarget::Tcp(_) | SyslogTarget::Tls(_));
    let sinks = document.config.sinks.iter().filter(|sink| match &sink.kind {
        SinkKind::Syslog(syslog) => syslog.targets.iter().any(is_network),
        _ => false,
    });
    let key = |name: &str| format!("sink.{name}.syslog.address");
    sinks.map(|sink| document.error(&key(&sink.name), error.to_string())).collect()
}
