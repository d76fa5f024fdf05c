//! The part of the fast lane that tests the whole daemon: no root, no other program, a second or
//! two.

use std::fs;

use rustix::process::Signal;

use crate::support::{Http, Setup, Upload, count_lines, numbered, repository, wait_until};

#[test]
fn a_batch_is_delivered_across_reload_kill_and_stop() {
    let daemon = Setup::new().start();
    for http in Http::BOTH {
        let check = daemon.send(http, Upload::of(r#"{"content":"test"}"#).gzipped());
        assert_eq!(check.ok(), ("destination_check".to_owned(), 0, 0));
        assert_eq!(daemon.send(http, Upload::of("{}").secret("wrong")).status, 401);
    }
    let (first, second, third) = (numbered(1, 50), numbered(2, 50), numbered(3, 50));
    assert_eq!(daemon.send(Http::Two, Upload::of(&first).gzipped()).committed(), 50);
    let answer = daemon.send(Http::One, Upload::of([&second[..], b"no record\n"].concat()));
    assert_eq!(answer.ok(), ("committed".to_owned(), 50, 1));
    wait_until("a line in quarantine", || {
        daemon.count(r#"logpushd_quarantined_records_total{reason="not_json"}"#) == 1
    });

    daemon.signal(Signal::HUP);
    daemon.wait_log("reloaded");
    daemon.wait_file("out/http_requests.ndjson", &[&first[..], &second].concat());

    let daemon = daemon.kill().start();
    daemon.commit(&third);
    let stopped = daemon.stop().exited_cleanly();
    let file = stopped.file("out/http_requests.ndjson");
    assert_eq!(count_lines(&file), 150);
    assert_eq!(file, [first, second, third].concat());
}

#[test]
fn the_nextest_configuration_names_existing_modules() {
    let read = |path: &str| fs::read_to_string(repository(path)).unwrap();
    let (settings, modules) = (read(".config/nextest.toml"), read("tests/it/main.rs"));
    let groups = settings.split("test(/^").skip(1).filter_map(|rest| rest.split("::").next());
    let names: Vec<_> =
        groups.flat_map(|group| group.trim_matches(['(', ')']).split('|')).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(modules.contains(&format!("\nmod {name};\n")), "{name}");
    }
}
