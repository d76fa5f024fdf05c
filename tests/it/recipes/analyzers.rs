//! `jq`, `lnav`, `DuckDB`, `Polars` and `GoAccess` over files that the daemon wrote.

use std::{env, ffi::OsString, fs, path::Path, process::Command};

use super::{blocks, located, shell};
use crate::support::{Exit, Finished, Setup, Stopped, finish, gzip, require, skip};

/// Records of each file.
const RECORDS: usize = 60;

/// Three days of records: a live file, a gzip file, and the last day in two rotated files, one of
/// them compressed with zstd. Every third request failed, and the times are RFC 3339 in one file,
/// nanoseconds in the next.
fn archive() -> Stopped {
    let daemon = Setup::new()
        .table("sink.archive.file", r#"path = "logs/{dataset}/%Y-%m-%d.ndjson""#)
        .start();
    let [first, second, third] = [0, 1, 2].map(requests);
    daemon.commit(&first);
    let stopped = daemon.stop().exited_cleanly();
    let directory = stopped.setup.path("logs/http_requests");
    let live = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read(&live).unwrap(), first);
    fs::write(directory.join("2026-11-27.ndjson.gz"), gzip(&second)).unwrap();
    let half = third.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(RECORDS / 2 - 1);
    let (plain, packed) = third.split_at(half.unwrap().0 + 1);
    fs::write(directory.join("2026-11-28.ndjson.20261128T101112Z_002"), plain).unwrap();
    let packed = zstd::encode_all(packed, 1).unwrap();
    fs::write(directory.join("2026-11-28.ndjson.20261128T101112Z.zst"), packed).unwrap();
    stopped
}

fn requests(day: usize) -> Vec<u8> {
    let request = |number: usize| {
        let seconds = 1_795_000_000 + number;
        let time = match day {
            0 => format!("\"2026-11-29T10:{:02}:{:02}Z\"", number / 60, number % 60),
            1 => format!("{seconds}123456789"),
            _ => format!("\"2026-11-28T10:00:{:02}.5Z\"", number % 60),
        };
        let status = if number.is_multiple_of(3) { 502 } else { 200 };
        format!(
            "{{\"ClientIP\":\"192.0.2.{}\",\"ClientRequestHost\":\"www.example.com\",\
             \"ClientRequestMethod\":\"GET\",\"ClientRequestURI\":\"/a \\\"b\\\"?q={number}\",\
             \"ClientRequestProtocol\":\"HTTP/2\",\"ClientRequestReferer\":\"\",\
             \"ClientRequestUserAgent\":\"Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0\",\
             \"EdgeResponseStatus\":{status},\"EdgeResponseBytes\":512,\
             \"EdgeTimeToFirstByteMs\":12,\"CacheCacheStatus\":\"hit\",\
             \"EdgeStartTimestamp\":{time},\"RayID\":\"{day}-{number}\"}}\n",
            number % 5
        )
    };
    (0..RECORDS).map(request).collect::<String>().into_bytes()
}

/// The Python of `LOGPUSHD_ANALYSIS_PYTHON`, which has duckdb and polars.
fn python() -> Option<OsString> {
    let python = env::var_os("LOGPUSHD_ANALYSIS_PYTHON");
    if python.is_none() {
        skip("LOGPUSHD_ANALYSIS_PYTHON names no Python with duckdb and polars");
    }
    python
}

#[track_caller]
fn run_python(python: &OsString, program: &str, argument: &str, directory: &Path) -> String {
    let mut command = Command::new(python);
    command.args(["-c", program, argument]).current_dir(directory);
    let Finished { exit, stdout, stderr } = finish(&mut command);
    assert_eq!(exit, Exit::Code(0), "{argument}\n{stdout}{stderr}");
    stdout
}

#[test]
fn jq_filters_and_counts_records() {
    if !require::has(&[&require::JQ, &require::ZSTD]) {
        return;
    }
    let archive = archive();
    let logs = archive.setup.path("logs");
    let commands = blocks("jq.md", "sh");
    let failed = shell(&located(&commands[0], &logs), &logs);
    assert_eq!(failed.lines().count(), RECORDS / 3, "{failed}");
    assert!(failed.starts_with("{\"RayID\":\"0-0\",\"ClientIP\":\"192.0.2.0\""), "{failed}");
    let frequent = shell(&located(&commands[1], &logs), &logs);
    let counts: Vec<_> = frequent.lines().map(|line| line.trim().split(' ').next()).collect();
    assert_eq!(counts, vec![Some("36"); 5], "{frequent}");
}

#[test]
fn lnav_reads_the_fields_with_both_time_formats() {
    if !require::has(&[&require::LNAV]) {
        return;
    }
    let archive = archive();
    let logs = archive.setup.path("logs");
    let nanoseconds = logs.join("http_requests/nanoseconds.ndjson");
    fs::write(nanoseconds, requests(1)).unwrap();
    let commands = blocks("lnav.md", "sh");
    // The home directory is the current one, so that the test changes nothing on this machine. lnav
    // prompts on standard input for more.
    let run = |command: &str| {
        shell(&located(&format!("{} </dev/null", command.trim_end()), &logs), &logs)
    };
    run(&commands[0]);
    let table = run(&commands[1]);
    let rows: Vec<Vec<_>> =
        table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["200", "80"], ["502", "40"]], "{table}");
}

#[test]
fn duckdb_reads_plain_and_compressed_files_together() {
    let Some(python) = python() else { return };
    let archive = archive();
    let logs = archive.setup.path("logs");
    let program = "import duckdb, sys\nfor row in duckdb.sql(sys.argv[1]).fetchall(): print(*row)";
    let queries = blocks("duckdb.md", "sql");
    let by_status = run_python(&python, program, &located(&queries[0], &logs), &logs);
    assert_eq!(by_status, "www.example.com 200 120\nwww.example.com 502 60\n");
    let by_address = run_python(&python, program, &located(&queries[1], &logs), &logs);
    let mut errors: Vec<_> = by_address.lines().collect();
    errors.sort_unstable();
    assert_eq!(errors, [0, 1, 2, 3, 4].map(|host| format!("192.0.2.{host} 12")));
}

#[test]
fn polars_reads_plain_and_compressed_files_together() {
    let Some(python) = python() else { return };
    let archive = archive();
    let logs = archive.setup.path("logs");
    let program = located(&blocks("polars.md", "python")[0], &logs);
    let table = run_python(&python, &program, "", &logs);
    assert_eq!(table.trim_end(), "EdgeResponseStatus,len\n200,120\n502,60");
}

#[test]
fn goaccess_makes_a_report_for_every_time_format() {
    if !require::has(&[&require::GOACCESS, &require::JQ, &require::ZSTD]) {
        return;
    }
    let archive = archive();
    let logs = archive.setup.path("logs");
    shell(&located(&blocks("goaccess.md", "sh")[0], &logs), &logs);
    let report = fs::read_to_string(logs.join("report.html")).unwrap();
    for count in ["\"valid_requests\": 180", "\"failed_requests\": 0"] {
        let squeezed = count.replace(' ', "");
        assert!(report.contains(count) || report.contains(&squeezed), "no {count} in the report");
    }
}
