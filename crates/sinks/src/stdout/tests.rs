use std::{
    fs::OpenOptions,
    io::{PipeReader, Read as _, pipe},
    os::fd::OwnedFd,
    thread,
};

use jiff::Timestamp;
use records::decode::{Encoding, Format};
use rustix::fs::fcntl_setfl;
use spool::{Header, Origin};

use super::*;

fn batch(sequence: u64) -> Batch {
    let header = Header {
        origin: Origin {
            endpoint: "main".into(),
            dataset: "dns_logs".into(),
            received: Timestamp::UNIX_EPOCH,
            sink: None,
        },
        records: 1,
        rejected: 0,
        record_limit: 1 << 20,
        digest: 0,
        encoding: Encoding::Identity,
        format: Format::Json,
        edition: records::decode::Edition::First,
    };
    Batch { sequence, header }
}

fn lines(records: u64, length: usize) -> Vec<u8> {
    let record = |number: u64| format!("{{\"n\":{number:.>length$}}}\n");
    (0..records).map(record).collect::<String>().into_bytes()
}

fn sink(out: impl Into<OwnedFd>) -> Stdout {
    let out = Output::open(out.into().as_fd()).unwrap();
    let write_timeout = Duration::from_secs(20);
    Stdout { out: Some(out), write_timeout, ..Stdout::new(StdoutFormat::Ndjson) }
}

/// Makes one attempt, with two blocks.
fn attempt(sink: &mut Stdout, sequence: u64, records: &[u8]) -> Result<(), SinkError> {
    sink.begin(&batch(sequence))?;
    for half in records.chunks(records.len().div_ceil(2)) {
        sink.write(&Block { bytes: half.to_vec(), ..Block::default() })?;
    }
    sink.finish()
}

/// Reads in small steps, so that the pipe is nearly always full.
fn read_slowly(mut pipe: PipeReader) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), [0; 1000]);
    while let count @ 1.. = pipe.read(&mut chunk).unwrap() {
        all.extend(&chunk[..count]);
        thread::yield_now();
    }
    all
}

#[test]
fn a_slow_reader_gets_each_record_once_whether_or_not_the_pipe_blocks() {
    for flags in [OFlags::empty(), OFlags::NONBLOCK] {
        for length in [100, 5000] {
            let records = lines(500_000 / length as u64, length);
            let (reader, writer) = pipe().unwrap();
            fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | flags).unwrap();
            let reader = thread::spawn(move || read_slowly(reader));
            let mut sink = sink(writer);
            attempt(&mut sink, 1, &records).unwrap();
            drop(sink);
            assert!(reader.join().unwrap() == records, "{flags:?}, records of {length}");
        }
    }
}

#[test]
fn a_reader_that_stops_fails_the_attempt_and_gets_the_rest_when_it_continues() {
    for flags in [OFlags::empty(), OFlags::NONBLOCK] {
        let records = lines(5000, 100);
        let (reader, writer) = pipe().unwrap();
        fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | flags).unwrap();
        let mut sink = Stdout { write_timeout: Duration::from_millis(20), ..sink(writer) };
        for _ in 0..3 {
            let error = attempt(&mut sink, 1, &records).unwrap_err();
            assert!(error.to_string().starts_with("standard output accepts no data"), "{error}");
        }
        sink.write_timeout = Duration::from_secs(20);
        let reader = thread::spawn(move || read_slowly(reader));
        attempt(&mut sink, 1, &records).unwrap();
        attempt(&mut sink, 2, b"{}\n").unwrap();
        // After a return to a checkpoint, the whole batch is written again.
        attempt(&mut sink, 2, b"{}\n").unwrap();
        drop(sink);
        assert!(reader.join().unwrap() == [&records[..], b"{}\n{}\n"].concat(), "{flags:?}");
    }
}

#[test]
fn writes_to_a_pipe_end_with_a_line_if_possible() {
    let (mut reader, writer) = pipe().unwrap();
    let records = lines(100, 100);
    let mut output = Output::open(OwnedFd::from(writer).as_fd()).unwrap();
    let count = output.write(&records, WRITE_TIMEOUT).unwrap();
    assert!((PIPE_BYTES - 110..=PIPE_BYTES).contains(&count), "{count}");
    let mut chunk = vec![0; count];
    reader.read_exact(&mut chunk).unwrap();
    assert!(chunk.ends_with(b"}\n"));
}

#[test]
fn an_output_that_is_closed_or_read_only_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "").unwrap();
    let (reader, _writer) = pipe().unwrap();
    let is_bad = |out: OwnedFd| {
        let error = Output::open(out.as_fd()).map(drop).map_err(failed).unwrap_err();
        assert!(error.to_string().starts_with("standard output is closed or not"), "{error}");
    };
    is_bad(File::open(&path).unwrap().into());
    is_bad(reader.into());
    let null = |options: &mut OpenOptions| options.write(true).open("/dev/null").unwrap();
    is_bad(null(OpenOptions::new().read(true)).into());
    attempt(&mut sink(null(&mut OpenOptions::new())), 1, b"{}\n").unwrap();
}
