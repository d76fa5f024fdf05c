//! Rotation, also with crashes at every step.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{
    inventory::Identity,
    target::unix_now,
    tests::{batch, begin, defaults, deliver, read, write},
    *,
};

fn sink_with(dir: &Path, options: Settings, positions: Vec<FilePosition>) -> FileSink {
    sink_at("{dataset}/out.ndjson", dir, options, positions)
}

fn sink_at(
    path: &str,
    dir: &Path,
    mut options: Settings,
    positions: Vec<FilePosition>,
) -> FileSink {
    let path = format!("{}/{path}", dir.display());
    let list = dir.join("list.json");
    options.path = path;
    FileSink::new(&options, Some(&list), positions, SinkCounters::default()).unwrap()
}

fn file(dir: &Path, dataset: &str) -> PathBuf {
    dir.join(dataset).join("out.ndjson")
}

const LINE: &str = "{\"n\":1}\n";

fn options(max_bytes: Option<u64>, max_age: Option<Duration>) -> Settings {
    Settings { rotate: Rotate { max_bytes, max_age }, ..defaults() }
}

/// The names and the contents of all files: rotated files first, in the order of their names.
fn all(dir: &Path) -> (Vec<String>, Vec<String>) {
    let Ok(entries) = fs::read_dir(dir.join("a")) else { return Default::default() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_by_key(|path| (path.extension().unwrap() == "ndjson", path.clone()));
    let names = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    (names.collect(), paths.iter().map(|path| read(path)).collect())
}

fn checkpoint(sink: &mut FileSink) -> Vec<FilePosition> {
    let positions = sink.sync_files().unwrap();
    sink.checkpoint_saved();
    positions
}

/// Calls [`Sink::maintain`] as delivery does.
fn maintain(sink: &mut FileSink) {
    while sink.maintain().unwrap() == Readiness::CheckpointFirst {
        checkpoint(sink);
    }
}

#[test]
fn a_file_is_rotated_after_the_batch_that_exceeds_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink_with(dir.path(), options(Some(10), None), vec![]);
    for number in 1..=5 {
        deliver(&mut sink, &batch(number, "a"), &format!("{{\"n\":{number}}}\n"));
    }
    let (names, texts) = all(dir.path());
    assert_eq!(
        texts,
        ["{\"n\":1}\n{\"n\":2}\n", "{\"n\":3}\n{\"n\":4}\n", "{\"n\":5}\n"],
        "in the order of their names"
    );
    assert!(names[0].starts_with("out.ndjson.2"), "{names:?}");
    assert_eq!(names[2], "out.ndjson");
}

#[test]
fn an_old_file_is_rotated_also_without_another_batch() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let positions = {
        let mut sink = sink_with(dir.path(), options(None, Some(hour)), vec![]);
        deliver(&mut sink, &batch(1, "a"), LINE);
        maintain(&mut sink);
        assert_eq!(all(dir.path()).0, ["out.ndjson"], "it is young");
        assert!(sink.due().unwrap() <= Instant::now() + IDLE);
        let mut soon = sink_with(dir.path(), options(None, Some(IDLE / 4)), vec![]);
        maintain(&mut soon);
        deliver(&mut soon, &batch(2, "b"), LINE);
        assert!(soon.due().unwrap() <= Instant::now() + IDLE / 4);
        checkpoint(&mut sink)
    };
    assert!(unix_now() - positions[0].born.unwrap() < 60);
    let older =
        FilePosition { born: positions[0].born.map(|born| born - 3600), ..positions[0].clone() };
    let mut sink = sink_with(dir.path(), options(None, Some(hour)), vec![older]);
    assert!(sink.due().unwrap() <= Instant::now(), "it is checked at once");
    maintain(&mut sink);
    let (names, texts) = all(dir.path());
    assert_eq!(texts, [LINE, ""], "and the next file exists");
    assert!(names[0].ends_with('Z'), "{names:?}");
    assert_eq!(checkpoint(&mut sink), [], "no file in the checkpoint");
    maintain(&mut sink);
    assert!(deliver(&mut sink, &batch(2, "a"), LINE).is_some(), "a new file, in a checkpoint");
    assert_eq!(all(dir.path()).1, [LINE, LINE]);
    assert!(unix_now() - checkpoint(&mut sink)[0].born.unwrap() < 60, "the new file is young");
}

#[test]
fn the_next_live_file_is_created_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    let retain = Retain { files: Some(1000), ..Retain::default() };
    let options = Settings { retain, ..options(Some(1), None) };
    let mut sink = sink_with(dir.path(), options, vec![]);
    for number in 1..=20 {
        deliver(&mut sink, &batch(number, "a"), LINE);
        maintain(&mut sink);
        let live = path.symlink_metadata().unwrap();
        assert_eq!((live.len(), live.permissions().mode() & 0o777), (0, 0o640));
        let inventory = sink.keeper.as_ref().unwrap().inventory();
        assert!(inventory.has(&path, Identity::of(&live)), "it is in the inventory");
    }
    let (names, texts) = all(dir.path());
    assert_eq!(texts, [vec![LINE; 20], vec![""]].concat(), "{names:?}");
}

