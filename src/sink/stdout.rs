//! The `stdout` sink: records as lines on standard output, for a pipe.
//!
//! At least once: what a reader has taken cannot be known, so after a failed attempt or a crash a
//! batch is written again from its beginning. A closed pipe stays closed until the next start; the
//! batches wait for it in the spool.

use std::io::{self, Write as _};

use super::{Begin, Mark, Sink, SinkError, text};
use crate::{config::StdoutForm, decode::Block, spool::Batch};

/// Standard output.
pub(super) struct Stdout {
    form: StdoutForm,
    /// The dataset of the batch under way.
    dataset: String,
}

impl Stdout {
    pub(super) fn new(form: StdoutForm) -> Self {
        Self { form, dataset: String::new() }
    }
}

impl Sink for Stdout {
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError> {
        self.dataset.clone_from(&batch.header.dataset);
        Ok(Begin::Ready)
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        let mut out = io::stdout().lock();
        Ok(match self.form {
            StdoutForm::Ndjson => out.write_all(&block.bytes),
            StdoutForm::Text => {
                let mut lines = String::new();
                for record in block.iter() {
                    text::line(&self.dataset, record, &mut lines);
                }
                out.write_all(lines.as_bytes())
            }
        }
        .map_err(failed)?)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(io::stdout().lock().flush().map_err(failed)?)
    }

    fn sync(&mut self) -> Result<Vec<Mark>, SinkError> {
        Ok(Vec::new())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "so that map_err takes it")]
fn failed(error: io::Error) -> io::Error {
    let what = match error.kind() {
        io::ErrorKind::BrokenPipe => {
            "nobody reads standard output any more: batches wait until logpushd is started anew"
                .to_owned()
        }
        _ => format!("writing to standard output: {error}"),
    };
    io::Error::new(error.kind(), what)
}
