//! A run: sends batches while the target fails and the daemon is killed.

use std::{
    collections::VecDeque,
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    Repeat, SINK, Size, Target,
    batches::{Batch, batches},
    check,
};
use crate::support::{
    Daemon, Exit, Http, Random, Setup, Upload,
    fault_proxy::{Fault, FaultProxy, Faults},
    finish, logpushd, names_in,
};

/// The longest time in which nothing is delivered although the target works.
const STANDSTILL: Duration = Duration::from_secs(90);

/// Delivers to the target, and checks that it gets everything.
pub(crate) fn run<T: Target>(target: T) {
    let size = Size::of_environment();
    let _repeat = Repeat(size);
    let mut random = Random::new(size.seed);
    let proxy = FaultProxy::start(target.address(), random.next());
    let batches = batches(&target, size, &mut random);
    let mut run = Run { target, proxy, size, random, batches, sent: Vec::new() };
    let begin = Instant::now();

    let setup = run.setup();
    let setup = run.kills(setup);
    let daemon = run.faults(setup);
    run.proxy.inject(Faults::default());
    let repeated = check::target(&mut run.target, &run.sent, false);
    let setup = daemon.stop().exited_cleanly().setup;
    check::archive(&setup, &run.sent);
    let refused = check::quarantine(&setup, &run.sent);
    if refused > 0 && run.target.accept_refused() {
        run.replay(setup);
    }

    let records: usize = run.sent.iter().map(|batch| batch.records.len()).sum();
    eprintln!(
        "target_faults::{}: {} kills in {} s: {} batches with {records} records; lost 0, repeated {repeated}, in quarantine {refused}; requests: {:?}",
        T::KIND,
        size.kills,
        begin.elapsed().as_secs(),
        run.sent.len(),
        run.proxy.counts(),
    );
    if size.is_long {
        for fault in Fault::ALL {
            assert!(run.proxy.counts().contains_key(&fault), "{fault:?} never happened");
        }
    }
}

struct Run<T> {
    target: T,
    proxy: FaultProxy,
    size: Size,
    random: Random,
    /// Those that are still to be sent.
    batches: VecDeque<Batch>,
    /// Those that were answered.
    sent: Vec<Batch>,
}

impl<T: Target> Run<T> {
    fn setup(&self) -> Setup {
        // A batch without an answer is sent again.
        let setup = Setup::new().table("spool", "dir = \"spool\"");
        self.target.write_files(&setup);
        setup
    }

    /// Starts a daemon whose requests time out after that many seconds.
    fn start(&self, setup: Setup, timeout: u64) -> Daemon {
        let keys = self.target.keys(self.proxy.address);
        let common = format!(
            "timeout = \"{timeout}s\"\nbatch = {{ max_bytes = \"64KiB\", max_records = 200 }}"
        );
        setup.table(&format!("sink.{SINK}.{}", T::KIND), &format!("{keys}\n{common}")).start()
    }

    /// The faults of requests, with answers that take `delay`.
    fn inject(&self, percent: u64, delay: Duration) {
        self.proxy.inject(Faults {
            percent,
            delay,
            retry_after: 1,
            max_body_bytes: Some(self.target.max_body_bytes()),
            bodies: [413, 429, 503].map(|status| (status, self.target.body(status))).into(),
        });
    }

    /// Sends batches while the daemon is killed repeatedly, and the target sometimes.
    fn kills(&mut self, mut setup: Setup) -> Setup {
        self.inject(25, Duration::from_millis(300));
        for kill in 0..self.size.kills {
            let left = self.size.kills - kill;
            // A third of the batches is for later.
            let share = self.batches.len() * 2 / 3 / usize::try_from(left).unwrap();
            let window = [100, 500, 1500][usize::try_from(self.random.below(3)).unwrap()];
            let after = Duration::from_millis(self.random.below(window));
            let daemon = self.start(setup, 1);
            let fails = kill % 4 == 1;
            let outage = fails.then(|| [(); 2].map(|()| self.random.below(400)));
            let Self { target, proxy, batches, sent, .. } = self;
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(after);
                    daemon.signal(Signal::KILL);
                });
                if let Some([begin, length]) = outage {
                    scope.spawn(move || {
                        thread::sleep(Duration::from_millis(begin));
                        proxy.disconnect();
                        target.kill();
                        thread::sleep(Duration::from_millis(length));
                        target.start();
                        proxy.reconnect(target.address());
                    });
                }
                send(&daemon, batches, sent, share);
            });
            setup = daemon.end().killed().setup;
        }
        setup
    }

    /// Sends the rest while requests fail and the target restarts, without kills, until all is
    /// delivered.
    fn faults(&mut self, setup: Setup) -> Daemon {
        let (percent, delay, timeout) =
            if self.size.is_long { (25, 10_000, 12) } else { (15, 600, 1) };
        self.inject(percent, Duration::from_millis(delay));
        let daemon = self.start(setup, timeout);
        for count in [self.batches.len() / 2, usize::MAX] {
            let is_up = send(&daemon, &mut self.batches, &mut self.sent, count);
            assert!(is_up, "the daemon does not answer");
            self.proxy.disconnect();
            self.target.kill();
            self.target.start();
            self.proxy.reconnect(self.target.address());
        }
        wait_delivered(&daemon);
        daemon
    }

    /// Replays the quarantine to this sink, which is then the only one to get it.
    fn replay(&mut self, setup: Setup) {
        let daemon = self.start(setup, 10);
        let text = fs::read_to_string(daemon.setup().config()).unwrap();
        let real = format!("[server]\naddress = \"{}\"", daemon.address);
        let text = text.replace("[server]\naddress = \"127.0.0.1:0\"", &real);
        daemon.setup().write("replay.toml", text);
        let config = daemon.path("replay.toml");
        let mut command = logpushd();
        command.args(["quarantine", "replay", "--sink", SINK, "-c"]).arg(config);
        let replayed = finish(&mut command);
        assert_eq!(replayed.exit, Exit::Code(0), "{}{}", replayed.stdout, replayed.stderr);
        wait_delivered(&daemon);
        check::target(&mut self.target, &self.sent, true);
        let setup = daemon.stop().exited_cleanly().setup;
        check::archive(&setup, &self.sent);
    }
}

/// Sends up to `count` batches, each until it is answered. Returns whether the daemon still answers.
fn send(
    daemon: &Daemon,
    batches: &mut VecDeque<Batch>,
    sent: &mut Vec<Batch>,
    count: usize,
) -> bool {
    let Ok(connection) = daemon.try_connect(Http::Two) else { return false };
    for _ in 0..count.min(batches.len()) {
        let batch = &batches[0];
        loop {
            let upload = Upload::of(batch.body()).gzipped();
            match connection.try_send(upload.to(&format!("/logpush/{}", batch.dataset))) {
                Ok(answer) if answer.status == 200 => {
                    // A record that the daemon itself rejects is a fault of the test.
                    assert_eq!(answer.ok().2, 0, "{}", answer.text);
                    break;
                }
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                Err(_) => return false,
            }
        }
        sent.extend(batches.pop_front());
    }
    true
}

/// Waits until every sink has every batch, as long as there is progress.
fn wait_delivered(daemon: &Daemon) {
    let batches = daemon.path("spool/batches");
    let (mut last, mut since) = (usize::MAX, Instant::now());
    loop {
        let count = names_in(&batches).len();
        if count == 0 {
            break;
        }
        if count < last {
            (last, since) = (count, Instant::now());
        }
        assert!(since.elapsed() < STANDSTILL, "{count} batches are not delivered");
        thread::sleep(Duration::from_millis(20));
    }
}