#[test]
fn a_checkpoint_is_stored_before_the_file_is_renamed() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink_with(dir.path(), options(Some(1), None), vec![]);
    deliver(&mut sink, &batch(1, "a"), LINE);
    assert_eq!(sink.begin(&batch(2, "a")).unwrap(), Readiness::CheckpointFirst);
    assert_eq!(all(dir.path()).0.len(), 1, "not yet");
    assert_eq!(checkpoint(&mut sink)[0].length, LINE.len() as u64);
    assert_eq!(sink.begin(&batch(2, "a")).unwrap(), Readiness::CheckpointFirst, "for the new one");
    assert_eq!(all(dir.path()).0.len(), 2);
}

/// A crash after each step of a process between the batches 1 and 4.
#[test]
fn a_crash_at_any_step_of_a_rotation_loses_and_doubles_nothing() {
    let texts = |number: u64| format!("{{\"n\":{number}}}\n{{\"of\":{number}}}\n");
    let want: String = (1..=4).map(texts).collect();
    for steps in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let mut saved = (0, Vec::new());
        let mut left = steps;
        let mut step = |sink: &mut FileSink| {
            left -= 1;
            // Bytes that were not synced may be on disk all the same.
            assert!(sink.targets.len() < 3);
            left < 0
        };
        let mut sink = sink_with(dir.path(), options(Some(1), None), vec![]);
        'process: for number in 1..=4 {
            while sink.begin(&batch(number, "a")).unwrap() == Readiness::CheckpointFirst {
                if step(&mut sink) {
                    break 'process;
                }
                saved = (number - 1, checkpoint(&mut sink));
                if step(&mut sink) {
                    break 'process;
                }
            }
            let text = texts(number);
            let (half, rest) = text.split_at(text.len() / 2 + 2);
            for part in [half, rest] {
                write(&mut sink, part);
                if step(&mut sink) {
                    break 'process;
                }
            }
            sink.finish().unwrap();
        }
        drop(sink);
        let mut sink = sink_with(dir.path(), options(Some(1), None), saved.1);
        if steps % 2 == 0 {
            maintain(&mut sink);
        }
        for number in saved.0 + 1..=4 {
            deliver(&mut sink, &batch(number, "a"), &texts(number));
        }
        let (names, found) = all(dir.path());
        assert_eq!(found.concat(), want, "after {steps} steps: {names:?}");
        assert!(found.iter().all(|text| text.is_empty() || want.contains(text)));
    }
}

#[test]
fn no_record_is_written_to_a_rotated_file_also_if_another_program_appends_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let retain = Retain { files: Some(9), ..Retain::default() };
    let options = || Settings { retain, ..options(Some(1), None) };
    let mut sink = sink_with(dir.path(), options(), vec![]);
    deliver(&mut sink, &batch(1, "a"), LINE);
    let positions = checkpoint(&mut sink);
    assert_eq!(sink.maintain().unwrap(), Readiness::CheckpointFirst, "it is rotated");
    // Killed before that checkpoint.
    drop(sink);
    let finished = dir.path().join("a").join(&all(dir.path()).0[0]);
    fs::write(&finished, format!("{LINE}theirs\n")).unwrap();
    let mut sink = sink_with(dir.path(), options(), positions);
    deliver(&mut sink, &batch(2, "a"), LINE);
    assert_eq!(all(dir.path()).1, [format!("{LINE}theirs\n"), LINE.to_owned()]);
}

#[test]
fn half_a_batch_is_never_left_in_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let mut sink = sink_with(dir.path(), options(None, Some(hour)), vec![]);
    deliver(&mut sink, &batch(1, "a"), LINE);
    checkpoint(&mut sink);
    begin(&mut sink, &batch(2, "a"));
    write(&mut sink, "{\"half");
    // It becomes old before the next attempt.
    sink.targets.get_mut(&file(dir.path(), "a")).unwrap().born -= 7200;
    maintain(&mut sink);
    sink.targets.get_mut(&file(dir.path(), "a")).unwrap().not_before = None;
    deliver(&mut sink, &batch(2, "a"), "{\"half\":2}\n");
    assert_eq!(all(dir.path()).1, [format!("{LINE}{{\"half\":2}}\n")]);
    sink.targets.get_mut(&file(dir.path(), "a")).unwrap().not_before = None;
    maintain(&mut sink);
    assert!(all(dir.path()).0[0].contains('Z'));
}

