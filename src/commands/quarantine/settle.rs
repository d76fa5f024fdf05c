//! Waits until the daemon can no longer be writing to a file that was renamed.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{config::Config, delivery, fatal::Fatal, quarantine, spool::ReadOnlySpool};

/// How long a batch may take that the daemon is writing to quarantine: far more than it needs, unless
/// it cannot write.
const SETTLE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Waits until the daemon is done with the files that were renamed just before. `pause` waits, and fails
/// if waiting is of no use any more.
///
/// The daemon looks at a file's name when it begins with a batch. The batch that it may be in the
/// middle of is therefore in the spool by now, and its checkpoint tells when that is written. Dead letters
/// are written under a lock.
pub(in crate::commands) fn settle(
    config: &Config,
    pause: &mut dyn FnMut(Duration) -> Result<(), Fatal>,
) -> Result<(), Fatal> {
    let survey = ReadOnlySpool::new(&config.spool.dir);
    let waiting = match survey.contents() {
        // No daemon has run yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        contents => contents?.waiting,
    };
    let quarantine = delivery::quarantine_consumer();
    let last = waiting.iter().rev().find(|entry| (quarantine.accepts)(&entry.batch));
    let last = last.map_or(0, |entry| entry.batch.sequence);
    let begun = Instant::now();
    while !quarantine::is_settled(&survey.cursors())? {
        if begun.elapsed() > SETTLE {
            return Err(Fatal::Unavailable(format!(
                "the daemon has been writing records that a target refused for {} seconds: see its log, then \
                 repeat this command",
                SETTLE.as_secs()
            )));
        }
        pause(POLL)?;
    }
    while delivery::last_batch(&survey.cursors(), delivery::QUARANTINE)?.unwrap_or(0) < last {
        if begun.elapsed() > SETTLE {
            return Err(Fatal::Unavailable(format!(
                "the daemon has not written the rejected records of batch {last} for {} seconds: start it if it is \
                 down, see its log, then repeat this command",
                SETTLE.as_secs()
            )));
        }
        pause(POLL)?;
    }
    Ok(())
}
