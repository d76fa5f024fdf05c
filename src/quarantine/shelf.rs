//! What lies in the quarantine folder, told by the names of the files.
//!
//! A records file is `records-DATE.ndjson`, or `records-DATE.SECONDS.ndjson` once it was large; what the
//! target of a sink refuses is in `records-SINK-DATE.ndjson`. A replay sets it aside as `NAME.replay-SECONDS`, and what was sent and taken is
//! `NAME.replayed-SECONDS`.

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
const ASIDE: &str = ".replay-";
const DONE: &str = ".replayed-";

/// The files of the quarantine folder, oldest first. What is not ours is not among them.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The files.
    pub files: Vec<QuarantineFile>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct QuarantineFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: FileKind,
    /// Its length. A body may share its bytes with the spool.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
    /// Its number in its filesystem.
    pub inode: u64,
}

/// What a file is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FileKind {
    /// Rejected records.
    Records {
        /// Nobody writes to it: a replay set it aside, and did not come to its end.
        aside: bool,
    },
    /// A body that cannot be read.
    Body {
        /// Name of the endpoint.
        endpoint: String,
        /// Name of the dataset.
        dataset: String,
    },
    /// A whole batch that a record was cut from.
    Batch(Box<Batch>),
    /// It was sent and taken.
    Replayed,
}

impl Shelf {
    /// Reads the folder `dir`, which is `quarantine.dir`. Files may vanish meanwhile.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut shelf = Self::default();
        shelf.read_folder(dir)?;
        shelf.read_folder(&dir.join(BODIES))?;
        shelf.files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        Ok(shelf)
    }

    fn read_folder(&mut self, folder: &Path) -> io::Result<()> {
        let files = match fs::read_dir(folder) {
            // Nothing was ever quarantined.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files.map_err(durable::error_at("reading", folder))?,
        };
        for file in files {
            let path = file.map_err(durable::error_at("reading", folder))?.path();
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

    /// The length of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|kept| kept.bytes).sum()
    }
}

impl QuarantineFile {
    /// Names the file among the others, whatever it is renamed to. It stays in its directory; the other
    /// directory may be on another filesystem.
    pub(super) fn key(&self) -> String {
        let folder = durable::parent(&self.path).file_name().unwrap_or_default();
        let is_body = folder == BODIES;
        format!("{}{}", if is_body { "body-" } else { "" }, self.inode)
    }
}

impl FileKind {
    /// What a file is by its name. `None` if it is no name of ours.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if let Some(batch) = Batch::from_file_name(name) {
            return Some(Self::Batch(Box::new(batch)));
        }
        let (base, suffix) = split(name);
        let is_records = base.starts_with(RECORDS_PREFIX) && base.ends_with(RECORDS_SUFFIX);
        let body = body(base);
        match suffix {
            Some(DONE) if is_records || body.is_some() => Some(Self::Replayed),
            Some(_) if is_records => Some(Self::Records { aside: true }),
            None if is_records => Some(Self::Records { aside: false }),
            None => body,
            Some(_) => None,
        }
    }
}

/// `ENDPOINT.DATASET.DIGEST`
fn body(name: &str) -> Option<FileKind> {
    let mut fields = name.split('.');
    let (endpoint, dataset, digest) = (fields.next()?, fields.next()?, fields.next()?);
    let is_digest = digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_digest && fields.next().is_none())
        .then(|| FileKind::Body { endpoint: endpoint.to_owned(), dataset: dataset.to_owned() })
}

/// Takes `.replay-SECONDS` or `.replayed-SECONDS` off a name.
fn split(name: &str) -> (&str, Option<&'static str>) {
    for suffix in [ASIDE, DONE] {
        if let Some((base, seconds)) = name.rsplit_once(suffix)
            && !seconds.is_empty()
            && seconds.bytes().all(|byte| byte.is_ascii_digit())
        {
            return (base, Some(suffix));
        }
    }
    (name, None)
}

