use std::{
    fs,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use jiff::Timestamp;

use ::settings::Settings as _;
use records::decode::Encoding;
use spool::{Header, Origin};

use super::*;

pub(super) fn batch(sequence: u64, dataset: &str) -> Batch {
    let header = Header {
        origin: Origin {
            endpoint: "push".into(),
            dataset: dataset.into(),
            received: Timestamp::from_microsecond(1_763_755_200_000_000).unwrap(),
            sink: None,
        },
        records: 1,
        rejected: 0,
        record_limit: 1 << 20,
        digest: 7,
        encoding: Encoding::Gzip,
        format: records::decode::Format::Json,
        edition: records::decode::Edition::First,
    };
    Batch { sequence, header }
}

fn sink(dir: &Path, marks: Vec<Mark>) -> FileSink {
    sink_with(dir, defaults(), marks)
}

/// Without a path of their own.
pub(super) fn defaults() -> Settings {
    Settings::sample().unwrap()
}

pub(super) fn sink_with(dir: &Path, mut options: Settings, marks: Vec<Mark>) -> FileSink {
    let path = format!("{}/{{dataset}}/%Y-%m-%d.ndjson", dir.display());
    let list = dir.join("list.json");
    options.path = path;
    FileSink::new(&options, Some(&list), marks, SinkCounters::default()).unwrap()
}

/// Begins as the driver does. Gives back the checkpoint, if the sink asked for one.
pub(super) fn begin(sink: &mut FileSink, batch: &Batch) -> Option<Vec<Mark>> {
    let mut marks = None;
    while sink.begin(batch).unwrap() == Begin::CheckpointFirst {
        marks = Some(sink.sync_files().unwrap());
        assert_eq!(sink.begin(batch).unwrap(), Begin::CheckpointFirst, "not before it is saved");
        sink.saved();
    }
    marks
}

pub(super) fn write(sink: &mut FileSink, text: &str) {
    sink.write(&Block { bytes: text.into(), ..Block::default() }).unwrap();
}

pub(super) fn deliver(sink: &mut FileSink, batch: &Batch, text: &str) -> Option<Vec<Mark>> {
    let marks = begin(sink, batch);
    write(sink, text);
    sink.finish().unwrap();
    marks
}

pub(super) fn file(dir: &Path, dataset: &str) -> PathBuf {
    dir.join(dataset).join("2025-11-21.ndjson")
}

pub(super) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn batches_go_to_the_file_of_their_dataset_and_day() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), vec![]);
    assert!(deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n").is_some(), "a file it knew not");
    deliver(&mut sink, &batch(2, "b"), "{\"n\":2}\n");
    assert_eq!(deliver(&mut sink, &batch(3, "a"), "{\"n\":3}\n"), None);
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":3}\n");
    assert_eq!(read(&file(dir.path(), "b")), "{\"n\":2}\n");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file(dir.path(), "a")), 0o640);
    assert_eq!(mode(&dir.path().join("a")), 0o750);
}

/// A file that lost its name while the third batch was on its way into it, the last checkpoint from
/// before the second, and the sink that wrote it.
fn renamed_in_the_middle(dir: &Path) -> (FileSink, Vec<Mark>) {
    let mut sink = sink(dir, vec![]);
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    let marks = sink.sync_files().unwrap();
    deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n");
    begin(&mut sink, &batch(3, "a"));
    write(&mut sink, "{\"n\":3}\n{\"n\":");
    let path = file(dir, "a");
    fs::rename(&path, path.with_extension("ndjson.1")).unwrap();
    (sink, marks)
}

#[test]
fn what_was_begun_in_a_file_is_brought_to_its_end_there_when_it_is_renamed() {
    for restarted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, marks) = renamed_in_the_middle(dir.path());
        if restarted {
            writer = sink(dir.path(), marks);
            fs::write(file(dir.path(), "a"), "").unwrap();
            assert_eq!(deliver(&mut writer, &batch(2, "a"), "{\"n\":2}\n"), None);
        }
        deliver(&mut writer, &batch(3, "a"), "{\"n\":3}\n{\"n\":4}\n");
        deliver(&mut writer, &batch(4, "a"), "{\"n\":5}\n");
        let renamed = file(dir.path(), "a").with_extension("ndjson.1");
        assert_eq!(read(&renamed), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
        assert_eq!(read(&file(dir.path(), "a")), "{\"n\":5}\n");
    }
}

#[test]
fn a_file_that_only_has_the_number_of_the_renamed_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, marks) = renamed_in_the_middle(dir.path());
    drop(writer);
    let other = Mark { made: Some(1), ..marks[0].clone() };
    let mut writer = sink(dir.path(), vec![other]);
    deliver(&mut writer, &batch(2, "a"), "{\"n\":2}\n");
    let renamed = file(dir.path(), "a").with_extension("ndjson.1");
    assert_eq!(read(&renamed), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":");
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":2}\n");
}

