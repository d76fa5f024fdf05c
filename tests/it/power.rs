//! No answer is sent before its batch is on disk, and no batch leaves the spool before the sinks'
//! files are: read from the system calls of the real daemon.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::support::{
    Daemon, Http, Setup, Upload, names_in, numbered, require, skip, wait_for, wait_until,
};

const CALLS: &str = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,sendto,sendmsg,writev";

/// The event of a line of the trace.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Wrote(String),
    Synced(String),
    Renamed(String, String),
    Removed(String),
    /// Bytes were sent on a socket with this port.
    Sent(String),
}

/// Reads the lines of `strace -f -yy`. A call counts when it has returned, since a sync is complete
/// only then. A send counts when it is started.
fn events(trace: &str) -> Vec<Event> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(head) = call.strip_suffix("<unfinished ...>") {
            events.extend(sent(head));
            begun.insert(pid, head);
        } else if call.starts_with("<... ") {
            let head = begun.remove(pid).unwrap_or_default();
            let result = call.split_once("resumed>").map_or("", |(_, result)| result);
            if sent(head).is_none() {
                events.extend(event(&format!("{head}{result}")));
            }
        } else {
            events.extend(event(call));
        }
    }
    events
}

fn sent(call: &str) -> Option<Event> {
    let writes = ["write(", "writev(", "sendto(", "sendmsg("];
    let address = call.split_once("<TCP:[")?.1.split_once("->")?.0;
    let (_, port) = address.rsplit_once(':')?;
    writes.iter().any(|name| call.starts_with(name)).then(|| Event::Sent(port.to_owned()))
}

fn event(call: &str) -> Option<Event> {
    if let Some(sent) = sent(call) {
        return Some(sent);
    }
    let (name, arguments) = call.split_once('(')?;
    let (arguments, result) = arguments.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let file = || Some(arguments.split_once('<')?.1.split_once('>')?.0.to_owned());
    let mut names = arguments.split('"').skip(1).step_by(2).map(str::to_owned);
    match name {
        "write" | "pwrite64" | "writev" => file().map(Event::Wrote),
        "fsync" | "fdatasync" => file().map(Event::Synced),
        "rename" | "renameat" | "renameat2" => Some(Event::Renamed(names.next()?, names.next()?)),
        "unlink" | "unlinkat" => names.next().map(Event::Removed),
        _ => None,
    }
}

/// The position of the last event before `end` that fulfills a condition.
fn last(events: &[Event], end: usize, is_it: impl Fn(&Event) -> bool) -> Result<usize, String> {
    let place = events[..end].iter().rposition(is_it);
    place.ok_or_else(|| format!("the event expected before event {end} is missing"))
}

/// `what` must have been written, and synced after its last write, before `end`.
fn synced(events: &[Event], end: usize, what: &str) -> Result<usize, String> {
    let wrote = last(events, end, |e| matches!(e, Event::Wrote(file) if file == what));
    let wrote = wrote.map_err(|error| format!("{what} was not written: {error}"))?;
    let synced = last(events, end, |e| matches!(e, Event::Synced(file) if file == what));
    let synced = synced.map_err(|error| format!("{what} was not synced: {error}"))?;
    if synced < wrote { Err(format!("{what} was written to after its sync")) } else { Ok(synced) }
}

/// `to` must have been renamed from a synced file, and its directory been synced, before `end`.
fn replaced(events: &[Event], end: usize, to: &str) -> Result<usize, String> {
    let renamed = last(events, end, |e| matches!(e, Event::Renamed(_, name) if name == to));
    let renamed = renamed.map_err(|error| format!("nothing was renamed to {to}: {error}"))?;
    let Event::Renamed(from, _) = &events[renamed] else { return Err("no rename".into()) };
    synced(events, renamed, from)?;
    let directory = to.rsplit_once('/').map_or(".", |(directory, _)| directory);
    let lasts = |e: &Event| matches!(e, Event::Synced(file) if file == directory);
    match events[renamed..end].iter().position(lasts) {
        Some(_) => Ok(renamed),
        None => Err(format!("{directory} was not synced after the rename to {to}")),
    }
}

