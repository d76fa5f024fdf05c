//! `[sink.NAME.file]`: its keys.

mod owner;
mod path;

use std::time::Duration;

use settings::{
    Context, Diagnostic, Setting, Table, Value,
    reference::Takes,
    setting, settings,
    types::{Count, PositiveSpan, Size},
    words,
};

use self::{
    owner::{Group, User},
    path::PathSetting,
};
use super::{FileSink, FileState, MAX_OPEN_FILES, opener::Owner};
use crate::{
    Sink, SinkContext,
    kinds::{Claims, Kind},
    paths::WrittenPaths,
    record_time::{EventWindow, RecordTime},
    template::PathTemplate,
};

settings! {
    /// Files with one JSON record per line. Each record is written exactly once and in order,
    /// also after `kill -9`. See docs/sinks/file.md.
    pub struct Settings in "sink.NAME.file", checked by check {
        /// The path of the files. `{dataset}`, `{endpoint}` and a time in UTC (`%Y`, `%m`,
        /// `%d`, `%H` and so on) are filled in. `{{`, `}}` and `%%` stand for a brace and a
        /// percent sign. Missing directories are created.
        ///
        /// The part before the first placeholder is the base directory. No file is written
        /// outside of it, and no symbolic link below it is followed. No two sinks may write to
        /// the same files.
        pub path: PathSetting as "/var/log/logpushd/{dataset}/%Y-%m-%d.ndjson",
        /// The time in the path: the time of receipt of the batch (`"received"`), or the time
        /// of each record (`"event"`), from the time field of its dataset.
        ///
        /// With `"event"`, every record is parsed. A record without a usable time is filed by
        /// its time of receipt. So are records that would need a 33rd file for one batch.
        pub time: RecordTime = "received",
        /// With `time = "event"`: which records are filed by their own time. The others are
        /// filed by their time of receipt.
        pub event_window: EventWindow,
        /// The permissions of new files in octal digits, regardless of the umask. The owner
        /// must be able to read and write. New directories get the same permissions, and users
        /// who can read the files can enter them.
        pub mode: Mode = "0640",
        /// The owner of new files and directories: a name in /etc/passwd, or a number as text.
        /// The daemon needs `CAP_CHOWN` to set it.
        pub owner: Option<User> as "root" else "the daemon's user",
        /// The group of new files and directories: a name in /etc/group, or a number as text.
        /// The daemon's user must be a member.
        ///
        /// Use it to give users read access without root.
        pub group: Option<Group> as "adm" else "the daemon's group",
        /// When to rotate files, in addition to the time in `path`.
        pub rotate: Rotate,
        /// How to compress finished files. A file is finished when it has been rotated, or when
        /// the time in its path has passed.
        ///
        /// Files are compressed in the background at low priority. The suffix `.gz` or `.zst`
        /// is added to the name.
        pub compress: Compress = "none",
        /// How long a finished file stays uncompressed, so that a program that follows it can
        /// read the rest. `"0s"` compresses at once; `"next"` waits until the next file of the
        /// same endpoint and dataset is finished.
        pub compress_after: CompressAfter = "10m",
        /// Which finished files to keep. All of them by default.
        pub retain: Retain,
        /// When to fsync the files: at every checkpoint (once a second), or also after every
        /// batch. The batch stays in the spool until then, so `"checkpoint"` loses nothing.
        pub fsync: Fsync = "checkpoint",
    }
}

settings! {
    /// A file is rotated when it reaches one of the limits.
    pub struct Rotate derive(Copy, Default, Eq), checked by check_rotate {
        /// Rotates a file after the batch that brings it to this size: renames `NAME.ndjson`
        /// to `NAME.ndjson.20261121T230000Z`, and creates an empty `NAME.ndjson`.
        pub max_bytes: Option<Size> as "1GiB" else "no rotation by size",
        /// Rotates a file at this age, counted from its first record, even if no further
        /// record arrives. With `rotate.max_bytes`, whichever comes first.
        pub max_age: Option<PositiveSpan> as "24h" else "no rotation by age",
    }
}

settings! {
    /// A finished file is removed as soon as it exceeds one of the limits.
    pub struct Retain derive(Copy, Default, Eq), checked by check_retain {
        /// The maximum number of finished files for each endpoint and dataset. The sink removes
        /// only files that it has created since `retain` or `compress` was set.
        ///
        /// A file is finished when it has been rotated, or when the time in its path has
        /// passed.
        pub files: Option<Count> as 30 else "all files",
        /// The maximum age of a finished file, counted from the last write to it.
        pub age: Option<PositiveSpan> as "90d" else "all files",
        /// The maximum size of all files of the sink together. The oldest finished files are
        /// removed first. Use it to keep the disk from filling up.
        pub bytes: Option<Size> as "100GiB" else "all files",
    }
}

