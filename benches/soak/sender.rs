//! A sender that makes all kinds of requests, one after another, with pauses.

use std::{
    error::Error,
    fmt::Write as _,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::body::Bytes;

use super::{
    ledger::Ledger,
    support::{
        client::{Answer, Client, Connection},
        corpus::{Corpus, Random, Shape, gzip},
        daemon::{SECRET, dataset},
    },
};

type Failure = Box<dyn Error + Send + Sync>;

/// The longest pause between two requests of a sender. The pauses keep the load constant and leave
/// capacity for other programs.
const PAUSE_MS: u64 = 400;

/// The number of requests before a sender opens a new connection.
const REQUESTS_A_CONNECTION: u64 = 50;

pub(super) struct Sender {
    client: Client,
    ledger: Arc<Ledger>,
    random: Random,
    /// Lines of records for batches.
    large: Vec<Vec<u8>>,
    small: Vec<Vec<u8>>,
    next_batch: u64,
}

/// A batch that can be sent again.
struct BatchUpload {
    path: String,
    wire: Bytes,
}

impl Sender {
    pub(super) fn new(number: u64, client: Client, ledger: Arc<Ledger>) -> Self {
        let lines = |shape| {
            let lines = Corpus::new(number, shape).lines(5000).unwrap();
            lines.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
        };
        Self {
            client,
            ledger,
            random: Random::new(number),
            large: lines(Shape::Large),
            small: lines(Shape::Small),
            next_batch: number << 40,
        }
    }

    pub(super) fn run(mut self, stop: &AtomicBool) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            while !stop.load(Ordering::Relaxed) {
                let mut connection = self.client.connect().await?;
                for _ in 0..REQUESTS_A_CONNECTION {
                    self.one(&mut connection).await?;
                    let pause = Duration::from_millis(self.random.below(PAUSE_MS));
                    tokio::time::sleep(pause).await;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    async fn one(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        match self.random.below(1000) {
            0..30 => self.other(connection, "destination check", CHECK, SECRET, 200).await,
            30..60 => self.other(connection, "wrong secret", CHECK, "wrong", 401).await,
            60..90 => {
                // It is stored in the quarantine, so the answer is 200.
                let mut wire = self.batch(20, Damage::None)?.wire.to_vec();
                wire.truncate(wire.len() / 2);
                self.other(connection, "damaged", &wire, SECRET, 200).await
            }
            90..110 => self.hang_up().await,
            110..115 => self.post(connection, 40_000, Damage::None).await,
            115..200 => {
                let records = self.random.below(200) + 1;
                self.post(connection, records, Damage::Lines).await
            }
            200..600 => {
                let records = self.random.below(20) + 1;
                self.post(connection, records, Damage::None).await
            }
            _ => {
                let records = self.random.below(5000) + 1;
                self.post(connection, records, Damage::None).await
            }
        }
    }

    /// Posts a batch, and one in ten batches twice.
    async fn post(
        &mut self,
        connection: &mut Connection,
        records: u64,
        damage: Damage,
    ) -> Result<(), Failure> {
        let upload = self.batch(records, damage)?;
        self.ledger.sending(self.next_batch, records);
        let request = self.client.request(&upload.path, upload.wire.clone(), SECRET)?;
        connection.send(request).await?.expect(200, "\"committed\"")?;
        self.ledger.answered(records, upload.wire.len());
        if self.random.below(10) == 0 {
            let request = self.client.request(&upload.path, upload.wire, SECRET)?;
            connection.send(request).await?.expect(200, "\"duplicate\"")?;
            self.ledger.other();
        }
        Ok(())
    }

    async fn other(
        &mut self,
        connection: &mut Connection,
        what: &str,
        wire: &[u8],
        secret: &str,
        status: u16,
    ) -> Result<(), Failure> {
        let request = self.client.request("/logpush/dataset_0", wire.to_vec().into(), secret)?;
        let answer: Answer = connection.send(request).await?;
        answer.expect(status, "").map_err(|error| format!("{what}: {error}"))?;
        self.ledger.other();
        Ok(())
    }

    /// Begins a request on a new connection, and disconnects in the middle of the body.
    async fn hang_up(&mut self) -> Result<(), Failure> {
        self.client.hang_up("/logpush/dataset_0").await?;
        self.ledger.other();
        Ok(())
    }

    /// Creates the next batch. Each record begins with the number of the batch and its own.
    fn batch(&mut self, records: u64, damage: Damage) -> io::Result<BatchUpload> {
        self.next_batch += 1;
        let batch = self.next_batch;
        let pool = if self.random.below(2) == 0 { &self.large } else { &self.small };
        let mut lines = Vec::new();
        let mut head = String::new();
        for record in 0..records {
            if damage == Damage::Lines && record % 10 == 3 {
                lines.extend_from_slice(b"{\"no\":\n");
            }
            head.clear();
            write!(head, "{{\"batch\":{batch},\"record\":{record},").ok();
            lines.extend_from_slice(head.as_bytes());
            let line = &pool[usize::try_from(self.random.below(pool.len() as u64)).unwrap()];
            lines.extend_from_slice(&line[1..]);
        }
        let index = usize::try_from(batch % 10).unwrap();
        Ok(BatchUpload { path: format!("/logpush/{}", dataset(index)), wire: gzip(&lines)?.into() })
    }
}

/// The damage of a batch.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Damage {
    None,
    /// Some lines are not records.
    Lines,
}

const CHECK: &[u8] = b"{\"content\":\"test\"}";
