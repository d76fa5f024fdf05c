//! A batch's file, led through a decoder.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use records::decode::{Block, DecodeError, Decoder, Summary};

use crate::durable;

/// How much of a file is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Why a batch could not be handed over whole.
#[derive(Debug)]
pub enum ReadError<E> {
    /// Its file cannot be read now.
    Io(io::Error),
    /// Its file is damaged. All blocks up to the damage were handed over.
    Damaged(DecodeError),
    /// Whoever took the blocks stopped.
    Taker(E),
}

/// Decodes the file at `path`, for as long as `take` takes blocks.
pub fn decode_file<E>(
    path: &Path,
    mut decoder: Decoder,
    take: &mut dyn FnMut(&Block) -> Result<(), E>,
) -> Result<Summary, ReadError<E>> {
    let mut file = File::open(path).map_err(durable::at("opening", path)).map_err(ReadError::Io)?;
    let mut piece = vec![0; READ_BYTES];
    loop {
        let bytes = match file.read(&mut piece) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ReadError::Io(durable::at("reading", path)(error))),
        };
        let mut taken = Ok(());
        let mut hand_over = |block: Block| {
            if taken.is_ok() {
                taken = take(&block);
            }
        };
        if bytes == 0 {
            let finished = decoder.finish(&mut hand_over);
            taken.map_err(ReadError::Taker)?;
            return finished.map_err(ReadError::Damaged);
        }
        let pushed = decoder.push(piece.get(..bytes).unwrap_or_default(), &mut hand_over);
        // There is no point in reading on for whoever has stopped.
        taken.map_err(ReadError::Taker)?;
        pushed.map_err(ReadError::Damaged)?;
    }
}
