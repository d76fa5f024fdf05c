//! The `stdout` sink: records as lines on standard output, for a pipe.
//!
//! At least once: what a reader has taken cannot be known, so after a failed attempt or a crash a
//! batch is written again from its beginning. A closed pipe stays closed until the next start; the
//! batches wait for it in the spool.

use std::{
    io::{self, Write as _},
    path::Path,
};

use super::{Begin, Mark, Sink, SinkError};
use crate::{decode::Block, durable, spool::Batch};

/// Standard output.
pub(super) struct Stdout;

impl Sink for Stdout {
    fn begin(&mut self, _batch: &Batch) -> Result<Begin, SinkError> {
        Ok(Begin::Ready)
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let written = io::stdout().lock().write_all(&block.bytes);
        Ok(written.map_err(durable::at("writing to", Path::new("standard output")))?)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        let flushed = io::stdout().lock().flush();
        Ok(flushed.map_err(durable::at("writing to", Path::new("standard output")))?)
    }

    fn sync(&mut self) -> Result<Vec<Mark>, SinkError> {
        Ok(Vec::new())
    }
}
