//! Lists and renames the files of the quarantine directory.
//!
//! A records file is `records-DATE.ndjson`, or `records-DATE.SECONDS.ndjson` after it became large.
//! With a sink's name, `records-SINK-DATE.ndjson`, it contains the records that the sink's target
//! refused. A replay renames a file to `NAME.replay-SECONDS`, and to `NAME.replayed-SECONDS` when
//! it was sent and accepted.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::BODIES;
use crate::{durable, spool::Batch};

const RECORDS_PREFIX: &str = "records-";
const RECORDS_SUFFIX: &str = ".ndjson";
const IN_REPLAY: &str = ".replay-";
const REPLAYED: &str = ".replayed-";

/// The files of the quarantine directory, oldest first, without files that the daemon did not
/// create.
#[derive(Debug, Default)]
pub struct QuarantineFiles {
    /// The files.
    pub files: Vec<QuarantineFile>,
}

/// A file of the quarantine directory.
#[derive(Clone, Debug)]
pub struct QuarantineFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Kind of the file, by its name.
    pub kind: FileKind,
    /// Length of the file. A body may share its disk space with the spool.
    pub bytes: u64,
    /// Time of the last modification.
    pub modified: SystemTime,
    /// Inode number.
    pub inode: u64,
}

/// The kind of a quarantine file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FileKind {
    /// Rejected records.
    Records {
        /// A replay has renamed the file and has not finished. The daemon does not write to it.
        in_replay: bool,
    },
    /// A body that cannot be decoded.
    Body {
        /// Name of the endpoint.
        endpoint: String,
        /// Name of the dataset.
        dataset: String,
    },
    /// A whole batch with a record that is truncated in the records file.
    Batch(Box<Batch>),
    /// A file that was sent and accepted.
    Replayed,
}

impl QuarantineFiles {
    /// Lists the directory `dir`, which is `quarantine.dir`. Files may be removed meanwhile.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut list = Self::default();
        list.add_directory(dir)?;
        list.add_directory(&dir.join(BODIES))?;
        list.files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        Ok(list)
    }

    fn add_directory(&mut self, directory: &Path) -> io::Result<()> {
        let files = match fs::read_dir(directory) {
            // Nothing was ever quarantined.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files.map_err(durable::error_at("reading", directory))?,
        };
        for file in files {
            let path = file.map_err(durable::error_at("reading", directory))?.path();
            let Some(kind) = FileKind::of(&path) else { continue };
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_file() => {
                    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
                    let (bytes, inode) = (metadata.len(), metadata.ino());
                    self.files.push(QuarantineFile { path, kind, bytes, modified, inode });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the total length of the files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl QuarantineFile {
    /// Returns a key that identifies the file also after it is renamed in its directory. The
    /// directory is part of the key, since `bodies/` may be on another filesystem.
    pub(super) fn key(&self) -> String {
        let directory = durable::parent(&self.path).file_name().unwrap_or_default();
        let is_body = directory == BODIES;
        format!("{}{}", if is_body { "body-" } else { "" }, self.inode)
    }
}

impl FileKind {
    /// Returns the kind of a file by its name. Returns `None` if the daemon creates no such name.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if let Some(batch) = Batch::from_file_name(name) {
            return Some(Self::Batch(Box::new(batch)));
        }
        let (base, suffix) = split(name);
        let is_records = base.starts_with(RECORDS_PREFIX) && base.ends_with(RECORDS_SUFFIX);
        let body = body(base);
        match suffix {
            Some(REPLAYED) if is_records || body.is_some() => Some(Self::Replayed),
            Some(_) if is_records => Some(Self::Records { in_replay: true }),
            None if is_records => Some(Self::Records { in_replay: false }),
            None => body,
            Some(_) => None,
        }
    }
}

/// Parses the name of a body, `ENDPOINT.DATASET.DIGEST`.
fn body(name: &str) -> Option<FileKind> {
    let mut fields = name.split('.');
    let (endpoint, dataset, digest) = (fields.next()?, fields.next()?, fields.next()?);
    let is_digest = digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_digest && fields.next().is_none())
        .then(|| FileKind::Body { endpoint: endpoint.to_owned(), dataset: dataset.to_owned() })
}

/// Splits `.replay-SECONDS` or `.replayed-SECONDS` off a name.
fn split(name: &str) -> (&str, Option<&'static str>) {
    for suffix in [IN_REPLAY, REPLAYED] {
        if let Some((base, seconds)) = name.rsplit_once(suffix)
            && !seconds.is_empty()
            && seconds.bytes().all(|byte| byte.is_ascii_digit())
        {
            return (base, Some(suffix));
        }
    }
    (name, None)
}

/// Renames a records file to `NAME.replay-SECONDS`, unless it has such a name already, and returns
/// the new path. A daemon that has the file open may append to it until it finishes a batch.
pub fn rename_for_replay(path: &Path) -> io::Result<PathBuf> {
    match split(&name(path)) {
        (_, Some(IN_REPLAY)) => Ok(path.to_owned()),
        // Must not reuse the name of a file that was replayed: a replay identifies a file by its
        // name.
        (base, _) => rename_no_replace(path, &numbered(base, IN_REPLAY), &numbered(base, REPLAYED)),
    }
}

/// Renames a file that was sent and accepted to `NAME.replayed-SECONDS`, and returns the new path.
/// A file that a replay has renamed keeps its number.
pub fn rename_as_replayed(path: &Path) -> io::Result<PathBuf> {
    let name = name(path);
    let (base, _) = split(&name);
    let number = name.strip_prefix(base).and_then(|suffix| suffix.strip_prefix(IN_REPLAY));
    match number.map(|number| path.with_file_name(format!("{base}{REPLAYED}{number}"))) {
        Some(to) if to.symlink_metadata().is_err() => rename(path, to),
        _ => rename_no_replace(path, &numbered(base, REPLAYED), &numbered(base, REPLAYED)),
    }
}