/// Asserts that the first bytes sent at `port`, the answer, follow what the answer guarantees. The
/// events are those of one upload.
fn check_answer(events: &[Event], port: &str) -> Result<(), String> {
    let answers = |e: &Event| matches!(e, Event::Sent(from) if from == port);
    let answer = events.iter().position(answers).ok_or("no answer")?;
    let is_batch = |e: &Event| matches!(e, Event::Renamed(_, to) if to.contains("/spool/batches/"));
    let renamed = last(events, answer, is_batch).map_err(|error| format!("no batch: {error}"))?;
    let Event::Renamed(_, to) = &events[renamed] else { return Err("no rename".into()) };
    replaced(events, answer, to).map(drop)
}

/// Asserts that each removed batch was durable in every sink before, and that its checkpoints and
/// the log of committed batches were durable.
fn check_removals(events: &[Event], sinks: &[&str], directory: &str) -> Result<usize, String> {
    let mut count = 0;
    for (place, event) in events.iter().enumerate() {
        let Event::Removed(name) = event else { continue };
        if !name.contains("/spool/batches/") || name.contains(".unfinished-") {
            continue;
        }
        count += 1;
        let committed = last(events, place, |e| matches!(e, Event::Renamed(_, to) if to == name))?;
        logged(&events[committed..place], &format!("{directory}/spool/dedup/current"))?;
        for sink in sinks {
            let output = format!("{directory}/{sink}/http_requests.ndjson");
            let checkpoint = format!("{directory}/spool/cursors/{sink}.json");
            let stored = replaced(events, place, &checkpoint)?;
            if synced(events, stored, &output)? < committed {
                return Err(format!("{output} was not synced after the commit of {name}"));
            }
        }
    }
    Ok(count)
}

/// The first line that was written to the log since must have been synced.
fn logged(events: &[Event], log: &str) -> Result<(), String> {
    let wrote = events.iter().position(|e| matches!(e, Event::Wrote(file) if file == log));
    let wrote = wrote.ok_or_else(|| format!("{log} was not written"))?;
    let synced = events[wrote..].iter().any(|e| matches!(e, Event::Synced(file) if file == log));
    if synced { Ok(()) } else { Err(format!("{log} was not synced")) }
}

struct Trace {
    daemon: Daemon,
    strace: Strace,
    file: PathBuf,
}

struct Strace(Child);

