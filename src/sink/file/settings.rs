//! `[sink.NAME.file]`: its keys.

mod owner;
mod path;

use std::time::Duration;

use settings::{
    Context, Diagnostic, Setting, Settings as _, Table, Value,
    reference::Takes,
    setting, settings,
    types::{Count, PositiveSpan, Size, Span},
    words,
};

use self::{
    owner::{Group, User},
    path::PathToFillIn,
};
use super::{FileSink, FileState, place::Owner};
use crate::sink::{
    Sink, SinkContext,
    kinds::{Claims, Kind},
    paths::WrittenPaths,
    template::PathTemplate,
};

settings! {
    /// Lines of JSON in files: each record exactly once, in whole lines and in order, also
    /// after `kill -9`. See docs/sinks/file.md.
    pub struct Settings in "sink.NAME.file", checked by check {
        /// `{dataset}` and `{endpoint}` are filled in, and `%Y`, `%m`, `%d`, `%H` and
        /// the like with a time in UTC. What stands before the first of these is the
        /// base, a directory that no file and no link leads out of: behind it, no link is
        /// followed. `{{`, `}}` and `%%`
        /// stand for a brace and a percent sign. Folders are made. No two sinks may
        /// write to the same files.
        pub path: PathToFillIn as "/var/log/logpushd/{dataset}/%Y-%m-%d.ndjson",
        /// The time that is filled in: that of the batch, or of each record, from the
        /// field that its dataset has for it. With `"event"` every record is looked
        /// into; one without a usable time goes by the receipt.
        pub time: RecordTime = "received",
        /// With `time = "event"`: which records are filed by their own time. The others go by the time of
        /// receipt.
        pub event_window: EventWindow,
        /// The permissions of a new file, whatever the umask; its owner must be able
        /// to read and write. Folders may be entered by whoever may read.
        pub mode: Mode = "0640",
        /// Who owns new files and folders: a name in /etc/passwd, or a number as text.
        /// It takes `CAP_CHOWN`.
        pub owner: Option<User> as "root" else "the daemon's user",
        /// The group of new files and folders: a name in /etc/group, or a number as
        /// text. The daemon's user must be in it. To let people read the files without
        /// being root.
        pub group: Option<Group> as "adm" else "the daemon's group",
        /// When a file ends, if not by the time in its path.
        pub rotate: Rotate,
        /// What becomes of finished files, beside the delivery and at a low priority.
        /// A file is finished when it was rotated, or when the date in its path has
        /// passed; a file that was not rotated keeps its name.
        pub compress: Compress = "none",
        /// How long a finished file stays plain, so that a program that reads it can
        /// come to its end. `"0s"` compresses at once; `"next"` when the next file
        /// of the same endpoint and dataset is finished.
        pub compress_after: CompressAfter = "10m",
        /// Which finished files stay. All of them by default.
        pub retain: Retain,
        /// When what was written is synced: once a second, or behind each batch as
        /// well. Until then the batch is in the spool, so nothing is lost by
        /// `"checkpoint"`.
        pub fsync: Fsync = "checkpoint",
    }
}

settings! {
    /// Records outside of it go by the time of receipt.
    pub struct EventWindow derive(Copy, Eq), checked by check_event_window {
        /// With `time = "event"`: a record that is older than this at its receipt is filed by
        /// the time of receipt. `"all"` files every old record by its own time, as for
        /// an import of history.
        pub past: SpanOrAll = "31d",
        /// With `time = "event"`: a record whose time is further ahead of its receipt is
        /// filed by the time of receipt.
        pub future: Span = "1d",
    }
}

settings! {
    /// Whichever comes first; never, if neither is there.
    pub struct Rotate derive(Copy, Default, Eq), checked by check_rotate {
        /// A file `NAME.ndjson` is renamed to `NAME.ndjson.20261121T230000Z` after the
        /// batch that brings it to this size, and an empty `NAME.ndjson` takes its place.
        pub max_bytes: Option<Size> as "1GiB" else "files end by the time in `path` alone",
        /// The same, so long after its first record, also if nothing more comes.
        /// With both, whichever comes first.
        pub max_age: Option<PositiveSpan> as "24h" else "files end by the time in `path` alone",
    }
}

settings! {
    /// What any rule does not keep goes.
    pub struct Retain derive(Copy, Default, Eq), checked by check_retain {
        /// So many finished files of each endpoint and dataset stay. A file is
        /// finished when it was rotated, or when time has led the path to another one.
        /// Only files that this sink began since `retain` or `compress` is there are
        /// ever removed.
        pub files: Option<Count> as 30 else "all files stay",
        /// Those stay that were written to within so long.
        pub age: Option<PositiveSpan> as "90d" else "all files stay",
        /// So many bytes of all files of the sink together stay; the oldest go first.
        /// To keep a disk from filling up.
        pub bytes: Option<Size> as "100GiB" else "all files stay",
    }
}

words! {
    /// `time`
    pub enum RecordTime {
        /// Of the batch.
        Received = "received",
        /// Of each record.
        Event = "event",
    }
}

