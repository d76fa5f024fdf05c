//! `[sink.NAME.stdout]`: its keys.

use settings::{settings, words};

use super::Stdout;
use crate::{
    Sink, SinkContext,
    kinds::{Claims, Kind},
};

settings! {
    /// Writes records to standard output, for a pipe or a terminal, at least once. Only one
    /// sink can use it. The daemon's own log goes to standard error.
    ///
    /// If the reader closes the pipe, batches wait in the spool until the next start.
    pub struct Settings in "sink.NAME.stdout" {
        /// The format of a line: the record as received, or readable `name=value` pairs.
        pub format: StdoutFormat = "ndjson",
    }
}

words! {
    /// `format`
    pub enum StdoutFormat {
        /// The record as received.
        Ndjson = "ndjson",
        /// `name=value` pairs.
        Text = "text",
    }
}

impl Kind for Settings {
    fn target(&self) -> String {
        "standard output".to_owned()
    }

    fn claims(&self) -> Claims<'_> {
        Claims { stdout: true, ..Claims::default() }
    }

    fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>, String> {
        Ok(Box::new(Stdout::new(self.format)))
    }
}
