//! Opens a sink and its file of dead letters at its last checkpoint.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::checkpoint::Checkpoint;
use crate::{
    metrics::SinkMetrics,
    quarantine::DeadLetterFile,
    select::Choice,
    sink::{DeadLetters, Sink, SinkContext, SinkCounters, SinkEnvironment, SinkWaker},
    spool::Spool,
};

/// The parameters for opening a sink.
pub(super) struct Opening<'a> {
    pub(super) name: &'a str,
    pub(super) spool: &'a Spool,
    /// The checkpoint that the sink continues from.
    pub(super) saved: &'a Checkpoint,
    pub(super) metrics: &'a Arc<SinkMetrics>,
    /// Wakes the thread of the delivery.
    pub(super) waker: SinkWaker,
    /// Which records it gets.
    pub(super) choice: &'a Choice,
}

impl Opening<'_> {
    /// Opens the sink with `open`, and its file of dead letters.
    pub(super) fn run(
        self,
        environment: &SinkEnvironment,
        stop: CancellationToken,
        open: impl FnOnce(SinkContext) -> Result<Box<dyn Sink>, String>,
    ) -> Result<(Box<dyn Sink>, DeadLetterFile), String> {
        let (saved, cursors) = (self.saved.clone(), self.spool.cursors());
        let (own, metrics) = (self.metrics.own(), Arc::<SinkMetrics>::clone(self.metrics));
        let letters = DeadLetters::new(saved.dead_letters.written(), own.refused_records.into());
        let quarantine = &environment.quarantine;
        let directories = (quarantine.as_path(), cursors.as_path());
        let source = (self.name, self.choice.fingerprint());
        let file = DeadLetterFile::open(source, directories, saved.dead_letters, letters.clone())?;
        let sink = open(SinkContext {
            name: self.name.to_owned(),
            directory: cursors,
            state: saved.state,
            selection: self.choice.selection_text(),
            runtime: environment.runtime.clone(),
            stop,
            waker: self.waker,
            counters: SinkCounters {
                rotation_failures: own.rotation_failures.into(),
                compression_failures: own.compression_failures.into(),
                oversize_records: own.oversize_records.into(),
                discarded_records: own.discarded_records.into(),
            },
            metrics,
            dead_letters: letters,
        })?;
        Ok((sink, file))
    }
}