impl Drop for Strace {
    fn drop(&mut self) {
        // It ends with the daemon, as a rule.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Trace {
    fn start(setup: Setup) -> Option<Self> {
        if !require::has(&[&require::STRACE]) {
            return None;
        }
        let daemon = setup.start();
        let file = daemon.path("trace");
        let mut strace = Command::new("strace")
            .args(["-f", "-yy", "-s", "0", "-e", CALLS, "-o"])
            .arg(&file)
            .args(["-p", &daemon.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace starts");
        let seen = wait_for("a trace", || {
            daemon.ask("/healthz");
            if fs::metadata(&file).is_ok_and(|file| file.len() > 0) {
                return Some(true);
            }
            strace.try_wait().unwrap().map(|_| false)
        });
        let trace = Self { daemon, strace: Strace(strace), file };
        if seen {
            return Some(trace);
        }
        skip("strace is not permitted to trace here");
        None
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    /// Waits until everything that has happened so far is in the trace, and returns the trace.
    fn settled(&self) -> String {
        let port = self.daemon.admin.port().to_string();
        let probes = |text: &str| {
            events(text).iter().filter(|e| matches!(e, Event::Sent(from) if *from == port)).count()
        };
        let before = probes(&self.text());
        self.daemon.ask("/healthz");
        wait_for("a probe in the trace", || {
            let text = self.text();
            (text.ends_with('\n') && probes(&text) > before).then_some(text)
        })
    }

    fn finish(self) -> String {
        let Self { daemon, mut strace, file } = self;
        // Its directory is removed with it.
        let stopped = daemon.stop().exited_cleanly();
        strace.0.wait().unwrap();
        let text = fs::read_to_string(file).unwrap();
        drop(stopped);
        text
    }
}

fn two_sinks() -> Setup {
    Setup::new()
        .without("sink.archive.file")
        .table("sink.first.file", r#"path = "first/{dataset}.ndjson""#)
        .table("sink.second.file", r#"path = "second/{dataset}.ndjson""#)
        .table("spool", r#"dir = "spool""#)
}

#[test]
fn a_batch_is_synced_before_its_answer_and_released_after_the_sinks_are_synced() {
    let Some(trace) = Trace::start(two_sinks()) else { return };
    // The name that the kernel gives it.
    let directory = fs::canonicalize(trace.daemon.setup().directory()).unwrap();
    let directory = directory.to_str().unwrap().to_owned();
    let port = trace.daemon.address.port().to_string();
    for (number, http) in (0..6).zip(Http::BOTH.into_iter().cycle()) {
        // The first bytes of a connection are sent before the upload starts.
        let connection = trace.daemon.connect(http);
        assert_eq!(connection.send(Upload::of("test")).status, 200);
        let before = trace.settled().len();
        let records = numbered(number, 3 + 700 * usize::try_from(number % 3).unwrap());
        connection.send(Upload::of(&records).gzipped()).committed();
        let upload = trace.settled().split_off(before);
        assert_eq!(check_answer(&events(&upload), &port), Ok(()), "{http:?}\n{upload}");
        // Its last bytes are sent before the next upload starts.
        drop(connection);
        trace.daemon.wait_count("logpushd_connections", |open| open == 0);
    }
    wait_until("an empty spool", || names_in(&trace.daemon.path("spool/batches")).is_empty());
    let text = trace.finish();
    let removed = check_removals(&events(&text), &["first", "second"], &directory);
    assert_eq!(removed, Ok(6), "{text}");
}

const UPLOAD: &str = r#"
11 write(9</x/spool/batches/.unfinished-1>, ""..., 90) = 90
11 fdatasync(9</x/spool/batches/.unfinished-1> <unfinished ...>
12 write(5<anon_inode:[eventfd]>, ""..., 8) = 8
11 <... fdatasync resumed>) = 0
11 rename("/x/spool/batches/.unfinished-1", "/x/spool/batches/0001.json") = 0
11 fsync(9</x/spool/batches>) = 0
12 sendto(7<TCP:[127.0.0.1:8443->127.0.0.1:999]>, ""..., 90, MSG_NOSIGNAL, NULL, 0) = 90
"#;

const REMOVAL: &str = r#"
13 write(9</x/first/http_requests.ndjson>, ""..., 90) = 90
13 fdatasync(9</x/first/http_requests.ndjson>) = 0
13 write(10</x/spool/cursors/first.new>, ""..., 40) = 40
13 fdatasync(10</x/spool/cursors/first.new>) = 0
13 rename("/x/spool/cursors/first.new", "/x/spool/cursors/first.json") = 0
13 fsync(10</x/spool/cursors>) = 0
13 write(8</x/spool/dedup/current>, ""..., 50) = 50
13 fdatasync(8</x/spool/dedup/current>) = 0
13 unlink("/x/spool/batches/0001.json") = 0
"#;

/// The checks themselves: a trace without any one of these lines, or with a line too late, fails.
#[test]
fn a_manipulated_trace_is_detected() {
    let upload = |trace: &str| check_answer(&events(trace), "8443");
    let all = |trace: &str| check_removals(&events(trace), &["first"], "/x");
    let whole = format!("{UPLOAD}{REMOVAL}");
    assert_eq!((upload(UPLOAD), all(&whole)), (Ok(()), Ok(1)));
    for needed in ["11 <... fdatasync", "11 rename", "11 fsync", "12 sendto"] {
        let without: String =
            UPLOAD.split_inclusive('\n').filter(|l| !l.contains(needed)).collect();
        upload(&without).expect_err(needed);
        let (line, mut late) = (needed, without);
        late.extend(UPLOAD.split_inclusive('\n').filter(|l| l.contains(line)));
        assert_eq!(upload(&late).is_err(), needed != "12 sendto", "{needed} at the end");
    }
    let writes_late = format!("{UPLOAD}{REMOVAL}").replace(
        "13 unlink",
        "13 write(9</x/first/http_requests.ndjson>, \"\"..., 1) = 1\n13 unlink",
    );
    // Data after the checkpoint belongs to a later batch.
    assert_eq!(all(&writes_late), Ok(1));
    for needed in [
        "(9</x/first",
        "(10</x/spool/cursors/first.new>) ",
        "13 rename",
        "(10</x/spool/cursors>",
        "13 fdatasync(8",
    ] {
        let without: String = whole
            .split_inclusive('\n')
            .filter(|line| !line.contains(needed) || line.contains(" write("))
            .collect();
        all(&without).expect_err(needed);
    }
}