/// Renames a records file so that nobody begins to append to it. Whoever does so already may go on
/// until it is done with a batch. Gives back the new path; one that is aside already stays.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    match split(&name(path)) {
        (_, Some(ASIDE)) => Ok(path.to_owned()),
        // Not a name that another file had before it was done: a replay goes by the name.
        (base, _) => rename_no_replace(path, &numbered(base, ASIDE), &numbered(base, DONE)),
    }
}

/// Renames a file that was sent and taken: one that was set aside keeps its number. Gives back the
/// new path.
pub fn set_done(path: &Path) -> io::Result<PathBuf> {
    let name = name(path);
    let (base, _) = split(&name);
    let kept = name.strip_prefix(base).and_then(|suffix| suffix.strip_prefix(ASIDE));
    match kept.map(|number| path.with_file_name(format!("{base}{DONE}{number}"))) {
        Some(to) if to.symlink_metadata().is_err() => rename(path, to),
        _ => rename_no_replace(path, &numbered(base, DONE), &numbered(base, DONE)),
    }
}

/// The path of what was sent and taken of a file that was set aside: always the same one.
pub fn done_path(aside: &Path) -> PathBuf {
    let name = name(aside);
    let (base, _) = split(&name);
    let number = name.strip_prefix(base).and_then(|suffix| suffix.strip_prefix(ASIDE));
    aside.with_file_name(format!("{base}{DONE}{}", number.unwrap_or("0")))
}

/// Renames a records file that was set aside to one that the next replay takes. Returns the new path.
pub fn put_back(aside: &Path) -> io::Result<PathBuf> {
    let name = name(aside);
    let stem = name.split('.').next().unwrap_or_default();
    let free = |seconds| format!("{stem}.{seconds}{RECORDS_SUFFIX}");
    rename_no_replace(aside, &free, &free)
}

/// What a file was before it was replayed or set aside.
pub fn original(path: &Path) -> Option<FileKind> {
    FileKind::of(Path::new(split(&name(path)).0))
}

/// Renames a records file that is large, so that the daemon begins another one. `None` if its name
/// is not one that the daemon writes to.
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

/// Renames a file to `name` with the first number, mostly the time, for which that name and the one
/// to `spare` are free.
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
    // A replay tells what was sent already by the name that its file got.
    durable::sync_dir(durable::parent(&to))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let digest = "0123456789abcdef0123456789abcdef";
        let body = FileKind::Body { endpoint: "push".into(), dataset: "dns_logs".into() };
        let batch = format!("0000000000000042.0.push.dns_logs.1.1.8.{digest}.json.gz");
        for (name, want) in [
            ("records-2026-01-02.ndjson", Some(FileKind::Records { aside: false })),
            ("records-2026-01-02.1767312000.ndjson", Some(FileKind::Records { aside: false })),
            ("records-es_1-2026-01-02.ndjson", Some(FileKind::Records { aside: false })),
            ("records-es_1-2026-01-02.ndjson.replayed-1", Some(FileKind::Replayed)),
            ("records-2026-01-02.ndjson.replay-1", Some(FileKind::Records { aside: true })),
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
        let mut asides = BTreeSet::new();
        for text in ["a", "b", "c"] {
            fs::write(&path, text).unwrap();
            let aside = set_aside(&path).unwrap();
            assert_eq!(set_aside(&aside).unwrap(), aside);
            assert!(
                asides.insert(aside.clone()),
                "a replay takes it for the one before: {aside:?}"
            );
            let done = set_done(&aside).unwrap();
            assert_eq!(FileKind::of(&done), Some(FileKind::Replayed));
            assert_eq!(fs::read_to_string(&done).unwrap(), text);
            names.push(done);
        }
        fs::write(&path, "d").unwrap();
        let rolled = roll(&path).unwrap().unwrap();
        assert_eq!(FileKind::of(&rolled), Some(FileKind::Records { aside: false }));
        assert_eq!(roll(&rolled).unwrap(), None);
        assert!(names.iter().all(|name| name.exists()));
        assert_eq!(Shelf::read(dir.path()).unwrap().files.len(), 4);
        assert_eq!(Shelf::read(&dir.path().join("missing")).unwrap().bytes(), 0);
    }
}
