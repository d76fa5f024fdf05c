//! A batch for several files is written to each exactly once.

use std::fs;

use super::{
    tests::{batch, defaults, read, sink_with},
    *,
};

fn options() -> Settings {
    Settings { time: RecordTime::Event, ..defaults() }
}

/// A record with a time around the midnight before these batches are received.
fn line(number: usize) -> String {
    let (day, second) = (20 + number % 2, number % 60);
    format!("{{\"Timestamp\":\"2025-11-{day}T00:00:{second:02}Z\",\"n\":{number}}}\n")
}

fn of_day(lines: &[String], day: usize) -> String {
    let is_of = |line: &&String| line.contains(&format!("-{day}T"));
    lines.iter().filter(is_of).map(String::as_str).collect()
}

/// Delivers a batch as delivery does, for at most `steps` steps. Returns whether it was finished.
fn attempt(
    sink: &mut FileSink,
    (number, lines): (u64, &[String]),
    saved: &mut (u64, Vec<FilePosition>),
    steps: &mut usize,
) -> bool {
    let mut step = || {
        let more = *steps > 0;
        *steps = steps.saturating_sub(1);
        more
    };
    assert_eq!(sink.begin(&batch(number, "a")).unwrap(), Readiness::Ready);
    for pair in lines.chunks(2) {
        let block = Block { bytes: pair.concat().into_bytes(), ..Block::default() };
        while sink.prepare_block(&block).unwrap() == Readiness::CheckpointFirst {
            if !step() {
                return false;
            }
            *saved = (number - 1, sink.sync_files().unwrap());
            sink.checkpoint_saved();
            if !step() {
                return false;
            }
        }
        sink.write(&block).unwrap();
        if !step() {
            return false;
        }
    }
    sink.finish().unwrap();
    step()
}

#[test]
fn a_crash_at_any_step_leaves_each_file_exactly_once() {
    let batches: Vec<Vec<String>> = vec![
        (0..4).map(line).collect(),
        [1, 3, 2, 5].map(line).into(),
        [8, 6, 7, 9].map(line).into(),
    ];
    let all = batches.concat();
    for rotate in [None, Some(60)] {
        let options = Settings { rotate: Rotate { max_bytes: rotate, max_age: None }, ..options() };
        for count in 0..30 {
            let dir = tempfile::tempdir().unwrap();
            let (mut saved, mut steps) = ((0, Vec::new()), count);
            let mut sink = sink_with(dir.path(), options.clone(), vec![]);
            for (number, lines) in (1..).zip(&batches) {
                if !attempt(&mut sink, (number, lines), &mut saved, &mut steps) {
                    break;
                }
            }
            drop(sink);
            // First a failed attempt, then one in another process.
            for steps in [2, usize::MAX] {
                let (from, positions) = saved.clone();
                let mut sink = sink_with(dir.path(), options.clone(), positions);
                let mut steps = steps;
                for (number, lines) in (1..).zip(&batches).skip(usize::try_from(from).unwrap()) {
                    if !attempt(&mut sink, (number, lines), &mut saved, &mut steps) {
                        break;
                    }
                }
            }
            for day in [20, 21] {
                let mut names: Vec<_> = fs::read_dir(dir.path().join("a"))
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| path.to_str().unwrap().contains(&format!("2025-11-{day}")))
                    .collect();
                names.sort_by_key(|path| (path.extension().unwrap() == "ndjson", path.clone()));
                let text: String = names.iter().map(|path| read(path)).collect();
                assert_eq!(text, of_day(&all, day), "{count} steps, {rotate:?}: {names:?}");
            }
        }
    }
}

#[test]
fn a_failed_attempt_is_repeated_for_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<_> = (0..6).map(line).collect();
    let mut sink = sink_with(dir.path(), options(), vec![]);
    let mut saved = (0, Vec::new());
    for mut steps in [1, 1, 2, 100] {
        attempt(&mut sink, (1, &lines), &mut saved, &mut steps);
    }
    for day in [20, 21] {
        let path = dir.path().join(format!("a/2025-11-{day}.ndjson"));
        assert_eq!(read(&path), of_day(&lines, day));
    }
    let block = Block { bytes: lines.concat().into_bytes(), ..Block::default() };
    sink.begin(&batch(2, "a")).unwrap();
    sink.write(&block).unwrap_err();
}
