//! The options of `logpushd job`, with Cloudflare's names for the settings of a job.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, backticks included")]

use std::path::PathBuf;

use clap::{Args, Subcommand};
use command::ConfigFile;

use crate::api::{
    API_URL, Scope, limits,
    output::{OutputOptions, OutputType, TimestampFormat},
    parse_dataset, parse_id,
};

const AFTER: &str = "\
The API token needs the permission \"Logs: Edit\". logpushd reads it from --token-file or from the
environment variable CLOUDFLARE_API_TOKEN, and never prints it.";

/// Subcommands of `logpushd job`.
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER)]
pub enum JobCommand {
    /// List the jobs of a zone or account and their states
    List(ApiOptions),
    /// Show a job, its state, and what to do if it fails
    Show(JobTarget),
    /// Create a job; Cloudflare checks the destination first
    Create(Box<CreateOptions>),
    /// Change a job; settings that are not given stay
    Update(Box<UpdateOptions>),
    /// Enable a job
    Enable(JobTarget),
    /// Disable a job; its records are lost until it is enabled
    Disable(JobTarget),
    /// Delete a job
    Delete(DeleteOptions),
    /// List the fields of a dataset with Cloudflare's descriptions
    Fields(FieldsOptions),
    /// Make Cloudflare check a destination, without a job
    Validate(ValidateOptions),
}

/// Options for the API and for the owner of the jobs.
#[derive(Debug, Args)]
pub struct ApiOptions {
    #[command(flatten)]
    scope: ScopeIds,
    /// Read the API token from this file, - for standard input [default: $CLOUDFLARE_API_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Base URL of the API
    #[arg(long, value_name = "URL", default_value = API_URL)]
    pub api_url: String,
    /// Trust the certificate authorities in this PEM file instead of the public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Print the requests, without the token, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the API's response as JSON
    #[arg(long)]
    pub json: bool,
    /// Print the secrets of destinations instead of ***
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeIds {
    /// ID of the zone, for datasets such as http_requests, dns_logs and firewall_events
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    zone: Option<String>,
    /// ID of the account, for datasets such as audit_logs_v2, gateway_dns and workers_trace_events
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    account: Option<String>,
}

impl ApiOptions {
    /// Returns the owner of the jobs.
    pub fn scope(&self) -> Scope {
        match (&self.scope.zone, &self.scope.account) {
            (Some(zone), _) => Scope::Zone(zone.clone()),
            (None, account) => Scope::Account(account.clone().unwrap_or_default()),
        }
    }
}

/// A job and the options for the API.
#[derive(Debug, Args)]
pub struct JobTarget {
    #[command(flatten)]
    pub api: ApiOptions,
    /// ID of the job, from logpushd job list
    pub id: u64,
}

/// Options of `logpushd job create`.
#[derive(Debug, Args)]
pub struct CreateOptions {
    #[command(flatten)]
    pub api: ApiOptions,
    /// Dataset to send, such as http_requests
    #[arg(long, value_name = "NAME", value_parser = parse_dataset)]
    pub dataset: String,
    #[command(flatten)]
    pub destination: DestinationOptions,
    #[command(flatten)]
    pub settings: JobSettings,
    /// Create the job without enabling it
    #[arg(long)]
    pub disabled: bool,
    /// Use Edge Log Delivery (edge), which sends directly from the edge; http_requests only
    #[arg(long, value_name = "KIND", value_parser = ["edge"])]
    pub kind: Option<String>,
}

/// Options of `logpushd job update`.
#[derive(Debug, Args)]
pub struct UpdateOptions {
    #[command(flatten)]
    pub target: JobTarget,
    #[command(flatten)]
    pub destination: DestinationOptions,
    /// Dataset of the job, for --endpoint
    #[arg(long, value_name = "NAME", value_parser = parse_dataset, requires = "endpoint")]
    pub dataset: Option<String>,
    #[command(flatten)]
    pub settings: JobSettings,
}

/// Options of `logpushd job delete`.
#[derive(Debug, Args)]
pub struct DeleteOptions {
    #[command(flatten)]
    pub target: JobTarget,
    /// Confirm the deletion, which cannot be undone
    #[arg(long)]
    pub yes: bool,
}

/// Options of `logpushd job fields`.
#[derive(Debug, Args)]
pub struct FieldsOptions {
    #[command(flatten)]
    pub api: ApiOptions,
    /// Dataset, such as http_requests
    #[arg(long, value_name = "NAME", value_parser = parse_dataset)]
    pub dataset: String,
}

/// Options of `logpushd job validate`.
#[derive(Debug, Args)]
pub struct ValidateOptions {
    #[command(flatten)]
    pub api: ApiOptions,
    #[command(flatten)]
    pub destination: DestinationOptions,
    /// Dataset of the job, for --endpoint
    #[arg(long, value_name = "NAME", value_parser = parse_dataset, requires = "endpoint")]
    pub dataset: Option<String>,
    /// Also check this filter against Cloudflare's documented rules
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub filter: Option<String>,
}

/// Options for the destination of a job.
#[derive(Debug, Args)]
pub struct DestinationOptions {
    #[command(flatten)]
    pub source: DestinationSource,
    #[command(flatten)]
    pub config: ConfigFile,
    /// Public host of the daemon, for --endpoint [default: the first name of its certificate]
    #[arg(long, value_name = "NAME[:PORT]", requires = "endpoint")]
    pub host: Option<String>,
}

/// The mutually exclusive sources of the destination.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct DestinationSource {
    /// Destination of the job; @FILE reads a file, - reads standard input
    ///
    /// For example, https://logs.example.com/logpush/http_requests?header_X-Logpush-Secret=SECRET. Other
    /// users of this machine can see the command line while the command runs, and the shell stores it in its
    /// history. Reading the destination from a file or standard input avoids both.
    #[arg(long = "destination", value_name = "URL|@FILE|-")]
    pub text: Option<String>,
    /// The former spelling of --destination @FILE.
    #[arg(long = "destination-file", value_name = "FILE", hide = true)]
    pub file: Option<PathBuf>,
    /// Use the destination of this endpoint of the configuration, as logpushd destination prints it
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<String>,
}

