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

fn sink(dir: &Path, positions: Vec<FilePosition>) -> FileSink {
    sink_with(dir, defaults(), positions)
}

/// The default settings, without a path.
pub(super) fn defaults() -> Settings {
    Settings::sample().unwrap()
}

pub(super) fn sink_with(
    dir: &Path,
    mut options: Settings,
    positions: Vec<FilePosition>,
) -> FileSink {
    let path = format!("{}/{{dataset}}/%Y-%m-%d.ndjson", dir.display());
    let list = dir.join("list.json");
    options.path = path;
    FileSink::new(&options, Some(&list), positions, SinkCounters::default()).unwrap()
}

/// Begins a batch as delivery does. Returns the checkpoint, if the sink asked for one.
pub(super) fn begin(sink: &mut FileSink, batch: &Batch) -> Option<Vec<FilePosition>> {
    let mut positions = None;
    while sink.begin(batch).unwrap() == Readiness::CheckpointFirst {
        positions = Some(sink.sync_files().unwrap());
        assert_eq!(
            sink.begin(batch).unwrap(),
            Readiness::CheckpointFirst,
            "not before the checkpoint is stored"
        );
        sink.checkpoint_saved();
    }
    positions
}

pub(super) fn write(sink: &mut FileSink, text: &str) {
    sink.write(&Block { bytes: text.into(), ..Block::default() }).unwrap();
}

pub(super) fn deliver(sink: &mut FileSink, batch: &Batch, text: &str) -> Option<Vec<FilePosition>> {
    let positions = begin(sink, batch);
    write(sink, text);
    sink.finish().unwrap();
    positions
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
    assert!(deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n").is_some(), "the file is new");
    deliver(&mut sink, &batch(2, "b"), "{\"n\":2}\n");
    assert_eq!(deliver(&mut sink, &batch(3, "a"), "{\"n\":3}\n"), None);
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":3}\n");
    assert_eq!(read(&file(dir.path(), "b")), "{\"n\":2}\n");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file(dir.path(), "a")), 0o640);
    assert_eq!(mode(&dir.path().join("a")), 0o750);
}

/// A sink whose file was renamed in the middle of the third batch, and a checkpoint from before the
/// second.
fn renamed_in_the_middle(dir: &Path) -> (FileSink, Vec<FilePosition>) {
    let mut sink = sink(dir, vec![]);
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    let positions = sink.sync_files().unwrap();
    deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n");
    begin(&mut sink, &batch(3, "a"));
    write(&mut sink, "{\"n\":3}\n{\"n\":");
    let path = file(dir, "a");
    fs::rename(&path, path.with_extension("ndjson.1")).unwrap();
    (sink, positions)
}

#[test]
fn a_batch_that_was_begun_in_a_renamed_file_is_completed_there() {
    for restarted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, positions) = renamed_in_the_middle(dir.path());
        if restarted {
            writer = sink(dir.path(), positions);
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
fn a_file_that_only_has_the_inode_number_of_the_renamed_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, positions) = renamed_in_the_middle(dir.path());
    drop(writer);
    let other = FilePosition { made: Some(1), ..positions[0].clone() };
    let mut writer = sink(dir.path(), vec![other]);
    deliver(&mut writer, &batch(2, "a"), "{\"n\":2}\n");
    let renamed = file(dir.path(), "a").with_extension("ndjson.1");
    assert_eq!(read(&renamed), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":");
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":2}\n");
}

#[test]
fn a_batch_that_was_begun_in_a_removed_file_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), vec![]);
    begin(&mut sink, &batch(1, "a"));
    write(&mut sink, "{\"n\":1}\n{\"n\":");
    fs::remove_file(file(dir.path(), "a")).unwrap();
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn a_failed_attempt_is_continued_where_it_stopped() {
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
fn after_a_crash_only_missing_bytes_are_written() {
    let stream = ["{\"n\":2}\n", "{\"n\":33}\n{\"n\":4}\n"];
    let whole = format!("{{\"n\":1}}\n{}{}", stream[0], stream[1]);
    // The length of the file at the crash.
    for there in "{\"n\":1}\n".len()..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "a");
        let positions = {
            let mut sink = sink(dir.path(), vec![]);
            deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
            sink.sync_files().unwrap()
        };
        let inode = fs::metadata(&path).unwrap().ino();
        fs::write(&path, &whole.as_bytes()[..there]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        let mut sink = sink(dir.path(), positions);
        assert_eq!(deliver(&mut sink, &batch(2, "a"), stream[0]), None);
        assert_eq!(deliver(&mut sink, &batch(3, "a"), stream[1]), None);
        assert_eq!(read(&path), whole, "{there} bytes were there");
    }
}