#[test]
fn what_was_begun_in_a_file_that_is_removed_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), vec![]);
    begin(&mut sink, &batch(1, "a"));
    write(&mut sink, "{\"n\":1}\n{\"n\":");
    fs::remove_file(file(dir.path(), "a")).unwrap();
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn an_attempt_that_failed_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), vec![]);
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    begin(&mut sink, &batch(2, "a"));
    write(&mut sink, "{\"n\":2}\n{\"n\":");
    begin(&mut sink, &batch(2, "a"));
    write(&mut sink, "{\"n\":2}\n");
    write(&mut sink, "{\"n\":3}\n{\"n\":4}\n");
    sink.finish().unwrap();
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
}

#[test]
fn after_a_crash_only_what_is_missing_is_written() {
    let stream = ["{\"n\":2}\n", "{\"n\":33}\n{\"n\":4}\n"];
    let whole = format!("{{\"n\":1}}\n{}{}", stream[0], stream[1]);
    // The crash came when this much of the file was written.
    for there in "{\"n\":1}\n".len()..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "a");
        let marks = {
            let mut sink = sink(dir.path(), vec![]);
            deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
            sink.sync_files().unwrap()
        };
        let inode = fs::metadata(&path).unwrap().ino();
        fs::write(&path, &whole.as_bytes()[..there]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        let mut sink = sink(dir.path(), marks);
        assert_eq!(deliver(&mut sink, &batch(2, "a"), stream[0]), None);
        assert_eq!(deliver(&mut sink, &batch(3, "a"), stream[1]), None);
        assert_eq!(read(&path), whole, "{there} bytes were there");
    }
}

#[test]
fn a_file_that_was_new_at_the_crash_is_not_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let marks = deliver(&mut sink(dir.path(), vec![]), &batch(1, "a"), "{\"n\":1}\n");
    let mut sink = sink(dir.path(), marks.expect("a checkpoint before the first byte"));
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n");
}

#[test]
fn a_file_that_was_there_before_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(file(dir.path(), "a"), "{\"n\":1}\n").unwrap();
    let mut sink = sink(dir.path(), vec![]);
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":1}\n");
}

#[test]
fn a_file_that_was_renamed_or_removed_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    let mut sink = sink(dir.path(), vec![]);
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    fs::rename(&path, path.with_extension("1")).unwrap();
    assert!(deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n").is_some());
    fs::rename(&path, path.with_extension("2")).unwrap();
    fs::write(&path, "").unwrap();
    deliver(&mut sink, &batch(3, "a"), "{\"n\":3}\n");
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    deliver(&mut sink, &batch(4, "a"), "{\"n\":4}\n");
    assert_eq!(read(&path), "{\"n\":4}\n");
}

#[test]
fn a_file_that_somebody_emptied_or_wrote_to_goes_on_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    let mut sink = sink(dir.path(), vec![]);
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n");
    assert_eq!(read(&path), "{\"n\":2}\n");
    let mut other = OpenOptions::new().append(true).open(&path).unwrap();
    other.write_all(b"who wrote this?").unwrap();
    deliver(&mut sink, &batch(3, "a"), "{\"n\":3}\n");
    assert_eq!(read(&path), "{\"n\":2}\nwho wrote this?\n{\"n\":3}\n");
}

#[test]
fn a_line_that_somebody_left_open_is_ended_before_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(&path, "open").unwrap();
    let mut sink = sink(dir.path(), vec![]);
    let marks = deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n").unwrap();
    assert_eq!(marks[0].length, 5, "the line end is on record");
    assert_eq!(read(&path), "open\n{\"n\":1}\n");
    fs::write(&path, "short").unwrap();
    assert!(deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n").is_some(), "a new checkpoint");
    assert_eq!(read(&path), "short\n{\"n\":2}\n");
    let marks = sink.sync_files().unwrap();
    fs::write(&path, "x").unwrap();
    drop(sink);
    let mut sink = self::sink(dir.path(), marks);
    deliver(&mut sink, &batch(3, "a"), "{\"n\":3}\n");
    assert_eq!(read(&path), "x\n{\"n\":3}\n");
}

#[test]
fn zeros_that_a_power_cut_left_are_cut_off() {
    let stream = ["{\"n\":2}\n{\"n\":3}\n", "{\"n\":4}\n"];
    let whole = format!("{{\"n\":1}}\n{}{}", stream[0], stream[1]);
    let first = "{\"n\":1}\n".len();
    for (there, zeros) in [(first, 1), (first, 100_000), (first + 3, 40), (whole.len() - 4, 4)] {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "a");
        let marks = {
            let mut sink = sink(dir.path(), vec![]);
            deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
            sink.sync_files().unwrap()
        };
        fs::write(&path, [&whole.as_bytes()[..there], &vec![0; zeros]].concat()).unwrap();
        let mut sink = sink(dir.path(), marks);
        deliver(&mut sink, &batch(2, "a"), stream[0]);
        deliver(&mut sink, &batch(3, "a"), stream[1]);
        assert_eq!(read(&path), whole, "{zeros} zeros behind {there} bytes");
    }
}

