//! The promises of the daemon, kept by the real program over real TLS.
//!
//! Each module is named after the promise that its tests defend; `support` is what they stand on.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a helper of a test fails as the test does: by a panic that says what is wrong"
)]

/// A certificate is got from a directory, renewed and kept.
mod acme;
/// Each alert of the rules that are shipped fires on a real Prometheus.
mod alerts;
/// Clients without a secret cost little memory for a short time, and keep out no sender.
mod attack;
/// The audit log tells who did what to the daemon, and has no secret.
mod audit;
/// A sink that was away for a life takes nobody's records for its own.
mod away;
/// A body that stops coming is refused in time. First, since it takes the longest.
mod body_deadline;
/// Requests for certificates, and what a certificate is worth, on the command line.
mod cert_cli;
/// A new certificate is taken as soon as it is there, and an old one is said in time.
mod certificates;
/// A sink gets the batches and records that it chooses, and no others.
mod choosing;
/// The wall clock steps, and nothing is lost or doubled for it.
mod clocks;
/// The pages for contributors name code that exists, and show it as it is.
mod code_names;
/// The page of the command line has every command and option, with examples that are accepted.
mod command_line;
/// The command line: exit codes, problems by line and column, configurations that are shipped.
mod config_cli;
/// Killed at any place, as often as one likes: nothing acknowledged is lost, doubled or torn.
mod crash;
/// What real clients (curl, h2load) send arrives, and they see our answers.
mod curl;
/// As many batches as can be remembered cost no more than is said.
mod dedup;
/// Once answered 200, a record reaches every sink: whatever is broken, killed or restarted.
mod delivery;
/// What `destination` prints is what Cloudflare is told, and it works.
mod destination;
/// Cloudflare's destination check is answered and leaves no trace among the records.
mod destination_check;
/// Real filesystems that are full, read-only or broken: nothing acknowledged is lost or doubled.
mod disks;
/// What the documentation shows works, and what it links to is there.
mod docs;
/// What Cloudflare would say to a destination is said beforehand, and what to do about it.
mod doctor;
/// What documents and alert rules say of metrics is what the daemon gives.
mod documentation;
/// fail2ban finds the right addresses in the log, and no forged one.
mod fail2ban;
/// Every fault has an honest answer, and is got over without a hand.
mod faults;
/// What others do to the files costs nothing that was acknowledged.
mod foreign;
/// Rows of CSV and lines of text become records.
mod formats;
/// What fuzzing begins with, and what it once found.
mod fuzz_seeds;
/// Splunk's HTTP Event Collector is spoken, with the same promises.
mod hec;
/// Whoever means harm costs little, and keeps nobody else from being served.
mod hostile;
/// Records arrive at a collector over HTTP, whatever it answers.
mod http_sink;
/// Logpush jobs are managed over Cloudflare's API, as its schema has it, and no secret is shown.
mod job;
/// Data flows downward: what each layer must not know.
mod layers;
/// Start, reload, drain and stop under load, and what probes and scrapers see of it.
mod lifecycle;
/// Limits of the system, and calls that it does not have, are coped with and logged.
mod limits;
/// The listeners take the connections that they should take, and explain what is wrong with others.
mod listeners;
/// The log tells of clients what an operator needs, and nothing that a client can abuse.
mod log_lines;
/// A log that nobody reads stops nothing.
mod log_reader;
/// Pages of the manual and completions are there for every command, and are read by what reads them.
mod manual;
/// CEF and LEEF are what somebody else reads them as.
mod message_formats;
/// What a running daemon measures is right, also after a restart.
mod metrics;
/// Inputs that other receivers refuse, lose or change: each as docs/odd-inputs.md has it.
mod odd_inputs;
/// Records come out as they went in, byte for byte, however they were framed and sent.
mod pass_through;
/// No answer goes out, and nothing leaves the spool, before what must last is synced.
mod power;
/// The configurations of proxies in the documentation work, and keep the secret.
mod proxies;
/// A proxy tells the client's address by the PROXY protocol, and nobody else can.
mod proxy_protocol;
/// Files arrive as Logpush would send them: once, in order, whatever happens meanwhile.
mod push;
/// What cannot be accepted is kept beside the reason, and holds up nothing.
mod quarantine;
/// The recipes of the documentation work as printed, with the real programs.
mod recipes;
/// Every refusal of the contract: its status, its words, and that it leaves nothing behind.
mod refusals;
/// SIGHUP takes over all that can change under load, at the cost of nobody.
mod reload;
/// A failure that repeats is one line of the log.
mod repeating;
/// What was in quarantine comes back once after a mend, whatever is killed meanwhile.
mod replay;
/// What is sent again is delivered once, whatever failed or was killed meanwhile.
mod resent;
/// Files are ended and renamed by the daemon, and by others, at no cost.
mod rotation;
/// A service manager is told how the daemon is.
mod service;
/// A signal does what the documentation says, and no other signal ends the daemon.
mod signals;
/// One walk through the whole daemon, for the fast lane.
mod smoke;
/// What waits, for which sink, and whether it is whole, is told beside a daemon and without one.
mod spool_cli;
/// Disks, readers and pipes that stall keep no sender from an answer, and the daemon from no end.
mod stalls;
mod support;
/// What is sent to a syslog server arrives, also when the server dies.
mod syslog;
/// Another user of the machine gets the files that they are to have, and nothing else of the daemon's.
mod takeover;
/// Who may connect, with which version of TLS and which certificate.
mod tls;
/// The page of messages has every message of the daemon, and no other.
mod troubleshooting;
/// The units for systemd are understood by it, and keep the daemon from what it does not need.
mod units;