/// Options for the settings of a job.
#[derive(Debug, Args)]
pub struct JobSettings {
    /// Name of the job: letters, digits, '.', '-' and '_'
    #[arg(long, value_parser = limits::job_name)]
    pub name: Option<String>,
    /// Fields to send, in this order, such as ClientIP,RayID
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub fields: Option<Vec<String>>,
    /// Send all fields that the dataset has now
    #[arg(long, conflicts_with = "fields")]
    pub all_fields: bool,
    /// Send only records that match this filter, {"where":{...}}; an empty filter matches all records
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub filter: Option<String>,
    /// Record format, ndjson or csv [default of Cloudflare: ndjson]
    #[arg(long, value_name = "TYPE")]
    pub output_type: Option<OutputType>,
    /// Timestamp format: rfc3339ns, rfc3339ms, rfc3339, unixnano or unix [default for a new job: rfc3339ns]
    #[arg(long, value_name = "FORMAT")]
    pub timestamp_format: Option<TimestampFormat>,
    /// Text before each batch; this and the following options interpret \n, \r, \t and \\
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub batch_prefix: Option<String>,
    /// Text after each batch
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub batch_suffix: Option<String>,
    /// Text before each record
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub record_prefix: Option<String>,
    /// Text after each record
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub record_suffix: Option<String>,
    /// Text between records
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub record_delimiter: Option<String>,
    /// Go text/template for a record, such as {"ip":{{.ClientIP}}}
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub record_template: Option<String>,
    /// Text between fields
    #[arg(long, value_name = "TEXT", value_parser = limits::unescape)]
    pub field_delimiter: Option<String>,
    /// Fraction of the records to send, such as 0.1
    #[arg(long, value_name = "RATE", value_parser = limits::sample_rate)]
    pub sample_rate: Option<f64>,
    /// Replace ${ with x{ to protect readers of the logs from CVE-2021-44228 (Log4Shell)
    #[arg(long = "cve-2021-44228", value_name = "BOOL", num_args = 0..=1,
        default_missing_value = "true", require_equals = true)]
    pub cve_2021_44228: Option<bool>,
    /// Merge subrequests into the record of their request; http_requests only
    #[arg(long, value_name = "BOOL", num_args = 0..=1,
        default_missing_value = "true", require_equals = true)]
    pub merge_subrequests: Option<bool>,
    /// Maximum uncompressed batch size, 5MB to 1GB, or 0 for Cloudflare's default; 16MB suits logpushd
    #[arg(long, value_name = "SIZE", value_parser = limits::upload_bytes)]
    pub max_upload_bytes: Option<u64>,
    /// Maximum number of records in a batch, 1000 to 1000000, or 0 for Cloudflare's default
    #[arg(long, value_name = "COUNT", value_parser = limits::upload_records)]
    pub max_upload_records: Option<u64>,
    /// Maximum time between batches, 30s to 5m, or 0 for Cloudflare's default
    #[arg(long, value_name = "TIME", value_parser = limits::upload_interval)]
    pub max_upload_interval: Option<u64>,
}

impl JobSettings {
    /// Returns the settings that belong to `output_options`.
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
