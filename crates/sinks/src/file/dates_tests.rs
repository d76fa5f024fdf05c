//! Files whose date has passed. The batches of these tests arrived long ago.

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

fn checkpoint(sink: &mut FileSink) -> Vec<Mark> {
    let marks = sink.sync_files().unwrap();
    sink.saved();
    marks
}

/// As the driver does, after a minute in which nothing came.
fn tend_after_a_minute(sink: &mut FileSink) {
    for target in sink.targets.values_mut() {
        target.used_at = Instant::now().checked_sub(IDLE).unwrap();
    }
    sink.next_dates = sink.next_dates.map(|_| Instant::now());
    while sink.tend().unwrap() == Begin::CheckpointFirst {
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

/// The names when the keeper has come to rest.
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
    sink.tend().unwrap();
    assert_eq!(names(dir.path()), ["2025-11-21.ndjson"], "no checkpoint says what it holds");
    checkpoint(&mut sink);
    tend_after_a_minute(&mut sink);
    sink.keeper.as_ref().unwrap().let_go_for_test();
    let is_packed = |names: &[String]| names == ["2025-11-21.ndjson.gz"];
    assert_eq!(settled(dir.path(), is_packed), ["2025-11-21.ndjson.gz"]);
    assert_eq!(checkpoint(&mut sink), [], "no checkpoint names it any more");
    // A late batch begins the file again. It is compressed beside the first one.
    deliver(&mut sink, &batch(2, "a"), LINE);
    assert_eq!(read(&file(dir.path(), "a")), LINE);
    checkpoint(&mut sink);
    tend_after_a_minute(&mut sink);
    sink.keeper.as_ref().unwrap().let_go_for_test();
    let are_packed = |names: &[String]| names.iter().all(|name| name.contains(".gz"));
    let names = settled(dir.path(), are_packed);
    assert!(are_packed(&names) && names.len() == 2, "{names:?}");
}

#[test]
fn what_comes_for_a_finished_file_that_is_still_plain_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(Compress::Gzip, Rotate::default());
    options.compress_after = defaults().compress_after;
    let mut sink = sink_with(dir.path(), options, vec![]);
    deliver(&mut sink, &batch(1, "a"), LINE);
    checkpoint(&mut sink);
    tend_after_a_minute(&mut sink);
    let stage = |sink: &FileSink| sink.keeper.as_ref().unwrap().inventory().files()[0].1.stage;
    assert_eq!(stage(&sink), Stage::Ended);
    assert!(sink.targets.is_empty());
    assert!(deliver(&mut sink, &batch(2, "a"), LINE).is_some(), "a checkpoint names it first");
    assert_eq!(stage(&sink), Stage::Live);
    assert_eq!(read(&file(dir.path(), "a")), LINE.repeat(2));
    tend_after_a_minute(&mut sink);
    assert_eq!(stage(&sink), Stage::Live, "what came is not on record");
    checkpoint(&mut sink);
    tend_after_a_minute(&mut sink);
    assert_eq!(stage(&sink), Stage::Ended);
}

#[test]
fn a_file_of_an_earlier_path_is_not_ended() {
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
    tend_after_a_minute(&mut sink);
    let files = sink.keeper.as_ref().unwrap().inventory().files();
    assert_eq!((files.len(), files[0].1.stage), (1, Stage::Live));
}

#[test]
fn a_file_whose_date_has_passed_ends_for_its_size_alone_and_no_empty_one_follows() {
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
    tend_after_a_minute(&mut sink);
    assert_eq!(names(dir.path()), rotated, "it is not finished");
    assert_eq!(read(&dir.path().join("a").join(&rotated[1])), LINE.repeat(2));
    assert_eq!(read(&file(dir.path(), "a")), LINE);
}
