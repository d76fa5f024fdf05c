//! Measures whether a target that is down or hangs slows down answers and other sinks.
//!
//!     cargo bench --bench dead_target
//!     cargo bench --bench dead_target -- --runs 5
//!
//! Each run starts a daemon with a file sink and the `http` sink `healthy`, whose target in this
//! process accepts and counts everything. The second `http` sink is missing, delivers to the same
//! kind of target, or to one that is down, hangs, or answers 503. A client sends the same batches
//! over 4 connections, as fast as they are answered. Latency is the time of one POST from its first
//! byte to its 200. "healthy" ends when the target of the healthy sink has the last byte. The
//! variants take turns, so that the load of the machine affects all of them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for a terminal")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use std::{
    convert::Infallible,
    env,
    error::Error,
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use support::{
    client::{Client, Protocol},
    corpus::Shape,
    daemon::Daemon,
    load::{Load, Plan},
    process,
};
use tokio::{net::TcpListener, runtime::Runtime};

const PLAN: Plan = Plan { batches: 3000, records: 50, shape: Shape::Large, datasets: 1 };
const CONNECTIONS: usize = 4;

/// The target of the second sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Second {
    None,
    Healthy,
    Down,
    Hangs,
    Busy,
}

const SECONDS: [(Second, &str); 5] = [
    (Second::None, "no second sink"),
    (Second::Healthy, "accepts"),
    (Second::Down, "is down"),
    (Second::Hangs, "hangs"),
    (Second::Busy, "answers 503"),
];

/// What one run measured.
struct Figures {
    latencies: Vec<Duration>,
    sent: Duration,
    delivered: Duration,
    cpu: Duration,
    memory: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (mut is_bench, mut runs) = (false, 3);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => is_bench = true,
            "--runs" => runs = arguments.next().ok_or("--runs needs a number")?.parse()?,
            other => eprintln!("{other} is ignored"),
        }
    }
    if !is_bench {
        println!("no load without --bench: run `cargo bench --bench dead_target`");
        return Ok(());
    }
    let load = Arc::new(Load::new(PLAN, 42)?);
    let mut figures: Vec<Vec<Figures>> = SECONDS.iter().map(|_| Vec::new()).collect();
    for _ in 0..runs {
        for ((second, _), figures) in SECONDS.iter().zip(&mut figures) {
            figures.push(run(*second, &load)?);
        }
    }
    println!(
        "{} batches of {} records over {CONNECTIONS} connections, {runs} runs each",
        PLAN.batches, PLAN.records
    );
    println!("second sink      200 p50   200 p99   200 max   acks/s   healthy    cpu     memory");
    for ((_, name), runs) in SECONDS.iter().zip(&figures) {
        print(name, runs);
    }
    Ok(())
}

fn print(name: &str, runs: &[Figures]) {
    let mut latencies: Vec<_> = runs.iter().flat_map(|run| run.latencies.clone()).collect();
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1e3;
    let count = f64::from(u32::try_from(runs.len()).unwrap());
    let mean = |of: &dyn Fn(&Figures) -> Duration| {
        runs.iter().map(of).sum::<Duration>().as_secs_f64() / count
    };
    let acks = f64::from(u32::try_from(PLAN.batches).unwrap()) / mean(&|run| run.sent);
    println!(
        "{name:<15}{:>7.2} ms{:>7.2} ms{:>7.1} ms{acks:>9.0}{:>8.2} s{:>7.2} s{:>8} MB",
        at(50),
        at(99),
        at(100),
        mean(&|run| run.delivered),
        mean(&|run| run.cpu),
        runs.iter().map(|run| run.memory).max().unwrap_or(0) / 1_000_000,
    );
}

fn run(second: Second, load: &Arc<Load>) -> Result<Figures, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let received = Arc::new(AtomicU64::new(0));
    let healthy = serve(&runtime, Second::Healthy, &received)?;
    let (down, closed) = closed()?;
    let other = match second {
        Second::None => None,
        Second::Down => Some(closed),
        second => Some(serve(&runtime, second, &Arc::default())?),
    };
    let sink = |name: &str, address: SocketAddr| {
        format!("sink.{name}.http = {{ url = \"http://{address}/\", compression = \"none\" }}\n")
    };
    let other = other.map(|address| sink("second", address)).unwrap_or_default();
    let file = "sink.out.file.path = \"out/{dataset}.ndjson\"\n";
    let sinks = [file, &sink("healthy", healthy), &other].concat();

    let daemon = Daemon::start(&directory.path().join("daemon"), &sinks, &[" ERROR "])?;
    let client = Client::new(daemon.address, &daemon.cert_file(), Protocol::Http2);
    let client = client.map_err(|error| error.to_string())?;
    let cpu = process::cpu(daemon.pid())?;
    let begun = Instant::now();
    let sent = runtime.block_on(client.send(Arc::clone(load), CONNECTIONS));
    let latencies = sent.map_err(|error| error.to_string())?;
    let sent = begun.elapsed();
    while received.load(Ordering::Relaxed) < load.raw_bytes() {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err("the healthy sink does not deliver".into());
        }
        thread::sleep(Duration::from_millis(2));
    }
    let delivered = begun.elapsed();
    let cpu = process::cpu(daemon.pid())?.saturating_sub(cpu);
    let memory = process::peak_memory(daemon.pid())?;
    drop((daemon, down));
    Ok(Figures { latencies, sent, delivered, cpu, memory })
}

/// An address that refuses connections while the socket is open.
fn closed() -> Result<(OwnedFd, SocketAddr), Box<dyn Error>> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = getsockname(&socket)?.try_into()?;
    Ok((socket, address))
}

/// Starts a target, which adds the length of each body to `received`.
fn serve(
    runtime: &Runtime,
    behavior: Second,
    received: &Arc<AtomicU64>,
) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let received = Arc::clone(received);
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let received = Arc::clone(&received);
            tokio::spawn(async move {
                let service =
                    service_fn(move |request| answer(request, behavior, received.clone()));
                // The daemon may have ended.
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok()
            });
        }
    });
    Ok(address)
}

async fn answer(
    request: Request<Incoming>,
    behavior: Second,
    received: Arc<AtomicU64>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        received.fetch_add(frame.data_ref().map_or(0, Bytes::len) as u64, Ordering::Relaxed);
    }
    if behavior == Second::Hangs {
        pending::<()>().await;
    }
    let mut response = Response::new(Empty::new());
    if behavior == Second::Busy {
        *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}
