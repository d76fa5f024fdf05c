//! `logpushd quarantine`: lists, shows, replays and deletes quarantined records and bodies.

mod delete;
mod list;
mod show;
mod split;
mod wait;

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write},
    ops::ControlFlow,
    path::Path,
};

pub(super) use self::{
    split::{Removal, split_file},
    wait::wait_until_written,
};
use super::replay;
use crate::{
    cli::quarantine::{QuarantineCommand, QuarantineFilter},
    config::Config,
    decode::RejectReason,
    durable,
    fatal::Fatal,
    quarantine::{BODIES, REFUSED},
};

/// The reason of an unreadable body, also in metrics.
pub(super) const UNDECODABLE: &str = "undecodable_body";

/// Runs a subcommand of `logpushd quarantine`.
///
/// # Errors
/// Also if records are still invalid after a replay, or were skipped.
pub fn run(config: &Config, command: &QuarantineCommand, out: &mut dyn Write) -> Result<(), Fatal> {
    match command {
        QuarantineCommand::List(options) => list::run(config, options.json, out),
        QuarantineCommand::Show(options) => {
            check(&options.filter)?;
            show::run(config, options, out)
        }
        QuarantineCommand::Replay(options) => {
            check(&options.filter)?;
            replay::run(config, options, out)
        }
        QuarantineCommand::Delete(options) => {
            check(&options.filter)?;
            delete::run(config, options, out)
        }
    }
}

/// Refuses an unknown reason. Any endpoint is valid: the configuration may have had it.
fn check(filter: &QuarantineFilter) -> Result<(), Fatal> {
    let known: Vec<_> = RejectReason::ALL
        .iter()
        .map(|reason| reason.label())
        .chain([UNDECODABLE, REFUSED])
        .collect();
    match filter.reason.iter().find(|reason| !known.contains(&reason.as_str())) {
        Some(reason) => Err(Fatal::Usage(format!(
            "--reason `{}` is unknown: use one of {}",
            reason.escape_debug(),
            known.join(", ")
        ))),
        None => Ok(()),
    }
}

/// Handles the number and the bytes of a line, and returns whether to continue.
pub(super) type HandleLine<'a> = &'a mut dyn FnMut(u64, &[u8]) -> io::Result<ControlFlow<()>>;

/// Passes the lines of a file to `handle`, numbered from 1, each with its line feed.
pub(super) fn each_line(path: &Path, handle: HandleLine<'_>) -> io::Result<()> {
    let file = File::open(path).map_err(durable::error_at("opening", path))?;
    let mut file = BufReader::with_capacity(256 * 1024, file);
    let (mut line, mut number) = (Vec::new(), 0);
    while file.read_until(b'\n', &mut line).map_err(durable::error_at("reading", path))? > 0 {
        number += 1;
        if handle(number, &line)?.is_break() {
            break;
        }
        line.clear();
    }
    Ok(())
}

/// Returns whether a path is in the directory of the quarantine, not a copy elsewhere.
pub(super) fn is_own(config: &Config, path: &Path) -> bool {
    let dir = &config.quarantine.dir;
    let real = |path: &Path| fs::canonicalize(path).ok();
    let own = [real(dir), real(&dir.join(BODIES))];
    real(durable::parent(path)).is_some_and(|folder| own.contains(&Some(folder)))
}