#[test]
fn the_sink_continues_to_write_to_a_file_that_cannot_be_renamed() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("{}.ndjson", "x".repeat(240));
    let path = dir.path().join(name);
    let config = Settings { path: path.to_str().unwrap().to_owned(), ..options(Some(1), None) };
    let mut sink = FileSink::new(&config, None, vec![], SinkCounters::default()).unwrap();
    for number in 1..=3 {
        deliver(&mut sink, &batch(number, "a"), LINE);
    }
    assert_eq!(read(&path), LINE.repeat(3), "the new name is too long");
    maintain(&mut sink);
    assert!(sink.due().unwrap() > Instant::now());
}

#[test]
fn a_file_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().join("link"), dir.path().join("file"));
    std::os::unix::fs::symlink(&to, &path).unwrap();
    let sink = |options| {
        let path = path.to_str().unwrap().to_owned();
        let settings = Settings { path, ..options };
        FileSink::new(&settings, None, vec![], SinkCounters::default()).unwrap()
    };
    fs::write(&to, "").unwrap();
    for options in [options(Some(1), None), defaults()] {
        let error = sink(options).begin(&batch(1, "a")).unwrap_err().to_string();
        assert!(error.contains("link: it is a symbolic link"), "{error}");
    }
    assert_eq!(read(&to), "");
}

#[test]
fn reopening_closes_renamed_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    let mut sink = sink_with(dir.path(), defaults(), vec![]);
    deliver(&mut sink, &batch(1, "a"), LINE);
    fs::rename(&path, path.with_extension("1")).unwrap();
    sink.reopen().unwrap();
    assert!(sink.targets.values().all(|target| target.open.is_none()));
    deliver(&mut sink, &batch(2, "a"), LINE);
    sink.reopen().unwrap();
    deliver(&mut sink, &batch(3, "a"), LINE);
    assert_eq!(read(&path), LINE.repeat(2));
    // A file without batches is closed after a while.
    for target in sink.targets.values_mut() {
        target.last_used = Instant::now().checked_sub(IDLE).unwrap();
    }
    maintain(&mut sink);
    assert!(
        sink.targets.values().all(|target| target.open.is_some()),
        "but not before it is synced"
    );
    checkpoint(&mut sink);
    maintain(&mut sink);
    assert!(sink.targets.values().all(|target| target.open.is_none()));
    assert_eq!(sink.due(), None);
}

/// The names in the directory of the dataset `a`, once `want` accepts them.
fn settled(dir: &Path, want: impl Fn(&[String]) -> bool) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let names = all(dir).0;
        if want(&names) || begun.elapsed() > Duration::from_secs(20) {
            return names;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn finished_files_beyond_the_maximum_are_removed_but_no_file_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let rotate = Rotate { max_bytes: Some(1), max_age: None };
    let retain = Retain { files: Some(2), ..Retain::default() };
    let options = Settings { rotate, retain, ..defaults() };
    fs::create_dir(dir.path().join("a")).unwrap();
    // The dataset's name leads to a file of another program, and to one that looks rotated.
    fs::write(file(dir.path(), "a"), "theirs\n").unwrap();
    fs::write(dir.path().join("a/out.ndjson.20250101T000000Z"), "theirs\n").unwrap();
    let mut sink = sink_with(dir.path(), options, vec![]);
    for number in 1..=6 {
        deliver(&mut sink, &batch(number, "a"), LINE);
        checkpoint(&mut sink);
    }
    // Two files of the other program, two finished files of the sink and its live file.
    let names = settled(dir.path(), |names| names.len() == 5);
    assert_eq!(names.len(), 5, "{names:?}");
    let texts = all(dir.path()).1;
    let theirs = texts.iter().filter(|text| text.starts_with("theirs\n")).count();
    assert_eq!(theirs, 2, "{texts:?}");
}

#[test]
fn a_file_that_was_created_while_the_clock_was_ahead_is_rotated_when_it_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let positions = {
        let mut sink = sink_with(dir.path(), options(None, Some(hour)), vec![]);
        deliver(&mut sink, &batch(1, "a"), LINE);
        // The clock was a year ahead, and is right again.
        let path = file(dir.path(), "a");
        sink.targets.get_mut(&path).unwrap().born += 365 * 24 * 3600;
        maintain(&mut sink);
        assert!(sink.targets[&path].born <= unix_now(), "in the same process");
        checkpoint(&mut sink)
    };
    let ahead = FilePosition { born: Some(unix_now() + 365 * 24 * 3600), ..positions[0].clone() };
    let sink = sink_with(dir.path(), options(None, Some(hour)), vec![ahead]);
    assert!(sink.targets.values().all(|target| target.born <= unix_now()), "in the next one");
}
