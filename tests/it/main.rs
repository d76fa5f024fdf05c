//! Tests the daemon's guarantees with the real program over real TLS.
//!
//! Each module covers one guarantee; `support` contains what the tests share.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a helper of a test fails as the test does: by a panic with a message"
)]

/// Certificates are obtained over ACME, renewed and stored.
mod acme;
/// Each shipped alert rule fires on a real Prometheus.
mod alerts;
/// Clients without a secret use little memory for a short time and block no sender.
mod attack;
/// The audit log records who did what to the daemon, and contains no secret.
mod audit;
/// A sink that returns after one run of the daemon claims no records of another sink.
mod away;
/// A stalled body times out. First, since it takes the longest.
mod body_deadline;
/// Certificate requests and certificate checks on the command line.
mod cert_cli;
/// A changed certificate is loaded at once, and one that expires soon is logged.
mod certificates;
/// Records are stored in ClickHouse exactly once, and unchanged.
mod clickhouse;
/// Steps of the wall clock lose and duplicate nothing.
mod clocks;
/// The pages for contributors name existing code and quote it correctly.
mod code_names;
/// The page of the command line lists every command and option, with examples that are accepted.
mod command_line;
/// The command line: exit codes, problems with line and column, shipped configurations.
mod config_cli;
/// Kills at any time lose, duplicate and truncate no acknowledged record.
mod crash;
/// Uploads by real clients (curl, h2load) are delivered, and these clients see the answers.
mod curl;
/// A target that is down or hangs delays neither other sinks nor answers.
mod dead_targets;
/// Deduplication stays within its documented limits with as many batches as it can remember.
mod dedup;
/// Every record that was answered with 200 reaches every sink, across failures, kills and restarts.
mod delivery;
/// `destination` prints what Cloudflare needs, and it works.
mod destination;
/// Cloudflare's destination check is answered and never stored.
mod destination_check;
/// Real filesystems that are full, read-only or broken lose and duplicate no acknowledged record.
mod disks;
/// The examples of the documentation work, and its links lead somewhere.
mod docs;
/// `doctor` reports beforehand what Cloudflare would find wrong with a destination, with advice.
mod doctor;
/// Documents and alert rules name the metrics that the daemon exposes.
mod documentation;
/// Records are documents of Elasticsearch or OpenSearch, each exactly once.
mod elasticsearch;
/// fail2ban finds the right addresses in the log, and no forged one.
mod fail2ban;
/// The daemon reports every I/O fault and recovers without an operator.
mod faults;
/// Changes to output files by other programs lose no acknowledged record.
mod file_changes;
/// A sink gets the batches and records that its filter selects, and no others.
mod filters;
/// Rows of CSV and lines of text become records.
mod formats;
/// Sinks and commands use the proxy that the environment names.
mod forward_proxy;
/// Fuzzing starts with these inputs; some of them once failed.
mod fuzz_seeds;
/// Splunk's HTTP Event Collector protocol is supported with the same guarantees.
mod hec;
/// Hostile clients use few resources and block no other client.
mod hostile;
/// Records are delivered to a collector over HTTP, whatever it answers.
mod http_sink;
/// Sinks over HTTP verify the server, and present the certificate that the configuration names.
mod http_tls;
/// Logpush jobs are managed over Cloudflare's API by its schema, and no secret is printed.
mod job;
/// Data flows downward: which modules each layer must not use.
mod layers;
/// Start, reload and shutdown under load, and what probes and scrapers see of them.
mod lifecycle;
/// Limits of the system and missing system calls are tolerated and logged.
mod limits;
/// The listeners accept valid connections and explain what is wrong with others.
mod listeners;
/// The log reports about clients what an operator needs, and nothing that a client can abuse.
mod log_lines;
/// An unread log stops nothing.
mod log_reader;
/// Man pages and completions exist for every command, and the programs that read them accept them.
mod loki;
mod manual;
/// A sink with masks never gets an original value, and gets the fields that it adds.
mod masking;
/// An independent parser reads CEF and LEEF as intended.
mod message_formats;
/// The metrics of a running daemon are right, also after a restart.
mod metrics;
/// Inputs that other receivers reject, lose or change: each as docs/odd-inputs.md describes it.
mod odd_inputs;
mod otlp;
/// Records are delivered byte for byte, however they were framed and sent.
mod pass_through;
/// No answer is sent, and no batch leaves the spool, before its data is synced.
mod power;
/// `validate --probe` checks the target of each network sink and writes no record.
mod probe;
/// The proxy configurations in the documentation work and do not log the secret.
mod proxies;
/// Only a proxy can set the client's address, with the PROXY protocol.
mod proxy_protocol;
/// `push` sends files as Logpush would: once and in order, across failures.
mod push;
/// Rejected records are quarantined with the reason and block nothing.
mod quarantine;
/// The recipes of the documentation work as printed, with the real programs.
mod recipes;
/// Every rejection of the contract: its status, its text, and that it leaves nothing on disk.
mod refusals;
/// SIGHUP applies every setting that can change under load, and fails no request.
mod reload;
/// A repeated failure is logged in one line.
mod repeated_failures;
/// Quarantined records are replayed once after a repair, across kills.
mod replay;
/// A body that is sent again is delivered once, across failures and kills.
mod resends;
/// Files are rotated by the daemon, and renamed by others, without loss.
mod rotation;
/// The service manager is notified of the daemon's state.
mod service;
/// Each signal acts as documented, and no other signal stops the daemon.
mod signals;
/// One test of the whole daemon, for the fast lane.
mod smoke;
/// Records are delivered to Splunk's HTTP Event Collector, with and without acknowledgments.
mod splunk_sink;
/// The backlog, the sinks that need it and its integrity are listed, with or without a daemon.
mod spool_cli;
/// Stalled disks, readers and pipes delay neither answers nor shutdown.
mod stalls;
mod support;
/// Records reach a syslog server, also across its restarts.
mod syslog;
/// Another user of the machine gets only those files of the daemon that are meant for it.
mod takeover;
/// Network sinks lose nothing while their targets fail and the daemon is killed.
mod target_faults;
/// Who may connect, with which TLS version and which certificate.
mod tls;
/// The page of messages contains every message of the daemon, and no other.
mod troubleshooting;
/// systemd accepts the units, and they restrict the daemon to what it needs.
mod units;
/// Requests of sinks are counted by outcome, duration and class of error.
mod upload_metrics;