/// Returns the path for the part of a file in replay that was sent and accepted. It is always the
/// same.
pub fn replayed_path(path: &Path) -> PathBuf {
    let name = name(path);
    let (base, _) = split(&name);
    let number = name.strip_prefix(base).and_then(|suffix| suffix.strip_prefix(IN_REPLAY));
    path.with_file_name(format!("{base}{REPLAYED}{}", number.unwrap_or("0")))
}

/// Renames a records file in replay so that the next replay includes it, and returns the new path.
pub fn put_back(path: &Path) -> io::Result<PathBuf> {
    let name = name(path);
    let stem = name.split('.').next().unwrap_or_default();
    let free = |seconds| format!("{stem}.{seconds}{RECORDS_SUFFIX}");
    rename_no_replace(path, &free, &free)
}

/// Returns the kind of a file before a replay renamed it.
pub fn original(path: &Path) -> Option<FileKind> {
    FileKind::of(Path::new(split(&name(path)).0))
}

/// Renames a large records file, so that the daemon starts a new one. Returns `None` if the daemon
/// does not write to a file of this name.
pub(super) fn roll(path: &Path) -> io::Result<Option<PathBuf>> {
    let name = name(path);
    let Some(stem) = name.strip_suffix(RECORDS_SUFFIX).filter(|stem| !stem.contains('.')) else {
        return Ok(None);
    };
    let name = |seconds| format!("{stem}.{seconds}{RECORDS_SUFFIX}");
    rename_no_replace(path, &name, &name).map(Some)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn numbered<'a>(base: &'a str, suffix: &'a str) -> impl Fn(u64) -> String + 'a {
    move |seconds| format!("{base}{suffix}{seconds}")
}

/// Renames a file to `name(number)`. The number is the current time, or the next one for which
/// neither `name(number)` nor `spare(number)` exists.
fn rename_no_replace(
    path: &Path,
    name: &dyn Fn(u64) -> String,
    spare: &dyn Fn(u64) -> String,
) -> io::Result<PathBuf> {
    let is_free = |name: String| path.with_file_name(name).symlink_metadata().is_err();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut number = now.unwrap_or_default().as_secs();
    while !is_free(name(number)) || !is_free(spare(number)) {
        number += 1;
    }
    rename(path, path.with_file_name(name(number)))
}

fn rename(path: &Path, to: PathBuf) -> io::Result<PathBuf> {
    durable::rename(path, &to)?;
    // A replay recognizes what was already sent by the name of the file.
    durable::sync_dir(durable::parent(&to))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_kind_of_a_file_is_in_its_name() {
        let digest = "0123456789abcdef0123456789abcdef";
        let body = FileKind::Body { endpoint: "push".into(), dataset: "dns_logs".into() };
        let batch = format!("0000000000000042.0.push.dns_logs.1.1.8.{digest}.json.gz");
        for (name, want) in [
            ("records-2026-01-02.ndjson", Some(FileKind::Records { in_replay: false })),
            ("records-2026-01-02.1767312000.ndjson", Some(FileKind::Records { in_replay: false })),
            ("records-es_1-2026-01-02.ndjson", Some(FileKind::Records { in_replay: false })),
            ("records-es_1-2026-01-02.ndjson.replayed-1", Some(FileKind::Replayed)),
            ("records-2026-01-02.ndjson.replay-1", Some(FileKind::Records { in_replay: true })),
            ("records-2026-01-02.ndjson.replayed-1", Some(FileKind::Replayed)),
            (&format!("push.dns_logs.{digest}"), Some(body)),
            (&format!("push.dns_logs.{digest}.replayed-9"), Some(FileKind::Replayed)),
            (&batch, Batch::from_file_name(&batch).map(|batch| FileKind::Batch(Box::new(batch)))),
            ("records-2026-01-02.ndjson.replay-", None),
            ("records-2026-01-02.ndjson~", None),
            ("push.dns_logs.new", None),
            ("notes.txt", None),
        ] {
            assert_eq!(FileKind::of(Path::new(name)), want, "{name}");
        }
    }

    #[test]
    fn renaming_never_replaces_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records-es-2026-01-02.ndjson");
        let mut names = Vec::new();
        let mut renamed_paths = BTreeSet::new();
        for text in ["a", "b", "c"] {
            fs::write(&path, text).unwrap();
            let renamed = rename_for_replay(&path).unwrap();
            assert_eq!(rename_for_replay(&renamed).unwrap(), renamed);
            assert!(
                renamed_paths.insert(renamed.clone()),
                "a replay would take it for the previous file: {renamed:?}"
            );
            let done = rename_as_replayed(&renamed).unwrap();
            assert_eq!(FileKind::of(&done), Some(FileKind::Replayed));
            assert_eq!(fs::read_to_string(&done).unwrap(), text);
            names.push(done);
        }
        fs::write(&path, "d").unwrap();
        let rolled = roll(&path).unwrap().unwrap();
        assert_eq!(FileKind::of(&rolled), Some(FileKind::Records { in_replay: false }));
        assert_eq!(roll(&rolled).unwrap(), None);
        assert!(names.iter().all(|name| name.exists()));
        assert_eq!(QuarantineFiles::read(dir.path()).unwrap().files.len(), 4);
        assert_eq!(QuarantineFiles::read(&dir.path().join("missing")).unwrap().bytes(), 0);
    }
}
