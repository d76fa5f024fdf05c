//! CSV that needs several batches.

use std::{ops::Range, process::Command};

use super::{fails, ok};
use crate::support::{Daemon, SECRET, Setup, finish, gzip, logpushd};

const COMMITTED: &str = r#"logpushd_batches_total{endpoint="rows",outcome="committed"}"#;

/// `logpushd push` to an endpoint that accepts CSV.
fn push(daemon: &Daemon, words: &[&str]) -> Command {
    let url = format!("https://{}/rows/dns_logs?header_X-Logpush-Secret={SECRET}", daemon.address);
    let mut command = logpushd();
    command.args(["push", &url, "--ca", "fullchain.pem", "--max-records", "1000"]).args(words);
    command.current_dir(daemon.setup().directory());
    command
}

fn start(table: &str) -> Daemon {
    let table = format!(
        "path = \"/rows/{{dataset}}\"\nformat = \"csv\"\n{table}\nsecret_file = \"secrets.txt\""
    );
    Setup::new().table("endpoint.rows", &table).start()
}

/// One line per number.
fn lines(numbers: Range<u32>, line: impl Fn(u32) -> String) -> String {
    numbers.map(line).collect::<Vec<_>>().concat()
}

fn rows(numbers: Range<u32>) -> String {
    lines(numbers, |number| format!("{number},x\n"))
}

fn records(numbers: Range<u32>) -> String {
    lines(numbers, |number| format!("{{\"n\":{number},\"x\":\"x\"}}\n"))
}

#[test]
fn a_csv_file_is_split_only_if_its_header_row_is_known() {
    let daemon = start("header = true");
    let text = format!("n,x\n{}", rows(0..3000));
    daemon.setup().write("rows.csv", &text);
    daemon.setup().write("rows", gzip(text.as_bytes()));
    let says = [": 0 records accepted, then: ", "--csv-header", "--no-csv-header", "--lines"];
    for name in ["rows.csv", "rows"] {
        fails(&finish(&mut push(&daemon, &[name])), 74, &says);
        fails(&finish(&mut push(&daemon, &[name, "--dry-run"])), 74, &says[1..]);
    }
    assert_eq!(daemon.count(COMMITTED), 0);

    ok(&finish(&mut push(&daemon, &["rows.csv", "--csv-header"])), &["3000 records", "3 batches"]);
    daemon.wait_file("out/dns_logs.ndjson", records(0..3000).as_bytes());
    // One batch needs no option.
    daemon.setup().write("few.csv", format!("n,x\n{}", rows(3000..3999)));
    ok(&finish(&mut push(&daemon, &["few.csv"])), &["1 batch"]);
    daemon.wait_file("out/dns_logs.ndjson", records(0..3999).as_bytes());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_csv_file_without_header_is_split_for_an_endpoint_with_columns() {
    let daemon = start("columns = [\"n\", \"x\"]");
    daemon.setup().write("rows.csv", rows(0..3000));
    let sent = finish(&mut push(&daemon, &["rows.csv", "--no-csv-header"]));
    ok(&sent, &["3000 records", "3 batches"]);
    daemon.wait_file("out/dns_logs.ndjson", records(0..3000).as_bytes());
    let both = finish(&mut push(&daemon, &["rows.csv", "--no-csv-header", "--csv-header"]));
    fails(&both, 64, &["cannot be used with"]);
    daemon.stop().exited_cleanly();
}