words! {
    /// `compress`
    pub enum Compress {
        /// Not at all.
        None = "none",
        /// With gzip.
        Gzip = "gzip",
        /// With Zstandard.
        Zstd = "zstd",
    }
}

words! {
    /// `fsync`
    pub enum Fsync {
        /// Once a second, before the checkpoint says how far the files are.
        Checkpoint = "checkpoint",
        /// Behind each batch as well.
        Batch = "batch",
    }
}

impl Kind for Settings {
    fn target(&self) -> String {
        self.path.clone()
    }

    fn claims(&self) -> Claims<'_> {
        Claims { files: Some(self.written_paths()), ..Claims::default() }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let list = context.directory.join(format!("{}.files.json", context.name));
        let FileState { files } = context.state.read();
        Ok(Box::new(FileSink::new(self, Some(&list), files, context.counters)?))
    }
}

impl Settings {
    /// Who gets new files and folders.
    pub(super) fn ownership(&self) -> Owner {
        Owner { user: self.owner, group: self.group }
    }

    /// The files that it writes, and the names that they get later.
    pub fn written_paths(&self) -> WrittenPaths<'_> {
        WrittenPaths {
            key: "path",
            pattern: &self.path,
            rotates: self.rotate != Rotate::default(),
            packed: self.compress.extension(),
        }
    }
}

impl Compress {
    /// What is added to a file's name.
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
    /// `"10m"`: so long after the file has ended.
    Delay(Duration),
    /// `"next"`: when the next file of its endpoint and dataset has ended.
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
    /// A duration, or `"all"`, which is [`Duration::MAX`].
    pub struct SpanOrAll(Duration): Takes::Duration { beside: Some("all"), zero: true },
        read by span_or_all;
}

setting! {
    /// Permission bits, in octal digits.
    pub struct Mode(u32): Takes::String("octal permissions"), read by mode;
}

fn span_or_all(value: &Value<'_>, cx: &mut Context) -> Option<Duration> {
    value.duration_or("all", cx)
}

fn mode(value: &Value<'_>, cx: &mut Context) -> Option<u32> {
    let text = value.string(cx)?;
    let digits = text.get_ref();
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+'));
    let (fault, hint) = match mode {
        None => ("is not octal", "write three octal digits, as \"0640\""),
        Some(mode) if mode & !0o777 != 0 => {
            ("has more than permission bits", "write those alone, as \"0640\"")
        }
        Some(mode) if mode & 0o600 != 0o600 => (
            "shuts the daemon out of its own file",
            "let the owner read and write, as \"0640\" does",
        ),
        mode => return mode,
    };
    let message = format!("mode `{}` {fault}", digits.escape_debug());
    cx.push(Diagnostic::at(text.span(), message).hint(hint));
    None
}

/// What only makes sense beside something else.
fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    let is_default = EventWindow::sample() == Some(settings.event_window);
    if !is_default && settings.time != RecordTime::Event {
        cx.push_incomplete(
            table
                .problem_at(
                    "event_window",
                    "`event_window` has no effect without `time = \"event\"`",
                )
                .hint("add `time = \"event\"`, or remove `event_window`"),
        );
    }
    let Ok(template) = PathTemplate::parse(&settings.path) else { return };
    if !table.is_sound("path") {
        return;
    }
    let mut report = |message: &str, hint: &str| {
        cx.push_incomplete(table.problem_at("path", message).hint(hint));
    };
    if settings.time == RecordTime::Event && !template.has_time() {
        report(
            "`time` changes nothing: the path has no time in it",
            "add one, as %Y-%m-%d, or leave `time` out",
        );
    }
    if settings.rotate != Rotate::default() || template.has_time() {
        return;
    }
    let hint = "add `rotate = { max_age = \"24h\" }`, or a date to the path, as %Y-%m-%d";
    if settings.compress != Compress::None {
        report("`compress` has nothing to compress: no file of this path is ever finished", hint);
    }
    if settings.retain != Retain::default() {
        report("`retain` has nothing to remove: no file of this path is ever finished", hint);
    }
}

fn check_event_window(_: &EventWindow, table: &Table<'_>, cx: &mut Context) {
    if table.is_there() && table.is_empty() {
        cx.push(
            table
                .problem("`event_window` is empty")
                .hint("write `past`, `future` or both, as { past = \"all\", future = \"1d\" }"),
        );
    }
}

fn check_rotate(_: &Rotate, table: &Table<'_>, cx: &mut Context) {
    if table.is_there() && table.is_empty() {
        cx.push(table.problem("`rotate` does not say when").hint(
            "write `max_bytes`, `max_age` or both, as { max_bytes = \"1GiB\", max_age = \"24h\" }",
        ));
    }
}

fn check_retain(_: &Retain, table: &Table<'_>, cx: &mut Context) {
    if table.is_there() && table.is_empty() {
        cx.push(table.problem("`retain` does not say what is kept").hint(
            "write one or more of `files`, `age` and `bytes`, as { files = 30, bytes = \"100GiB\" }",
        ));
    }
}
