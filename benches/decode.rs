//! Measures the throughput of decoding a body, in inflated bytes, and of its steps.
//!
//!     cargo bench --bench decode
//!
//! `decode/…` includes all steps before a commit: inflate, hash, split, validate each record. `part/…`
//! is one of these steps alone, on the same bytes. The quotient of the throughputs is the share of
//! the step. Bodies are decoded in chunks of 16 KiB, about the size of a TLS record.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]
#![expect(clippy::print_stderr, reason = "prints what it measures")]

#[path = "support/body.rs"]
mod body;
#[path = "support/corpus.rs"]
mod corpus;

use std::hint::black_box;

use body::{LIMITS, inflate};
use corpus::{Corpus, Shape};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement,
};
use logpushd::decode::{Decoder, Encoding};
use serde::de::IgnoredAny;

const SEED: u64 = 42;

type Group<'c> = BenchmarkGroup<'c, measurement::WallTime>;

fn check_json(lines: &[u8]) -> usize {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', lines);
    let good = ends.filter(|end| {
        let line = &lines[std::mem::replace(&mut start, end + 1)..*end];
        serde_json::from_slice::<IgnoredAny>(line).is_ok()
    });
    good.count()
}

fn whole(group: &mut Group<'_>, name: &str, wire: &[u8], records: u64) {
    let decode = || body::decode(Decoder::new(LIMITS, Encoding::Identity), wire);
    assert_eq!(decode().records, records, "{name}");
    group.bench_function(format!("decode/{name}"), |bencher| bencher.iter(decode));
}

fn shape(criterion: &mut Criterion, name: &str, shape: Shape, records: u32) {
    let lines = Corpus::new(SEED, shape).lines(records as usize).unwrap();
    let zipped = corpus::gzip(&lines).unwrap();
    let bytes = u32::try_from(lines.len()).unwrap();
    let ratio = f64::from(bytes) / f64::from(u32::try_from(zipped.len()).unwrap());
    eprintln!("{name}: {records} records of {} bytes, gzip {ratio:.1}:1", bytes / records);

    let text = std::str::from_utf8(&lines).unwrap();
    let array = body::array(&lines);
    let crlf = text.replace('\n', "\r\n");
    let records = u64::from(records);

    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(u64::from(bytes)));
    whole(&mut group, "gzip lines", &zipped, records);
    whole(&mut group, "lines", &lines, records);
    whole(&mut group, "array", array.as_bytes(), records);
    whole(&mut group, "crlf lines", crlf.as_bytes(), records);

    assert_eq!(inflate(&zipped), u64::from(bytes));
    assert_eq!(check_json(&lines) as u64, records);
    group.bench_function("part/inflate", |b| b.iter(|| inflate(&zipped)));
    group.bench_function("part/serde_json", |b| b.iter(|| check_json(&lines)));
    group
        .bench_function("part/utf8", |b| b.iter(|| std::str::from_utf8(black_box(&lines)).is_ok()));
    group.bench_function("part/blake3", |b| b.iter(|| blake3::hash(&lines)));
    group.bench_function("part/newlines", |b| {
        b.iter(|| memchr::memchr_iter(b'\n', black_box(&lines)).count());
    });
    group.finish();
}

fn benches(criterion: &mut Criterion) {
    shape(criterion, "large records", Shape::Large, 5000);
    shape(criterion, "small records", Shape::Small, 20_000);
}

criterion_group!(all, benches);
criterion_main!(all);
