//! Attacks by clients without a secret: they use little memory for a short time, and a sender with
//! the right secret is answered meanwhile.
//!
//! With figures, against a release build:
//!
//!     cargo build --release --locked
//!     LOGPUSHD_ATTACK_PROGRAM=target/release/logpushd LOGPUSHD_ATTACK_SECONDS=10 \
//!         cargo test --locked --test it attack:: -- --test-threads 1 --nocapture

mod attacker;
mod frames;
mod watch;

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use self::{
    attacker::Attacker,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, frame, head, hello,
        indexed,
    },
    watch::Watch,
};
use crate::support::{DEADLINE, Setup};

const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PATH: &str = "/logpush/http_requests";

/// Time for the server to process what it has read.
const MOMENT: Duration = Duration::from_millis(15);

fn h2(watch: &Watch, from: Ipv4Addr, window: u32) -> Option<Attacker> {
    let trust = watch.daemon.trust();
    let mut attacker = Attacker::tls(watch.daemon.address, from, &trust, b"h2").ok()?;
    attacker.send(&hello(window), DEADLINE).then_some(attacker)
}

fn h1(watch: &Watch, from: Ipv4Addr) -> Option<Attacker> {
    Attacker::tls(watch.daemon.address, from, &watch.daemon.trust(), b"http/1.1").ok()
}

/// Opens as many connections as the daemon accepts, up to `most` in all, while the attack
/// continues. `open` opens one and sends its data.
fn open_many(
    watch: &Watch,
    most: usize,
    open: impl Fn(usize) -> Option<Attacker>,
) -> Vec<Attacker> {
    let mut held: Vec<Attacker> = Vec::new();
    let mut number = 0;
    while watch.continues() {
        held.retain(Attacker::is_open);
        if held.len() < most {
            held.extend(open(number));
            number += 1;
        } else {
            thread::sleep(MOMENT);
        }
        if number.is_multiple_of(16) || held.len() >= most {
            held.iter_mut().for_each(Attacker::listen);
        }
    }
    held
}

/// A different address for each `count` connections.
fn spread(number: usize, count: usize) -> Ipv4Addr {
    let host = u8::try_from(number / count % 200).unwrap();
    Ipv4Addr::new(127, 0, 1, host + 1)
}

/// Opens streams with a wrong secret and many fields, waits until they are accepted, resets them.
fn resets(streams: u32) -> impl Fn(&Watch) -> Vec<Attacker> + Sync {
    let block = [head(PATH, "guess"), indexed(450)].concat();
    move |watch| {
        let mut held = Vec::new();
        while watch.continues() {
            let Some(mut attacker) = h2(watch, HOME, 65_535) else { continue };
            let mut stream = 1;
            while watch.continues() && attacker.is_open() {
                let all = || (0..streams).map(|number| stream + 2 * number);
                let open = |stream| frame(HEADERS, END_HEADERS, stream, &block);
                let opened: Vec<u8> = all().flat_map(open).collect();
                attacker.send(&opened, DEADLINE);
                attacker.ping();
                thread::sleep(MOMENT);
                let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                let reset: Vec<u8> = all().flat_map(reset).collect();
                attacker.send(&reset, DEADLINE);
                stream += 2 * streams;
            }
            held = vec![attacker];
        }
        held
    }
}

#[test]
fn streams_that_are_reset_after_they_were_accepted() {
    Watch::start("reset of 100 accepted streams", Setup::new()).assert_withstands(resets(100), 4);
}

#[test]
fn few_streams_at_a_time_that_are_reset_after_they_were_accepted() {
    Watch::start("reset of 12 accepted streams", Setup::new()).assert_withstands(resets(12), 4);
}

#[test]
fn bodies_with_a_wrong_secret() {
    let attack = |watch: &Watch| {
        let piece = [0; 256];
        let data: Vec<u8> =
            (0..1024).flat_map(|n| frame(DATA, 0, 1 + 2 * (n % 8), &piece)).collect();
        open_many(watch, 48, |_| {
            let mut attacker = h2(watch, HOME, 65_535)?;
            for stream in 0..8 {
                let head = head(PATH, "guess");
                attacker.send(&frame(HEADERS, END_HEADERS, 1 + 2 * stream, &head), DEADLINE);
            }
            for _ in 0..16 {
                attacker.send(&data, MOMENT);
            }
            Some(attacker)
        })
    };
    Watch::start("held bodies", Setup::new()).assert_withstands(attack, 2);
}

#[test]
fn clients_that_never_read_answers() {
    let attack = |watch: &Watch| {
        open_many(watch, 300, |number| {
            let from = spread(number, 100);
            if number.is_multiple_of(8) {
                // Sends one request after the other and reads no answer.
                let mut attacker = h1(watch, from)?.without_reading();
                let requests = b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50_000);
                attacker.send(&requests, Duration::from_millis(200));
                return Some(attacker);
            }
            let mut attacker = h2(watch, from, 0)?;
            for stream in 0..10 {
                let head = head("/none", "guess");
                let flags = END_HEADERS | END_STREAM;
                attacker.send(&frame(HEADERS, flags, 1 + 2 * stream, &head), DEADLINE);
            }
            Some(attacker)
        })
    };
    Watch::start("window 0", Setup::new()).assert_withstands(attack, 2);
}