words! {
    /// `compress`
    pub enum Compress {
        /// Finished files stay uncompressed.
        None = "none",
        /// gzip, RFC 1952.
        Gzip = "gzip",
        /// Zstandard, RFC 8878.
        Zstd = "zstd",
    }
}

words! {
    /// `fsync`
    pub enum Fsync {
        /// Before each checkpoint, once a second.
        Checkpoint = "checkpoint",
        /// Also after each batch.
        Batch = "batch",
    }
}

impl Kind for Settings {
    fn target(&self) -> String {
        self.path.clone()
    }

    fn claims(&self) -> Claims<'_> {
        let files = Some(self.written_paths());
        Claims { files, descriptors: MAX_OPEN_FILES, ..Claims::default() }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let list = context.directory.join(format!("{}.files.json", context.name));
        let FileState { files } = context.state.read();
        Ok(Box::new(FileSink::new(self, Some(&list), files, context.counters)?))
    }
}

impl Settings {
    /// The owner of new files and directories.
    pub(super) fn ownership(&self) -> Owner {
        Owner { user: self.owner, group: self.group }
    }

    /// The files that the sink writes, and the names that they get later.
    pub fn written_paths(&self) -> WrittenPaths<'_> {
        WrittenPaths {
            key: "path",
            pattern: &self.path,
            rotates: self.rotate != Rotate::default(),
            compressed: self.compress.extension(),
        }
    }
}

impl Compress {
    /// The suffix of compressed files, without its dot.
    pub fn extension(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gz"),
            Self::Zstd => Some("zst"),
        }
    }
}

/// `compress_after`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompressAfter {
    /// `"10m"`: this long after the file is finished.
    Delay(Duration),
    /// `"next"`: when the next file of the same endpoint and dataset is finished.
    Next,
}

impl Setting for CompressAfter {
    type Output = Self;
    const TAKES: Takes = Takes::Duration { beside: Some("next"), zero: true };

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<Self> {
        Some(match value.duration_or("next", cx)? {
            Duration::MAX => Self::Next,
            delay => Self::Delay(delay),
        })
    }
}

setting! {
    /// Permission bits, in octal digits.
    pub struct Mode(u32): Takes::String("octal permissions"), read by mode;
}

fn mode(value: &Value<'_>, cx: &mut Context) -> Option<u32> {
    let text = value.string(cx)?;
    let digits = text.get_ref();
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+'));
    let (fault, hint) = match mode {
        None => ("is not octal", "write three octal digits, as in \"0640\""),
        Some(mode) if mode & !0o777 != 0 => {
            ("has bits other than permissions", "write three octal digits, as in \"0640\"")
        }
        Some(mode) if mode & 0o600 != 0o600 => (
            "does not let the daemon read and write its files",
            "let the owner read and write, as in \"0640\"",
        ),
        mode => return mode,
    };
    let message = format!("mode `{}` {fault}", digits.escape_debug());
    cx.push(Diagnostic::at(text.span(), message).hint(hint));
    None
}

/// Reports keys that have no effect without another one.
fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    settings.event_window.check_use(settings.time, table, cx);
    if settings.compress == Compress::None && table.contains("compress_after") {
        let warning = "`compress_after` has no effect without `compress`";
        let hint = "add `compress = \"gzip\"` or \"zstd\", or remove `compress_after`";
        cx.warn(table.problem_at("compress_after", warning).hint(hint));
    }
    let Ok(template) = PathTemplate::parse(&settings.path) else { return };
    if !table.is_valid("path") {
        return;
    }
    let mut report = |message: &str, hint: &str| {
        cx.push_incomplete(table.problem_at("path", message).hint(hint));
    };
    if settings.time == RecordTime::Event && !template.has_time() {
        report(
            "`time` has no effect: the path contains no time",
            "add a time to the path, as in %Y-%m-%d, or remove `time`",
        );
    }
    if settings.rotate != Rotate::default() || template.has_time() {
        return;
    }
    let hint = "add `rotate = { max_age = \"24h\" }`, or a date to the path, as in %Y-%m-%d";
    if settings.compress != Compress::None {
        report("`compress` has no effect: no file of this path is ever finished", hint);
    }
    if settings.retain != Retain::default() {
        report("`retain` has no effect: no file of this path is ever finished", hint);
    }
}

fn check_rotate(_: &Rotate, table: &Table<'_>, cx: &mut Context) {
    if table.exists() && table.is_empty() {
        cx.push(table.problem("`rotate` is empty").hint(
            "set `max_bytes`, `max_age` or both, as in { max_bytes = \"1GiB\", max_age = \"24h\" }",
        ));
    }
}

fn check_retain(_: &Retain, table: &Table<'_>, cx: &mut Context) {
    if table.exists() && table.is_empty() {
        cx.push(table.problem("`retain` is empty").hint(
            "set one or more of `files`, `age` and `bytes`, as in { files = 30, bytes = \"100GiB\" }",
        ));
    }
}
