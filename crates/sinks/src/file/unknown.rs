//! Cuts off what no checkpoint covers, for files whose next attempt may write something else.

use std::{fs::Metadata, io, path::Path};

use spool::durable;
use tracing::warn;

use super::{FileSink, Unknown, inventory::Identity, open};

impl FileSink {
    /// Cuts off what follows the marks, also in files that were renamed meanwhile. A file that is not
    /// found stays as it is, until something is written to it.
    ///
    /// # Errors
    /// The first; the other files were cut all the same.
    pub fn cut_unknown(&self) -> io::Result<()> {
        let mut outcome = Ok(());
        for (path, target) in self.targets.iter().filter(|_| self.unknown == Unknown::Cut) {
            let is_it = |_: &Path, it: &Metadata| {
                let it = Identity::of(it);
                it.inode == target.inode && (target.made.is_none() || target.made == it.made)
            };
            let Some((file, metadata)) = open::renamed(path, &self.place, &is_it) else { continue };
            let bytes = metadata.len().saturating_sub(target.finished);
            if bytes == 0 {
                continue;
            }
            let cut = durable::truncate(&file, target.finished, path)
                .and_then(|()| durable::sync(&file, path));
            match cut {
                Ok(()) => {
                    let path = path.display();
                    warn!(%path, bytes, "cut off what was written after the last checkpoint");
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }
}
