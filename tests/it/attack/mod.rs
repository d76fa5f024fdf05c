//! Attacks by clients without a secret: they cost little memory for a short time, and a sender with the
//! right secret is answered meanwhile.
//!
//! With figures, against a release build:
//!
//!     cargo build --release --locked
//!     LOGPUSHD_ATTACK_PROGRAM=target/release/logpushd LOGPUSHD_ATTACK_SECONDS=10 \
//!         cargo test --locked --test it attack:: -- --test-threads 1 --nocapture

mod enemy;
mod frames;
mod watch;

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use self::{
    enemy::Enemy,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, frame, head, hello,
        indexed,
    },
    watch::Watch,
};
use crate::support::{DEADLINE, Setup};

const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PATH: &str = "/logpush/http_requests";

/// Time for the server to look at what it has read.
const MOMENT: Duration = Duration::from_millis(15);

fn h2(watch: &Watch, from: Ipv4Addr, window: u32) -> Option<Enemy> {
    let trust = watch.daemon.trust();
    let mut enemy = Enemy::tls(watch.daemon.address, from, &trust, b"h2").ok()?;
    enemy.send(&hello(window), DEADLINE).then_some(enemy)
}

fn h1(watch: &Watch, from: Ipv4Addr) -> Option<Enemy> {
    Enemy::tls(watch.daemon.address, from, &watch.daemon.trust(), b"http/1.1").ok()
}

/// Opens as many connections as the daemon takes, up to `most` in all, for as long as the attack goes
/// on. `open` makes one and says what it has to.
fn crowd(watch: &Watch, most: usize, open: impl Fn(usize) -> Option<Enemy>) -> Vec<Enemy> {
    let mut held: Vec<Enemy> = Vec::new();
    let mut number = 0;
    while watch.goes_on() {
        held.retain(Enemy::is_open);
        if held.len() < most {
            held.extend(open(number));
            number += 1;
        } else {
            thread::sleep(MOMENT);
        }
        if number.is_multiple_of(16) || held.len() >= most {
            held.iter_mut().for_each(Enemy::listen);
        }
    }
    held
}

/// An address of its own for each `count` connections.
fn spread(number: usize, count: usize) -> Ipv4Addr {
    let host = u8::try_from(number / count % 200).unwrap();
    Ipv4Addr::new(127, 0, 1, host + 1)
}

/// Opens streams with a wrong secret and many fields, waits until they are accepted, resets them.
fn resets(streams: u32) -> impl Fn(&Watch) -> Vec<Enemy> + Sync {
    let block = [head(PATH, "guess"), indexed(450)].concat();
    move |watch| {
        let mut held = Vec::new();
        while watch.goes_on() {
            let Some(mut enemy) = h2(watch, HOME, 65_535) else { continue };
            let mut stream = 1;
            while watch.goes_on() && enemy.is_open() {
                let all = || (0..streams).map(|number| stream + 2 * number);
                let open = |stream| frame(HEADERS, END_HEADERS, stream, &block);
                let opened: Vec<u8> = all().flat_map(open).collect();
                enemy.send(&opened, DEADLINE);
                enemy.ping();
                thread::sleep(MOMENT);
                let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                let reset: Vec<u8> = all().flat_map(reset).collect();
                enemy.send(&reset, DEADLINE);
                stream += 2 * streams;
            }
            held = vec![enemy];
        }
        held
    }
}

#[test]
fn streams_that_are_reset_after_they_were_accepted() {
    Watch::start("reset of 100 accepted streams", Setup::new()).bears(resets(100), 4);
}

#[test]
fn few_streams_at_a_time_that_are_reset_after_they_were_accepted() {
    Watch::start("reset of 12 accepted streams", Setup::new()).bears(resets(12), 4);
}

#[test]
fn bodies_with_a_wrong_secret() {
    let attack = |watch: &Watch| {
        let piece = [0; 256];
        let data: Vec<u8> =
            (0..1024).flat_map(|n| frame(DATA, 0, 1 + 2 * (n % 8), &piece)).collect();
        crowd(watch, 48, |_| {
            let mut enemy = h2(watch, HOME, 65_535)?;
            for stream in 0..8 {
                let head = head(PATH, "guess");
                enemy.send(&frame(HEADERS, END_HEADERS, 1 + 2 * stream, &head), DEADLINE);
            }
            for _ in 0..16 {
                enemy.send(&data, MOMENT);
            }
            Some(enemy)
        })
    };
    Watch::start("held bodies", Setup::new()).bears(attack, 2);
}

#[test]
fn answers_that_are_never_taken() {
    let attack = |watch: &Watch| {
        crowd(watch, 300, |number| {
            let from = spread(number, 100);
            if number.is_multiple_of(8) {
                // A head after the other, and no answer is read.
                let mut enemy = h1(watch, from)?.deaf();
                let requests = b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50_000);
                enemy.send(&requests, Duration::from_millis(200));
                return Some(enemy);
            }
            let mut enemy = h2(watch, from, 0)?;
            for stream in 0..10 {
                let head = head("/none", "guess");
                let flags = END_HEADERS | END_STREAM;
                enemy.send(&frame(HEADERS, flags, 1 + 2 * stream, &head), DEADLINE);
            }
            Some(enemy)
        })
    };
    Watch::start("window 0", Setup::new()).bears(attack, 2);
}