#[test]
fn the_records_of_a_file_that_was_new_at_the_crash_are_not_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let positions = deliver(&mut sink(dir.path(), vec![]), &batch(1, "a"), "{\"n\":1}\n");
    let mut sink = sink(dir.path(), positions.expect("a checkpoint before the first byte"));
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n");
}

#[test]
fn an_existing_file_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(file(dir.path(), "a"), "{\"n\":1}\n").unwrap();
    let mut sink = sink(dir.path(), vec![]);
    deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":1}\n");
}

#[test]
fn a_file_that_was_renamed_or_removed_is_created_again() {
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
fn a_file_that_another_program_changed_is_continued_at_its_end() {
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
fn an_incomplete_line_of_another_program_is_ended_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::write(&path, "open").unwrap();
    let mut sink = sink(dir.path(), vec![]);
    let positions = deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n").unwrap();
    assert_eq!(positions[0].length, 5, "the checkpoint contains the line end");
    assert_eq!(read(&path), "open\n{\"n\":1}\n");
    fs::write(&path, "short").unwrap();
    assert!(deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n").is_some(), "a new checkpoint");
    assert_eq!(read(&path), "short\n{\"n\":2}\n");
    let positions = sink.sync_files().unwrap();
    fs::write(&path, "x").unwrap();
    drop(sink);
    let mut sink = self::sink(dir.path(), positions);
    deliver(&mut sink, &batch(3, "a"), "{\"n\":3}\n");
    assert_eq!(read(&path), "x\n{\"n\":3}\n");
}

#[test]
fn zeros_that_a_power_cut_left_are_truncated() {
    let stream = ["{\"n\":2}\n{\"n\":3}\n", "{\"n\":4}\n"];
    let whole = format!("{{\"n\":1}}\n{}{}", stream[0], stream[1]);
    let first = "{\"n\":1}\n".len();
    for (there, zeros) in [(first, 1), (first, 100_000), (first + 3, 40), (whole.len() - 4, 4)] {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "a");
        let positions = {
            let mut sink = sink(dir.path(), vec![]);
            deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
            sink.sync_files().unwrap()
        };
        fs::write(&path, [&whole.as_bytes()[..there], &vec![0; zeros]].concat()).unwrap();
        let mut sink = sink(dir.path(), positions);
        deliver(&mut sink, &batch(2, "a"), stream[0]);
        deliver(&mut sink, &batch(3, "a"), stream[1]);
        assert_eq!(read(&path), whole, "{zeros} zeros after {there} bytes");
    }
}

#[test]
fn zeros_before_other_bytes_stay() {
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
fn a_file_that_was_missing_for_a_while_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let (fixture, away) = (dir.path().join("a"), dir.path().join("away"));
    let positions = {
        let mut sink = sink(dir.path(), vec![]);
        deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
        let positions = sink.sync_files().unwrap();
        // Written before a crash, and in no checkpoint.
        deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n");
        positions
    };
    fs::rename(&fixture, &away).unwrap();
    fs::write(&fixture, "in the way").unwrap();
    let mut sink = sink(dir.path(), positions);
    sink.begin(&batch(2, "a")).unwrap_err();
    fs::remove_file(&fixture).unwrap();
    fs::rename(&away, &fixture).unwrap();
    assert_eq!(deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n"), None);
    assert_eq!(read(&file(dir.path(), "a")), "{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn a_directory_is_refused() {
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
        sink.checkpoint_saved();
    }
    let open = sink.targets.values().filter(|target| target.open.is_some()).count();
    assert!(open <= MAX_OPEN_FILES, "{open}");
    deliver(&mut sink, &batch(201, "d0"), "{\"n\":2}\n");
    assert_eq!(read(&file(dir.path(), "d0")), "{}\n{\"n\":2}\n");
}

#[test]
fn a_file_that_is_reopened_among_many_stays_open_for_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(dir.path(), vec![]);
    let mut settle = |number: u64, name: &str| {
        deliver(&mut sink, &batch(number, name), "{}\n");
        sink.sync_files().unwrap();
        sink.checkpoint_saved();
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
fn a_new_file_with_the_inode_number_of_the_old_one_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a");
    let positions = {
        let mut sink = sink(dir.path(), vec![]);
        deliver(&mut sink, &batch(1, "a"), "{\"n\":1}\n");
        sink.sync_files().unwrap()
    };
    // Some filesystems reuse the number at once, others never.
    fs::remove_file(&path).unwrap();
    let mut sink = sink(dir.path(), positions);
    assert!(deliver(&mut sink, &batch(2, "a"), "{\"n\":2}\n").is_some(), "a checkpoint first");
    assert_eq!(read(&path), "{\"n\":2}\n");
}
