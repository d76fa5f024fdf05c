//! `logpushd job`: the command line: the options of a Logpush job, in Cloudflare's words.

#![expect(clippy::doc_markdown, reason = "these comments are the help, where backticks would stay")]

use std::path::PathBuf;

use clap::{Args, Subcommand};
use command::ConfigFile;

use crate::api::{
    API_URL, Scope, limits,
    output::{OutputOptions, OutputType, TimestampFormat},
    parse_dataset, parse_id,
};

const AFTER: &str = "\
The token is an API token with the permission \"Logs: Edit\". It is read from --token-file or from the
environment, CLOUDFLARE_API_TOKEN, and shown nowhere.
Exit codes: 0 done, 64 wrong usage or a value that Cloudflare would refuse, 69 the API cannot be reached
or refuses, 74 a file cannot be read, 78 the configuration of --endpoint has a problem.";

/// What to do with the jobs.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER)]
pub enum JobCommand {
    /// List the jobs of a zone or account, and how each is doing
    List(Api),
    /// Show a job, whether it is healthy, and what to do if not
    Show(Target),
    /// Create a job; Cloudflare sends its destination check before it answers
    Create(Box<Create>),
    /// Change options of a job; what is not named stays as it is
    Update(Box<Update>),
    /// Enable a job
    Enable(Target),
    /// Disable a job; what there is to log meanwhile is lost
    Disable(Target),
    /// Delete a job
    Delete(Delete),
    /// List the fields of a dataset, with Cloudflare's descriptions
    Fields(Fields),
    /// Have Cloudflare send its destination check, and ask whether a job sends there already
    Validate(Validate),
}

