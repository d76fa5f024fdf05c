//! Files whose date has passed: the batches of these tests were received long ago.

use std::{fs, thread};

use super::{
    inventory::Stage,
    tests::{batch, defaults, deliver, file, read, sink_with},
    *,
};

const LINE: &str = "{\"n\":1}\n";

fn options(compress: Compress, rotate: Rotate) -> Settings {
    let compress_after = CompressAfter::Delay(Duration::ZERO);
    Settings { rotate, compress, compress_after, ..defaults() }
}

fn rotate(max_bytes: Option<u64>, max_age: Option<Duration>) -> Rotate {
    Rotate { max_bytes, max_age }
}

fn checkpoint(sink: &mut FileSink) -> Vec<FilePosition> {
    let positions = sink.sync_files().unwrap();
    sink.checkpoint_saved();
    positions
}

/// Calls [`Sink::maintain`] as delivery does after a minute without a batch.
fn maintain_after_a_minute(sink: &mut FileSink) {
    for target in sink.targets.values_mut() {
        target.last_used = Instant::now().checked_sub(IDLE).unwrap();
    }
    sink.next_dates = sink.next_dates.map(|_| Instant::now());
    while sink.maintain().unwrap() == Readiness::CheckpointFirst {
        checkpoint(sink);
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("a")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The names, once `want` accepts them.
fn settled(dir: &Path, want: impl Fn(&[String]) -> bool) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let names = names(dir);
        if want(&names) || begun.elapsed() > Duration::from_secs(20) {
            return names;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_finished_file_keeps_its_name_and_is_compressed_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let hour = rotate(Some(1), Some(Duration::from_secs(3600)));
    let mut sink = sink_with(dir.path(), options(Compress::Gzip, hour), vec![]);
    deliver(&mut sink, &batch(1, "a"), LINE);
    sink.maintain().unwrap();
    assert_eq!(names(dir.path()), ["2025-11-21.ndjson"], "no checkpoint covers it");
    checkpoint(&mut sink);
    maintain_after_a_minute(&mut sink);
    sink.keeper.as_ref().unwrap().release_for_test();
    let is_compressed = |names: &[String]| names == ["2025-11-21.ndjson.gz"];
    assert_eq!(settled(dir.path(), is_compressed), ["2025-11-21.ndjson.gz"]);
    assert_eq!(checkpoint(&mut sink), [], "no checkpoint contains it any more");
    // A late batch creates the file again. It is compressed under another name.
    deliver(&mut sink, &batch(2, "a"), LINE);
    assert_eq!(read(&file(dir.path(), "a")), LINE);
    checkpoint(&mut sink);
    maintain_after_a_minute(&mut sink);
    sink.keeper.as_ref().unwrap().release_for_test();
    let are_compressed = |names: &[String]| names.iter().all(|name| name.contains(".gz"));
    let names = settled(dir.path(), are_compressed);
    assert!(are_compressed(&names) && names.len() == 2, "{names:?}");
}

#[test]
fn a_late_batch_is_appended_to_a_finished_file_that_is_not_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(Compress::Gzip, Rotate::default());
    options.compress_after = defaults().compress_after;
    let mut sink = sink_with(dir.path(), options, vec![]);
    deliver(&mut sink, &batch(1, "a"), LINE);
    checkpoint(&mut sink);
    maintain_after_a_minute(&mut sink);
    let stage = |sink: &FileSink| sink.keeper.as_ref().unwrap().inventory().files()[0].1.stage;
    assert_eq!(stage(&sink), Stage::Finished);
    assert!(sink.targets.is_empty());
    assert!(deliver(&mut sink, &batch(2, "a"), LINE).is_some(), "a checkpoint contains it first");
    assert_eq!(stage(&sink), Stage::Live);
    assert_eq!(read(&file(dir.path(), "a")), LINE.repeat(2));
    maintain_after_a_minute(&mut sink);
    assert_eq!(stage(&sink), Stage::Live, "the late batch is in no checkpoint");
    checkpoint(&mut sink);
    maintain_after_a_minute(&mut sink);
    assert_eq!(stage(&sink), Stage::Finished);
}

#[test]
fn a_file_of_an_earlier_path_is_not_finished() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(Compress::Gzip, Rotate::default());
    options.compress_after = CompressAfter::Next;
    let path = format!("{}/{{dataset}}.ndjson", dir.path().display());
    let list = dir.path().join("list.json");
    let config = Settings { path, ..options };
    deliver(
        &mut FileSink::new(&config, Some(&list), vec![], SinkCounters::default()).unwrap(),
        &batch(1, "a"),
        LINE,
    );
    let mut sink = sink_with(dir.path(), options, vec![]);
    maintain_after_a_minute(&mut sink);
    let files = sink.keeper.as_ref().unwrap().inventory().files();
    assert_eq!((files.len(), files[0].1.stage), (1, Stage::Live));
}

#[test]
fn a_file_whose_date_has_passed_is_rotated_for_its_size_only_and_no_empty_one_follows() {
    let dir = tempfile::tempdir().unwrap();
    let keys = options(Compress::None, rotate(None, Some(Duration::from_nanos(1))));
    let mut sink = sink_with(dir.path(), keys, vec![]);
    for number in 1..=2 {
        deliver(&mut sink, &batch(number, "a"), LINE);
    }
    assert_eq!(names(dir.path()), ["2025-11-21.ndjson"]);
    drop(sink);
    let keys = options(Compress::None, rotate(Some(1), None));
    let mut sink = sink_with(dir.path(), keys, vec![]);
    deliver(&mut sink, &batch(3, "a"), LINE);
    let rotated = names(dir.path());
    assert!(rotated[1].starts_with("2025-11-21.ndjson.2"), "{rotated:?}");
    maintain_after_a_minute(&mut sink);
    assert_eq!(names(dir.path()), rotated, "it is not finished");
    assert_eq!(read(&dir.path().join("a").join(&rotated[1])), LINE.repeat(2));
    assert_eq!(read(&file(dir.path(), "a")), LINE);
}
