//! The uploader with real sockets, threads and timeouts.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::Duration,
};

use records::decode::Block;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        super::{
            DeadLetters, Readiness, Sink as _, SinkContext, SinkCounters, SinkError, SinkWaker,
            State,
        },
        Chunk, Limits, Target, UploadOptions, Uploader, Verdict,
    },
    batch,
    recorded_metrics::RecordedMetrics,
};

const BATCHES: u64 = 4;
const RECORDS: usize = 1000;

/// Sends each chunk as lines over its own connection, and expects a line.
struct Lines(SocketAddr);

impl Target for Lines {
    type Request = Vec<u8>;

    fn encode(&self, chunk: &Chunk) -> Vec<u8> {
        let mut request = format!("{} {}\n", chunk.id(), chunk.records()).into_bytes();
        request.extend_from_slice(chunk.bytes());
        request
    }

    async fn send(&self, request: Vec<u8>) -> Verdict {
        match exchange(self.0, &request).await {
            Ok(answer) if answer == "taken\n" => Verdict::Delivered,
            Ok(answer) => Verdict::Retry { after: None, why: format!("answered {answer:?}") },
            Err(error) => Verdict::Retry { after: None, why: error.to_string() },
        }
    }
}

async fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<String> {
    let mut connection = tokio::net::TcpStream::connect(address).await?;
    connection.write_all(request).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A server that accepts all requests, and answers all except the first (its answer is lost) and
/// the third (it hangs). Returns the identity and the records of each request.
fn serve(listener: TcpListener) -> Receiver<(String, Vec<String>)> {
    let (sender, receiver) = sync_channel(1000);
    thread::spawn(move || {
        let mut hung = Vec::new();
        for number in 0.. {
            let (connection, _) = listener.accept().unwrap();
            let (id, records) = request(&connection);
            if sender.send((id, records)).is_err() {
                return;
            }
            match number {
                0 => drop(connection),
                2 => hung.push(connection),
                // The client may have timed out.
                _ => drop((&connection).write_all(b"taken\n")),
            }
        }
    });
    receiver
}

fn request(connection: &TcpStream) -> (String, Vec<String>) {
    let mut lines = BufReader::new(connection).lines().map(|line| line.unwrap());
    let head = lines.next().unwrap();
    let (id, count) = head.split_once(' ').unwrap();
    (id.to_owned(), lines.take(count.parse().unwrap()).collect())
}

fn ready(mut ask: impl FnMut() -> Result<Readiness, SinkError>) -> Result<(), SinkError> {
    while ask()? == Readiness::CheckpointFirst {}
    Ok(())
}

fn attempt(uploader: &mut Uploader<Lines>, sequence: u64) -> Result<(), SinkError> {
    ready(|| uploader.begin(&batch(sequence)))?;
    for first in (0..RECORDS).step_by(100) {
        let lines = (first..first + 100).map(|at| format!("{sequence} {at}\n"));
        let bytes = lines.collect::<String>().into_bytes();
        let block = Block { bytes, records: 100, rejects: Vec::new() };
        ready(|| uploader.prepare_block(&block))?;
        uploader.write(&block)?;
    }
    uploader.finish()
}

#[test]
fn lost_answers_and_timeouts_lose_no_record() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let received = serve(listener);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (wake, woken) = sync_channel(1);
    let context = SinkContext {
        name: "lines".to_owned(),
        directory: std::path::PathBuf::new(),
        state: State::default(),
        selection: String::new(),
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
        waker: SinkWaker::new(move || {
            wake.try_send(()).ok();
        }),
        counters: SinkCounters::default(),
        metrics: Arc::new(RecordedMetrics::default()),
        dead_letters: DeadLetters::default(),
    };
    let options = UploadOptions {
        limits: Limits { max_bytes: 1000, max_records: 150 },
        in_flight: 3,
        timeout: Duration::from_millis(500),
    };
    let mut uploader = Uploader::new(Lines(address), &options, context);
    let mut failures = Vec::new();
    for sequence in 1..=BATCHES {
        while let Err(error) = attempt(&mut uploader, sequence) {
            failures.push(error.to_string());
        }
    }
    while !uploader.is_idle() {
        if uploader.due().is_none() {
            woken.recv_timeout(Duration::from_secs(60)).expect("an answer wakes the thread");
        }
        failures.extend(ready(|| uploader.maintain()).err().map(|error| error.to_string()));
    }
    uploader.close().unwrap();
    uploader.sync().unwrap();
    assert_eq!(uploader.in_doubt(), None);
    assert!(failures.contains(&"no answer within 500 ms".to_owned()), "{failures:?}");
    assert!(failures.contains(&"answered \"\"".to_owned()), "{failures:?}");

    let mut contents: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut requests = 0;
    for (id, records) in received.try_iter() {
        requests += 1;
        let known = contents.entry(id).or_insert_with(|| records.clone());
        assert_eq!(*known, records);
    }
    assert_eq!(requests, contents.len() + 2, "only requests without an answer were sent twice");
    let mut taken: Vec<_> = contents.into_values().flatten().collect();
    let every = |sequence| (0..RECORDS).map(move |at| format!("{sequence} {at}"));
    let mut all: Vec<_> = (1..=BATCHES).flat_map(every).collect();
    taken.sort_unstable();
    all.sort_unstable();
    assert_eq!(taken, all);
}
