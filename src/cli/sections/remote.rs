//! Sections of the commands that connect to destinations or to Cloudflare's API.

use super::{
    Described,
    common::{CONFIG, CommandSections, EMPTY, PROXY, example},
};

const TOKEN: Described = ("CLOUDFLARE_API_TOKEN", "The API token, if --token-file is not given.");

const JOB_STATUSES: &[Described<u8>] = &[
    (64, "The command line is invalid, or Cloudflare would refuse a value in it."),
    (69, "The API cannot be reached, or refuses the request."),
];

pub(super) const COMMANDS: &[CommandSections] = &[
    CommandSections {
        command: "logpushd doctor",
        examples: &[
            example(
                "Test a destination, with its secret",
                "logpushd doctor \
                 'https://logs.example.com/logpush/http_requests?header_X-Logpush-Secret=SECRET'",
            ),
            example(
                "Test a destination in a file, so that other users cannot see the secret",
                "logpushd doctor @destination.txt",
            ),
            example(
                "Test a private authority's certificate, without sending a record",
                "logpushd doctor --ca ca.pem --no-batch \
                 https://logs.example.com/logpush/http_requests",
            ),
        ],
        exit_statuses: &[
            (0, "Every step succeeded, possibly with warnings."),
            (64, "The destination is invalid."),
            (69, "A step failed."),
        ],
        see_also: &["logpushd destination", "logpushd cert show"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd job",
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd job list",
        examples: &[example(
            "List the jobs of a zone",
            "logpushd job list --zone 0123456789abcdef0123456789abcdef",
        )],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd job show"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd job show",
        examples: &[example(
            "Show a job of a zone, and what to do if it fails",
            "logpushd job show --zone 0123456789abcdef0123456789abcdef 123456",
        )],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd job list", "logpushd doctor"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd job create",
        examples: &[
            example(
                "Create a job that sends HTTP requests to an endpoint of this daemon",
                "logpushd job create --zone 0123456789abcdef0123456789abcdef --dataset http_requests \\\n  \
                 --endpoint main --fields ClientIP,ClientRequestHost,EdgeResponseStatus,RayID \\\n  \
                 --max-upload-bytes 16MB",
            ),
            example(
                "Print the API requests for a job with all fields, and send nothing",
                "logpushd job create --account 0123456789abcdef0123456789abcdef --dataset gateway_dns \\\n  \
                 --destination @destination.txt --all-fields --dry-run",
            ),
        ],
        files: &[CONFIG],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd destination", "logpushd job fields", "logpushd job validate"],
    },
    CommandSections {
        command: "logpushd job update",
        examples: &[
            example(
                "Limit the batches of a job",
                "logpushd job update --zone 0123456789abcdef0123456789abcdef --max-upload-bytes \
                 16MB 123456",
            ),
            example(
                "Send a job to the new secret of an endpoint",
                "logpushd job update --zone 0123456789abcdef0123456789abcdef --endpoint main \
                 123456",
            ),
        ],
        files: &[CONFIG],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd job show"],
    },
    CommandSections {
        command: "logpushd job enable",
        examples: &[example(
            "Enable a job that Cloudflare has disabled",
            "logpushd job enable --zone 0123456789abcdef0123456789abcdef 123456",
        )],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd job disable"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd job disable",
        examples: &[example(
            "Disable a job",
            "logpushd job disable --zone 0123456789abcdef0123456789abcdef 123456",
        )],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd job enable"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd job delete",
        examples: &[example(
            "Delete a job",
            "logpushd job delete --zone 0123456789abcdef0123456789abcdef --yes 123456",
        )],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd job disable"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd job fields",
        examples: &[example(
            "List the fields of HTTP requests",
            "logpushd job fields --zone 0123456789abcdef0123456789abcdef --dataset http_requests",
        )],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd job create"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd job validate",
        examples: &[example(
            "Make Cloudflare check a destination",
            "logpushd job validate --zone 0123456789abcdef0123456789abcdef --destination \
             @destination.txt",
        )],
        files: &[CONFIG],
        exit_statuses: JOB_STATUSES,
        environment: &[TOKEN, PROXY],
        see_also: &["logpushd doctor"],
    },
    CommandSections {
        command: "logpushd push",
        examples: &[
            example(
                "Send files to a destination in a file",
                "logpushd push @destination.txt logs/*.ndjson.gz",
            ),
            example(
                "Print what would be sent from a directory",
                "logpushd push --dry-run @destination.txt logs",
            ),
            example(
                "Send records from another program",
                "zcat http_requests.json.gz | logpushd push @destination.txt -",
            ),
        ],
        exit_statuses: &[
            (0, "The server accepted everything."),
            (65, "Everything was sent, but the server quarantined records."),
            (69, "The server refused a batch or cannot be reached, or push was interrupted."),
        ],
        see_also: &["logpushd doctor"],
        ..EMPTY
    },
];
