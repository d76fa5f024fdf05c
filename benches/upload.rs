//! Measures the uploader without encoding and network: splitting, copying and bookkeeping, in bytes
//! of records.
//!
//!     cargo bench --bench upload
//!
//! The target accepts every request at once and discards it.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{future::Future, hint::black_box, path::PathBuf, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use logpushd::{
    decode::{Block, Edition, Encoding, Format},
    metrics::{Metrics, Names},
    sink::{
        DeadLetters, Readiness, Sink as _, SinkContext, SinkCounters, SinkWaker, State,
        upload::{Chunk, Limits, Target, UploadOptions, Uploader, Verdict},
    },
    spool::{Batch, Header, Origin},
};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

const BLOCK_BYTES: usize = 256 * 1024;

/// Accepts and discards everything.
struct NullTarget;

impl Target for NullTarget {
    type Request = usize;

    fn encode(&self, chunk: &Chunk) -> usize {
        chunk.bytes().len()
    }

    fn send(&self, request: usize) -> impl Future<Output = Verdict> + Send {
        black_box(request);
        std::future::ready(Verdict::Delivered)
    }
}

fn batch() -> Batch {
    let header = Header {
        origin: Origin {
            endpoint: "push".to_owned(),
            dataset: "http_requests".to_owned(),
            received: Timestamp::UNIX_EPOCH,
            sink: None,
        },
        records: 0,
        rejected: 0,
        record_limit: 1 << 20,
        digest: 7,
        encoding: Encoding::Identity,
        format: Format::default(),
        edition: Edition::First,
    };
    Batch { sequence: 1, header }
}

/// Divides lines into blocks like the decoder: as many records as fit.
fn blocks(lines: &[u8]) -> Vec<Block> {
    let mut blocks = vec![Block::default()];
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if blocks.last().is_some_and(|block| block.bytes.len() + line.len() > BLOCK_BYTES) {
            blocks.push(Block::default());
        }
        let block = blocks.last_mut().unwrap();
        block.bytes.extend_from_slice(line);
        block.records += 1;
    }
    blocks
}

fn context(runtime: &Runtime) -> SinkContext {
    SinkContext {
        name: "bench".to_owned(),
        directory: PathBuf::new(),
        state: State::default(),
        selection: String::new(),
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
        waker: SinkWaker::new(|| {}),
        counters: SinkCounters::default(),
        metrics: Metrics::new(&Names::default()).sink("bench"),
        dead_letters: DeadLetters::default(),
    }
}

fn deliver(runtime: &Runtime, limits: Limits, blocks: &[Block]) {
    let options = UploadOptions { limits, in_flight: 4, timeout: Duration::from_secs(60) };
    let mut uploader = Uploader::new(NullTarget, &options, context(runtime));
    while uploader.begin(&batch()).unwrap() == Readiness::CheckpointFirst {}
    for block in blocks {
        while uploader.prepare_block(block).unwrap() == Readiness::CheckpointFirst {}
        uploader.write(block).unwrap();
    }
    uploader.finish().unwrap();
    uploader.close().unwrap();
    black_box(uploader.sync().unwrap());
    assert_eq!(uploader.in_doubt(), None);
}

fn bench(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let line = |at| format!("{{\"RayID\":\"{at:016x}\",\"Fields\":\"{}\"}}\n", "x".repeat(480));
    let lines: String = (0..50_000).map(line).collect();
    let blocks = blocks(lines.as_bytes());
    let mut group = criterion.benchmark_group("upload");
    group.throughput(Throughput::Bytes(lines.len() as u64));
    for (name, max_bytes, max_records) in
        [("8MiB", 8 << 20, 50_000), ("1MiB", 1 << 20, 100_000), ("100 records", 8 << 20, 100)]
    {
        let limits = Limits { max_bytes, max_records };
        group.bench_function(format!("deliver/{name}"), |bencher| {
            bencher.iter(|| deliver(&runtime, limits, &blocks));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