#[test]
fn a_sender_gets_in_while_an_address_holds_all_places() {
    let setup = Setup::new().table("limits", "max_connections = 30");
    let attack = |watch: &Watch| {
        crowd(watch, 94, |_| {
            let mut enemy = h2(watch, HOME, 0)?;
            let head = head("/none", "guess");
            enemy.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head), DEADLINE);
            Some(enemy)
        })
    };
    Watch::start("all places of 30", setup).bears(attack, 1);
}

#[test]
fn heads_that_are_never_whole() {
    let attack = |watch: &Watch| {
        crowd(watch, 600, |number| {
            let from = spread(number, 100);
            if number.is_multiple_of(2) {
                let mut enemy = h1(watch, from)?;
                enemy.send(b"POST /logpush/a HTTP/1.1\r\nhost: x\r\n", DEADLINE);
                enemy.send(&[b"a: ".to_vec(), vec![b'x'; 60_000]].concat(), MOMENT);
                return Some(enemy);
            }
            let mut enemy = h2(watch, from, 65_535)?;
            enemy.send(&frame(HEADERS, 0, 1, &head(PATH, "guess")), DEADLINE);
            enemy.send(&frame(CONTINUATION, 0, 1, &indexed(400)), DEADLINE);
            Some(enemy)
        })
    };
    Watch::start("half heads", Setup::new()).bears(attack, 2);
}

#[test]
fn floods_of_guesses() {
    let attack = |watch: &Watch| {
        crowd(watch, 32, |number| {
            let mut enemy = h2(watch, HOME, 65_535)?;
            let guesses = (0..100).flat_map(|stream| {
                let head = head(PATH, &format!("guess-{number}-{stream}"));
                frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * stream, &head)
            });
            enemy.send(&guesses.collect::<Vec<u8>>(), DEADLINE);
            Some(enemy)
        })
    };
    Watch::start("guesses", Setup::new()).bears(attack, 4);
}

#[test]
fn floods_of_silent_connections_from_the_address_of_a_sender() {
    let attack =
        |watch: &Watch| crowd(watch, 2000, |_| Enemy::bare(watch.daemon.address, HOME).ok());
    Watch::start("silent connections", Setup::new()).bears(attack, 2);
}

#[test]
fn handshakes_that_stall() {
    let attack = |watch: &Watch| {
        crowd(watch, 600, |number| {
            let mut enemy = Enemy::bare(watch.daemon.address, spread(number, 100)).ok()?;
            // The first records of a message of 60,000 bytes, or nothing at all.
            if number.is_multiple_of(2) {
                let hello = [&[1, 0, 0xea, 0x60][..], &[0; 16_000]].concat();
                let record = |part: &[u8]| {
                    let length = u16::try_from(part.len()).unwrap().to_be_bytes();
                    [&[22, 3, 1][..], &length, part].concat()
                };
                enemy.send(&record(&hello), MOMENT);
                enemy.send(&record(&[0; 16_000]), MOMENT);
                enemy.send(&record(&[0; 16_000]), MOMENT);
            }
            Some(enemy)
        })
    };
    Watch::start("stalled handshakes", Setup::new()).bears(attack, 2);
}

#[test]
fn an_address_that_no_endpoint_allows_is_closed_at_once() {
    let keys = "path = \"/logpush/{dataset}\"\nsecret_file = \"secrets.txt\"";
    let allowed = format!("{keys}\nallow_from = [\"127.0.0.2\"]");
    let daemon = Setup::new().table("endpoint.main", &allowed).start();
    let connect = |host: u8| {
        let from = Ipv4Addr::new(127, 0, 0, host);
        Enemy::tls(daemon.address, from, &daemon.trust(), b"h2").is_ok()
    };
    assert!(connect(1), "the machine itself is told why it is refused");
    assert!(connect(2));
    assert!(!connect(3));
    daemon.wait_count("logpushd_refused_total{reason=\"address_not_allowed\"}", |n| n == 1);
    daemon.stop().in_order();
}

#[test]
fn a_stop_does_not_wait_for_clients_that_take_no_answer() {
    let daemon = Setup::new().start();
    let mut enemies: Vec<_> = (0..8)
        .map(|_| {
            let trust = daemon.trust();
            let mut enemy = Enemy::tls(daemon.address, HOME, &trust, b"h2").unwrap();
            enemy.send(&hello(0), DEADLINE);
            let head = head("/none", "guess");
            enemy.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head), DEADLINE);
            enemy
        })
        .collect();
    daemon.wait_count("logpushd_refused_total{reason=\"not_found\"}", |n| n == 8);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                enemies.iter_mut().for_each(Enemy::listen);
                thread::sleep(MOMENT);
            }
        });
        let stopped = daemon.stop().in_order();
        is_over.store(true, Relaxed);
        // It would be said that connections were cut off.
        assert!(!stopped.log.contains("unfinished uploads"), "{}", stopped.log);
        assert!(!stopped.log.contains("cut off"), "{}", stopped.log);
    });
}