#[test]
fn a_sender_connects_while_one_address_holds_all_connections() {
    let setup = Setup::new().table("limits", "max_connections = 30");
    let attack = |watch: &Watch| {
        open_many(watch, 94, |_| {
            let mut attacker = h2(watch, HOME, 0)?;
            let head = head("/none", "guess");
            attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head), DEADLINE);
            Some(attacker)
        })
    };
    Watch::start("all 30 connections", setup).assert_withstands(attack, 1);
}

#[test]
fn incomplete_request_headers() {
    let attack = |watch: &Watch| {
        open_many(watch, 600, |number| {
            let from = spread(number, 100);
            if number.is_multiple_of(2) {
                let mut attacker = h1(watch, from)?;
                attacker.send(b"POST /logpush/a HTTP/1.1\r\nhost: x\r\n", DEADLINE);
                attacker.send(&[b"a: ".to_vec(), vec![b'x'; 60_000]].concat(), MOMENT);
                return Some(attacker);
            }
            let mut attacker = h2(watch, from, 65_535)?;
            attacker.send(&frame(HEADERS, 0, 1, &head(PATH, "guess")), DEADLINE);
            attacker.send(&frame(CONTINUATION, 0, 1, &indexed(400)), DEADLINE);
            Some(attacker)
        })
    };
    Watch::start("incomplete requests", Setup::new()).assert_withstands(attack, 2);
}

#[test]
fn floods_of_wrong_secrets() {
    let attack = |watch: &Watch| {
        open_many(watch, 32, |number| {
            let mut attacker = h2(watch, HOME, 65_535)?;
            let uploads = (0..100).flat_map(|stream| {
                let head = head(PATH, &format!("guess-{number}-{stream}"));
                frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * stream, &head)
            });
            attacker.send(&uploads.collect::<Vec<u8>>(), DEADLINE);
            Some(attacker)
        })
    };
    Watch::start("wrong secrets", Setup::new()).assert_withstands(attack, 4);
}

#[test]
fn floods_of_silent_connections_from_the_address_of_a_sender() {
    let attack =
        |watch: &Watch| open_many(watch, 2000, |_| Attacker::bare(watch.daemon.address, HOME).ok());
    Watch::start("silent connections", Setup::new()).assert_withstands(attack, 2);
}

#[test]
fn stalled_handshakes() {
    let attack = |watch: &Watch| {
        open_many(watch, 600, |number| {
            let mut attacker = Attacker::bare(watch.daemon.address, spread(number, 100)).ok()?;
            // The first records of a message of 60,000 bytes, or nothing at all.
            if number.is_multiple_of(2) {
                let hello = [&[1, 0, 0xea, 0x60][..], &[0; 16_000]].concat();
                let record = |part: &[u8]| {
                    let length = u16::try_from(part.len()).unwrap().to_be_bytes();
                    [&[22, 3, 1][..], &length, part].concat()
                };
                attacker.send(&record(&hello), MOMENT);
                attacker.send(&record(&[0; 16_000]), MOMENT);
                attacker.send(&record(&[0; 16_000]), MOMENT);
            }
            Some(attacker)
        })
    };
    Watch::start("stalled handshakes", Setup::new()).assert_withstands(attack, 2);
}

#[test]
fn connections_from_disallowed_addresses_are_closed_at_once() {
    let keys = "path = \"/logpush/{dataset}\"\nsecret_file = \"secrets.txt\"";
    let allowed = format!("{keys}\nallow_from = [\"127.0.0.2\"]");
    let daemon = Setup::new().table("endpoint.main", &allowed).start();
    let connect = |host: u8| {
        let from = Ipv4Addr::new(127, 0, 0, host);
        Attacker::tls(daemon.address, from, &daemon.trust(), b"h2").is_ok()
    };
    assert!(connect(1), "a client on the same machine gets an answer with the reason");
    assert!(connect(2));
    assert!(!connect(3));
    daemon.wait_count("logpushd_refused_total{reason=\"address_not_allowed\"}", |n| n == 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_stop_does_not_wait_for_clients_that_do_not_read() {
    let daemon = Setup::new().start();
    let mut attackers: Vec<_> = (0..8)
        .map(|_| {
            let trust = daemon.trust();
            let mut attacker = Attacker::tls(daemon.address, HOME, &trust, b"h2").unwrap();
            attacker.send(&hello(0), DEADLINE);
            let head = head("/none", "guess");
            attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head), DEADLINE);
            attacker
        })
        .collect();
    daemon.wait_count("logpushd_refused_total{reason=\"not_found\"}", |n| n == 8);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                attackers.iter_mut().for_each(Attacker::listen);
                thread::sleep(MOMENT);
            }
        });
        let stopped = daemon.stop().exited_cleanly();
        is_over.store(true, Relaxed);
        // The log would report connections that were cut off.
        assert!(!stopped.log.contains("unfinished uploads"), "{}", stopped.log);
        assert!(!stopped.log.contains("cut off"), "{}", stopped.log);
    });
}
