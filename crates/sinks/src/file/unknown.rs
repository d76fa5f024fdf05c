//! Truncates bytes that no checkpoint covers, in files where the next attempt may write other
//! bytes.

use std::{fs::Metadata, io, path::Path};

use spool::durable;
use tracing::warn;

use super::{FileSink, inventory::Identity, open};

/// What the sink does with the bytes of a file that no checkpoint covers: a failed attempt or an
/// earlier process wrote them after the last checkpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownBytes {
    /// Compares them with what it writes again, and keeps them if they are equal.
    #[default]
    Compare,
    /// Truncates the file to the length in the checkpoint.
    Truncate,
}

impl FileSink {
    /// Truncates each file to its length in the checkpoint, also if it was renamed. A file that is
    /// not found is truncated when the sink next writes to it.
    ///
    /// # Errors
    /// The first error; the other files are truncated all the same.
    pub fn truncate_unknown_bytes(&self) -> io::Result<()> {
        let mut outcome = Ok(());
        for (path, target) in
            self.targets.iter().filter(|_| self.unknown_bytes == UnknownBytes::Truncate)
        {
            let is_match = |_: &Path, it: &Metadata| {
                let it = Identity::of(it);
                it.inode == target.inode && (target.made.is_none() || target.made == it.made)
            };
            let Some((file, metadata)) = open::renamed(path, &self.opener, &is_match) else {
                continue;
            };
            let bytes = metadata.len().saturating_sub(target.finished_len);
            if bytes == 0 {
                continue;
            }
            let cut = durable::truncate(&file, target.finished_len, path)
                .and_then(|()| durable::sync(&file, path));
            match cut {
                Ok(()) => {
                    let path = path.display();
                    warn!(%path, bytes, "truncated bytes that were written after the last checkpoint");
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }
}