#[test]
fn zeros_with_something_behind_them_are_somebody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    let mut sink = sink(dir.path(), vec![]);
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    let mut other = OpenOptions::new().append(true).open(&path).unwrap();
    other.write_all(b"\0\0\0mine").unwrap();
    deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n");
    assert_eq!(read(&path), "{\"n\":1}\n\0\0\0mine\n{\"n\":2}\n");
}

#[test]
fn a_file_that_was_away_for_a_while_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, away) = (dir.path().join("a"), dir.path().join("away"));
    let marks = {
        let mut sink = sink(dir.path(), vec![]);
        deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
        let marks = sink.sync_files().unwrap();
        // Written, and then comes a crash: no checkpoint knows of it.
        deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n");
        marks
    };
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let mut sink = sink(dir.path(), marks);
    sink.begin(&batch(2, "a")).unwrap_err();
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n"), None);
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn what_is_no_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(file(dir.path(), "a")).unwrap();
    let mut sink = sink(dir.path(), vec![]);
    let error = sink.begin(&batch(1, "a")).unwrap_err().to_string();
    assert!(error.starts_with("opening ") && error.contains("2025-11-21"), "{error}");
    deliver(&mut sink, &batch(2, "b"), "{}\n");
}

#[test]
fn many_files_do_not_stay_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), vec![]);
    for number in 0..200 {
        deliver(&mut sink, &batch(number + 1, &format!("d{number}")), "{}\n");
        sink.sync_files().unwrap();
        sink.saved();
    }
    let open = sink.targets.values().filter(|target| target.open.is_some()).count();
    assert!(open <= MAX_OPEN_FILES, "{open}");
    deliver(&mut sink, &batch(201, "d0"), "{\"n\":2}\n");
    assert_eq!(read(&file(dir.path(), "d0")), "{}\n{\"n\":2}\n");
}

#[test]
fn a_file_that_is_opened_again_beside_many_stays_open_for_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), vec![]);
    let mut settle = |number: u64, name: &str| {
        deliver(&mut sink, &batch(number, name), "{}\n");
        sink.sync_files().unwrap();
        sink.saved();
    };
    for round in 0..3 {
        for number in 0..=MAX_OPEN_FILES as u64 + 6 {
            settle(round * 100 + number + 1, &format!("d{number}"));
        }
    }
    for number in 0..=MAX_OPEN_FILES as u64 + 6 {
        assert_eq!(read(&file(dir.path(), &format!("d{number}"))), "{}\n".repeat(3), "{number}");
    }
}

#[test]
fn each_batch_is_synced_if_asked_for() {
    for fsync in [Fsync::Checkpoint, Fsync::Batch] {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink_with(dir.path(), Settings { fsync, ..defaults() }, vec![]);
        deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
        let open = sink.targets[&file(dir.path(), "a")].open.as_ref().unwrap();
        assert_eq!(open.is_dirty(), fsync == Fsync::Checkpoint);
    }
}

#[test]
fn a_new_file_is_new_though_it_has_the_number_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    let marks = {
        let mut sink = sink(dir.path(), vec![]);
        deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
        sink.sync_files().unwrap()
    };
    // Some filesystems give the next file the number at once, others never.
    fs::remove_file(&path).unwrap();
    let mut sink = sink(dir.path(), marks);
    assert!(deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n").is_some(), "a checkpoint first");
    assert_eq!(read(&path), "{\"n\":2}\n");
}

#[test]
fn a_file_that_another_sink_has_open_is_refused_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let sink = |name: &str| {
        let path = at(name).to_str().unwrap().to_owned();
        let settings = Settings { path, ..defaults() };
        FileSink::new(&settings, None, vec![], SinkCounters::default()).unwrap()
    };
    fs::write(at("one"), "").unwrap();
    fs::hard_link(at("one"), at("other")).unwrap();
    let (mut one, mut other) = (sink("one"), sink("other"));
    deliver(&mut one, &batch(1, "a"), "{\"n\":1}\n");
    let error = other.begin(&batch(1, "a")).unwrap_err().to_string();
    assert!(error.contains("/other: the sink whose `path` is"), "{error}");
    assert!(error.contains("/one has"), "{error}");
    deliver(&mut one, &batch(2, "a"), "{\"n\":2}\n");
    drop(one);
    deliver(&mut other, &batch(1, "a"), "{\"n\":1}\n");
    assert_eq!(read(&at("other")), "{\"n\":1}\n{\"n\":2}\n{\"n\":1}\n");
    // A name of its own is enough.
    fs::remove_file(at("one")).unwrap();
    deliver(&mut sink("one"), &batch(1, "a"), "{\"n\":1}\n");
}