/// How to reach the API, and for whom.
#[derive(Debug, Args)]
pub struct Api {
    /// Whose jobs.
    #[command(flatten)]
    scope: ScopeIds,
    /// A file that holds the API token, - for standard input [default: the environment's CLOUDFLARE_API_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Where the API is
    #[arg(long, value_name = "URL", default_value = API_URL)]
    pub api_url: String,
    /// Trust the authorities in this PEM file rather than the public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Print the request, without the token, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print what the API answers, as JSON
    #[arg(long)]
    pub json: bool,
    /// Show the secrets of destinations, rather than ***
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeIds {
    /// The ID of the zone, for its datasets: http_requests, dns_logs, firewall_events and others
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    zone: Option<String>,
    /// The ID of the account, for its datasets: audit_logs_v2, gateway_dns, workers_trace_events and others
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    account: Option<String>,
}

impl Api {
    /// Whose jobs.
    pub fn scope(&self) -> Scope {
        match (&self.scope.zone, &self.scope.account) {
            (Some(zone), _) => Scope::Zone(zone.clone()),
            (None, account) => Scope::Account(account.clone().unwrap_or_default()),
        }
    }
}

/// One job.
#[derive(Debug, Args)]
pub struct Target {
    /// How to reach the API.
    #[command(flatten)]
    pub api: Api,
    /// The job's number, as `logpushd job list` shows it
    pub id: u64,
}

/// What to create.
#[derive(Debug, Args)]
pub struct Create {
    /// How to reach the API.
    #[command(flatten)]
    pub api: Api,
    /// What to log, as in http_requests
    #[arg(long, value_name = "NAME", value_parser = parse_dataset)]
    pub dataset: String,
    /// Where to send it.
    #[command(flatten)]
    pub destination: Destination,
    /// What to send.
    #[command(flatten)]
    pub settings: Settings,
    /// Create it disabled; else it begins at once
    #[arg(long)]
    pub disabled: bool,
    /// `edge` for Edge Log Delivery, straight from the edge; http_requests only
    #[arg(long, value_name = "KIND", value_parser = ["edge"])]
    pub kind: Option<String>,
}

/// What to change.
#[derive(Debug, Args)]
pub struct Update {
    /// Which job.
    #[command(flatten)]
    pub target: Target,
    /// Where to send it.
    #[command(flatten)]
    pub destination: Destination,
    /// The dataset of the job, for --endpoint
    #[arg(long, value_name = "NAME", value_parser = parse_dataset, requires = "endpoint")]
    pub dataset: Option<String>,
    /// What to send.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to delete.
#[derive(Debug, Args)]
pub struct Delete {
    /// Which job.
    #[command(flatten)]
    pub target: Target,
    /// Yes, delete it: there is no way back
    #[arg(long)]
    pub yes: bool,
}

/// Which fields.
#[derive(Debug, Args)]
pub struct Fields {
    /// How to reach the API.
    #[command(flatten)]
    pub api: Api,
    /// The dataset, as in http_requests
    #[arg(long, value_name = "NAME", value_parser = parse_dataset)]
    pub dataset: String,
}

/// What to validate.
#[derive(Debug, Args)]
pub struct Validate {
    /// How to reach the API.
    #[command(flatten)]
    pub api: Api,
    /// Where.
    #[command(flatten)]
    pub destination: Destination,
    /// The dataset of the job, for --endpoint
    #[arg(long, value_name = "NAME", value_parser = parse_dataset, requires = "endpoint")]
    pub dataset: Option<String>,
    /// A filter to check as well, by the rules that Cloudflare documents: JSON, @FILE, or -
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub filter: Option<String>,
}

/// Where to send it.
#[derive(Debug, Args)]
pub struct Destination {
    /// One of three ways to say it.
    #[command(flatten)]
    pub named: Named,
    /// Of an endpoint: which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Of an endpoint: by which name Cloudflare finds the daemon [default: the first of its certificate]
    #[arg(long, value_name = "NAME[:PORT]", requires = "endpoint")]
    pub host: Option<String>,
}

/// One of three.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Named {
    /// The destination, as in `https://logs.example.com/logpush/http_requests?header_X-Logpush-Secret=SECRET`;
    /// @FILE reads it from a file, - from standard input
    ///
    /// Other users of this machine see the command line while the command runs, and the shell remembers it:
    /// a file or standard input keeps the secret from both.
    #[arg(long = "destination", value_name = "URL|@FILE|-")]
    pub text: Option<String>,
    /// The former spelling of --destination @FILE.
    #[arg(long = "destination-file", value_name = "FILE", hide = true)]
    pub file: Option<PathBuf>,
    /// An endpoint of the configuration: the destination is what logpushd destination prints for it
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<String>,
}

/// What to send.
#[derive(Debug, Args)]
pub struct Settings {
    /// A name for people: letters, digits, `.`, `-` and `_`
    #[arg(long, value_parser = limits::job_name)]
    pub name: Option<String>,
    /// Fields, in the order that they are to come in, as in ClientIP,RayID
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub fields: Option<Vec<String>>,
    /// All fields that the dataset has today
    #[arg(long, conflicts_with = "fields")]
    pub all_fields: bool,
    /// Which records to send: JSON as in {"where":{...}}, @FILE, or - for standard input; empty for all
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub filter: Option<String>,
    /// `ndjson` or `csv`; Cloudflare's default is ndjson
    #[arg(long, value_name = "TYPE")]
    pub output_type: Option<OutputType>,
    /// `rfc3339ns`, `rfc3339ms`, `rfc3339`, `unixnano` or `unix`; a new job gets rfc3339ns
    #[arg(long, value_name = "FORMAT")]
    pub timestamp_format: Option<TimestampFormat>,
    /// What stands before each batch; \n, \r, \t and \\ are understood here and below
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub batch_prefix: Option<String>,
    /// What stands behind each batch
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub batch_suffix: Option<String>,
    /// What stands before each record
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub record_prefix: Option<String>,
    /// What stands behind each record
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub record_suffix: Option<String>,
    /// What stands between two records
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub record_delimiter: Option<String>,
    /// A record in Go's text/template, as in {"ip":{{.ClientIP}}}
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub record_template: Option<String>,
    /// What stands between two fields
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub field_delimiter: Option<String>,
    /// The part of all records to send, as in 0.1
    #[arg(long, value_name = "RATE", value_parser = limits::sample_rate)]
    pub sample_rate: Option<f64>,
    /// Replace each ${ by x{, against CVE-2021-44228 in what reads the logs
    #[arg(long = "cve-2021-44228", value_name = "BOOL", num_args = 0..=1,
        default_missing_value = "true", require_equals = true)]
    pub cve_2021_44228: Option<bool>,
    /// Put subrequests into the record of their request; http_requests only
    #[arg(long, value_name = "BOOL", num_args = 0..=1,
        default_missing_value = "true", require_equals = true)]
    pub merge_subrequests: Option<bool>,
    /// The largest batch, inflated: 5MB to 1GB, or 0; 16MB suits logpushd
    #[arg(long, value_name = "SIZE", value_parser = limits::upload_bytes)]
    pub max_upload_bytes: Option<u64>,
    /// The most records in a batch: 1000 to 1000000, or 0
    #[arg(long, value_name = "COUNT", value_parser = limits::upload_records)]
    pub max_upload_records: Option<u64>,
    /// The longest time between batches: 30s to 5m, or 0
    #[arg(long, value_name = "TIME", value_parser = limits::upload_interval)]
    pub max_upload_interval: Option<u64>,
}

impl Settings {
    /// Those of them that Cloudflare has in `output_options`.
    pub fn output(&self) -> OutputOptions {
        OutputOptions {
            field_names: self.fields.clone(),
            output_type: self.output_type,
            batch_prefix: self.batch_prefix.clone(),
            batch_suffix: self.batch_suffix.clone(),
            record_prefix: self.record_prefix.clone(),
            record_suffix: self.record_suffix.clone(),
            record_delimiter: self.record_delimiter.clone(),
            record_template: self.record_template.clone(),
            field_delimiter: self.field_delimiter.clone(),
            timestamp_format: self.timestamp_format,
            sample_rate: self.sample_rate,
            cve_2021_44228: self.cve_2021_44228,
            merge_subrequests: self.merge_subrequests,
        }
    }
}
