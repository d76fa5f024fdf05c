//! Waits until the daemon no longer writes to a renamed file.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{config::Config, delivery, fatal::Fatal, quarantine, spool::ReadOnlySpool};

/// The timeout. Writing the rejected records of a batch takes far less, unless the disk fails.
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Waits until the daemon has finished writing to files that were just renamed. `pause` waits, and
/// returns an error if the daemon has stopped.
///
/// The daemon opens a file by name at the beginning of a batch. Its current batch is therefore in
/// the spool now, and is written once the checkpoint of the quarantine covers it. Dead letters are
/// written under a lock.
pub(in crate::commands) fn wait_until_written(
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
        if begun.elapsed() > TIMEOUT {
            return Err(Fatal::Unavailable(format!(
                "the daemon is still writing dead letters after {} seconds: see its log, then repeat this \
                 command",
                TIMEOUT.as_secs()
            )));
        }
        pause(POLL)?;
    }
    while delivery::last_batch(&survey.cursors(), delivery::QUARANTINE)?.unwrap_or(0) < last {
        if begun.elapsed() > TIMEOUT {
            return Err(Fatal::Unavailable(format!(
                "the daemon has not written the rejected records of batch {last} after {} seconds: start the \
                 daemon if it is down, see its log, then repeat this command",
                TIMEOUT.as_secs()
            )));
        }
        pause(POLL)?;
    }
    Ok(())
}
