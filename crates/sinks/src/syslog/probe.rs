//! Checks whether the servers can be reached, without sending a message.

use std::{io, thread};

use super::{
    settings::{Settings, SyslogTarget},
    transport::Connection,
};
use crate::ProbeError;

/// Connects to all addresses at the same time, with the TLS handshake where they need one.
pub(super) fn probe(settings: &Settings) -> Result<Vec<String>, ProbeError> {
    let checks: Vec<_> = thread::scope(|scope| {
        let check = |target| scope.spawn(move || connect(target, settings));
        let threads: Vec<_> = settings.targets.iter().map(check).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let (mut facts, mut failures) = (Vec::new(), Vec::new());
    for (target, check) in settings.targets.iter().zip(checks) {
        match check.unwrap_or_else(|_| Err(io::Error::other("the check panicked"))) {
            Ok(fact) => facts.push(format!("{target}: {fact}")),
            Err(error) => failures.push(format!("{target}: {error}")),
        }
    }
    if failures.is_empty() {
        return Ok(facts);
    }
    let action = "check `address`, the server, and the firewalls between";
    Err(ProbeError::new(failures.join("; "), action))
}

fn connect(target: &SyslogTarget, settings: &Settings) -> io::Result<&'static str> {
    Connection::open(target, &settings.tls, settings.timeout)?;
    Ok(match target {
        SyslogTarget::Udp(_) => "the name resolves; over UDP nothing else can be checked",
        SyslogTarget::Tcp(_) | SyslogTarget::Unix(_) => "connected",
        SyslogTarget::Tls(_) => "connected, and verified the certificate",
    })
}
