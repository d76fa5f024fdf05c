//! `[sink.NAME.stdout]`: its keys.

use settings::{settings, words};

use super::Stdout;
use crate::{
    Sink, SinkContext,
    kinds::{Claims, Kind},
};

settings! {
    /// Standard output, for a pipe or a terminal, at least once. Only one sink can use it; the
    /// daemon's own log goes to standard error.
    ///
    /// When the reader closes the pipe, batches wait in the spool until the next start.
    pub struct Settings in "sink.NAME.stdout" {
        /// Records as received, or `name=value` pairs for people.
        pub format: Form = "ndjson",
    }
}

words! {
    /// `format`
    pub enum Form {
        /// Records as they came.
        Ndjson = "ndjson",
        /// For people.
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
