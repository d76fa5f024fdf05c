//! `logpushd quarantine`: lists, shows, replays and deletes what could not be accepted.

mod delete;
mod divide;
mod list;
mod settle;
mod show;

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write},
    ops::ControlFlow,
    path::Path,
};

pub(super) use self::{
    divide::{Gone, divide},
    settle::settle,
};
use super::replay;
use crate::{
    cli::quarantine::{QuarantineChoice, QuarantineCommand},
    config::Config,
    decode::RejectReason,
    durable,
    fatal::Fatal,
    quarantine::{BODIES, REFUSED},
};

/// The reason of a body that could not be read as a whole, as metrics have it.
pub(super) const UNDECODABLE: &str = "undecodable_body";

/// Does what `command` says.
///
/// # Errors
/// Also if something is still bad after a replay, or was left out.
pub fn run(config: &Config, command: &QuarantineCommand, out: &mut dyn Write) -> Result<(), Fatal> {
    match command {
        QuarantineCommand::List(options) => list::run(config, options.json, out),
        QuarantineCommand::Show(options) => {
            check(&options.choice)?;
            show::run(config, options, out)
        }
        QuarantineCommand::Replay(options) => {
            check(&options.choice)?;
            replay::run(config, options, out)
        }
        QuarantineCommand::Delete(options) => {
            check(&options.choice)?;
            delete::run(config, options, out)
        }
    }
}

/// Refuses a reason that nothing is rejected for. Any endpoint may have been in the configuration.
fn check(choice: &QuarantineChoice) -> Result<(), Fatal> {
    let known: Vec<_> = RejectReason::ALL
        .iter()
        .map(|reason| reason.label())
        .chain([UNDECODABLE, REFUSED])
        .collect();
    match choice.reason.iter().find(|reason| !known.contains(&reason.as_str())) {
        Some(reason) => Err(Fatal::Usage(format!(
            "--reason `{}` is unknown: use one of {}",
            reason.escape_debug(),
            known.join(", ")
        ))),
        None => Ok(()),
    }
}

/// Takes the number and the bytes of a line, and says whether to continue.
pub(super) type VisitLine<'a> = &'a mut dyn FnMut(u64, &[u8]) -> io::Result<ControlFlow<()>>;

/// Visits the lines of a file, numbered from 1, each with its line end.
pub(super) fn each_line(path: &Path, visit: VisitLine<'_>) -> io::Result<()> {
    let file = File::open(path).map_err(durable::error_at("opening", path))?;
    let mut file = BufReader::with_capacity(256 * 1024, file);
    let (mut line, mut number) = (Vec::new(), 0);
    while file.read_until(b'\n', &mut line).map_err(durable::error_at("reading", path))? > 0 {
        number += 1;
        if visit(number, &line)?.is_break() {
            break;
        }
        line.clear();
    }
    Ok(())
}

/// Whether a path is in the quarantine's own directory, and no copy elsewhere.
pub(super) fn is_own(config: &Config, path: &Path) -> bool {
    let dir = &config.quarantine.dir;
    let real = |path: &Path| fs::canonicalize(path).ok();
    let own = [real(dir), real(&dir.join(BODIES))];
    real(durable::parent(path)).is_some_and(|folder| own.contains(&Some(folder)))
}
