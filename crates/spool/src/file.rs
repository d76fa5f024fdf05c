//! Decodes the file of a batch.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use records::decode::{Block, DecodeError, Decoder, Summary};

use crate::durable;

/// The size of a read.
const READ_BYTES: usize = 64 * 1024;

/// The reason why a batch could not be read completely.
#[derive(Debug)]
pub enum ReadError<E> {
    /// The file cannot be read now.
    Io(io::Error),
    /// The file is damaged. All blocks before the damage were passed on.
    Damaged(DecodeError),
    /// The consumer of the blocks failed.
    Consumer(E),
}

/// Decodes the file at `path`, and passes its blocks to `take` until that fails.
pub fn decode_file<E>(
    path: &Path,
    mut decoder: Decoder,
    take: &mut dyn FnMut(&Block) -> Result<(), E>,
) -> Result<Summary, ReadError<E>> {
    let mut file =
        File::open(path).map_err(durable::error_at("opening", path)).map_err(ReadError::Io)?;
    let mut piece = vec![0; READ_BYTES];
    loop {
        let bytes = match file.read(&mut piece) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ReadError::Io(durable::error_at("reading", path)(error))),
        };
        let mut taken = Ok(());
        let mut hand_over = |block: Block| {
            if taken.is_ok() {
                taken = take(&block);
            }
        };
        if bytes == 0 {
            let finished = decoder.finish(&mut hand_over);
            taken.map_err(ReadError::Consumer)?;
            return finished.map_err(ReadError::Damaged);
        }
        let pushed = decoder.push(piece.get(..bytes).unwrap_or_default(), &mut hand_over);
        // Stop reading if the consumer has failed.
        taken.map_err(ReadError::Consumer)?;
        pushed.map_err(ReadError::Damaged)?;
    }
}
