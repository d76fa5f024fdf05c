//! Sections of the commands that work on this machine.

use super::common::{CONFIG, CommandSections, EMPTY, ENVIRONMENT, QUARANTINE, SPOOL, example};

pub(super) const COMMANDS: &[CommandSections] = &[
    CommandSections {
        command: "logpushd",
        examples: &[
            example(
                "Try logpushd in a clone of the repository",
                "logpushd run -c config/quickstart.toml",
            ),
            example("Check the installed configuration", "logpushd validate"),
            example(
                "Print the destination for a Logpush job",
                "logpushd destination --dataset http_requests",
            ),
            example(
                "Test a destination from another network",
                "logpushd doctor \
                 'https://logs.example.com/logpush/http_requests?header_X-Logpush-Secret=SECRET'",
            ),
        ],
        files: &[CONFIG, SPOOL, QUARANTINE],
        exit_statuses: &[
            (65, "Records are invalid: they are in quarantine or were not sent."),
            (69, "An address, a server or Cloudflare's API is not available."),
        ],
        environment: ENVIRONMENT,
        ..EMPTY
    },
    CommandSections {
        command: "logpushd run",
        examples: &[
            example("Run with the installed configuration", "logpushd run"),
            example(
                "Try logpushd in a clone of the repository",
                "logpushd run -c config/quickstart.toml",
            ),
        ],
        files: &[CONFIG, SPOOL, QUARANTINE],
        exit_statuses: &[
            (0, "A signal stopped the daemon."),
            (69, "An address or a thread is not available."),
            (70, "A bug: a part of the daemon ended unexpectedly."),
            (74, "The state directory or the audit log cannot be used."),
            (78, "The configuration, a certificate or a secret file is invalid."),
        ],
        environment: ENVIRONMENT,
        see_also: &["logpushd validate"],
    },
    CommandSections {
        command: "logpushd validate",
        examples: &[
            example(
                "Check the installed configuration, and fail on warnings",
                "logpushd validate --strict",
            ),
            example("Check another file before it is installed", "logpushd validate new.toml"),
            example(
                "List the positions of all problems",
                "logpushd validate --json | jq -r '.problems[] | \"\\(.line): \\(.message)\"'",
            ),
            example("Check that all sinks can deliver", "logpushd validate --probe"),
        ],
        files: &[CONFIG],
        exit_statuses: &[
            (0, "The configuration is valid, possibly with warnings."),
            (69, "With --probe: the configuration is valid, and a sink cannot deliver."),
            (78, "The configuration has an error, or with --strict a warning."),
        ],
        see_also: &["logpushd doctor"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd destination",
        examples: &[
            example("Print the destination of each endpoint", "logpushd destination"),
            example(
                "Print the destinations of two datasets",
                "logpushd destination --dataset http_requests --dataset dns_logs",
            ),
            example(
                "Print the destinations for a proxy on port 443",
                "logpushd destination --host logs.example.com:443",
            ),
            example(
                "Test the first destination",
                "logpushd destination --json | jq -r '.destinations[0].destination_conf' | \
                 logpushd doctor -",
            ),
        ],
        files: &[CONFIG],
        exit_statuses: &[
            (
                64,
                "The command line is invalid, or names no endpoint or dataset of the \
                 configuration.",
            ),
            (78, "The configuration is invalid, or Cloudflare refuses such a destination."),
        ],
        see_also: &["logpushd doctor", "logpushd job create"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd spool list",
        examples: &[
            example("List the batches in the spool", "logpushd spool list"),
            example("Print the backlog of each sink", "logpushd spool list --json | jq '.sinks'"),
        ],
        files: &[CONFIG, SPOOL],
        see_also: &["logpushd spool verify"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd spool verify",
        examples: &[
            example("Check all batches in the spool", "logpushd spool verify"),
            example(
                "Print the names of damaged files",
                "logpushd spool verify --json | jq -r '.problems[].file'",
            ),
        ],
        files: &[CONFIG, SPOOL],
        exit_statuses: &[
            (0, "Every batch is intact."),
            (74, "A batch is damaged, or a file or directory cannot be read."),
        ],
        see_also: &["logpushd spool list"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd quarantine list",
        examples: &[
            example("List the files in the quarantine", "logpushd quarantine list"),
            example(
                "Print the number of quarantined records",
                "logpushd quarantine list --json | jq '.records'",
            ),
        ],
        files: &[CONFIG, QUARANTINE],
        see_also: &["logpushd quarantine show"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd quarantine show",
        examples: &[
            example("Print the first 100 records", "logpushd quarantine show"),
            example(
                "Print 20 records of one endpoint that are not JSON",
                "logpushd quarantine show --endpoint main --reason not_json --limit 20",
            ),
            example(
                "Print the records in one file in full",
                "logpushd quarantine show --full \
                 /var/lib/logpushd/quarantine/records-2026-11-30.ndjson",
            ),
        ],
        files: &[CONFIG, QUARANTINE],
        exit_statuses: &[(64, "The command line is invalid, or a reason does not exist.")],
        see_also: &["logpushd quarantine list", "logpushd quarantine replay"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd quarantine replay",
        examples: &[
            example("Print what would be sent", "logpushd quarantine replay --dry-run"),
            example(
                "Replay the records of one endpoint",
                "logpushd quarantine replay --endpoint main",
            ),
            example(
                "Replay the records that the target of a sink refused",
                "logpushd quarantine replay --sink collector --reason refused",
            ),
            example("Replay an edited copy of a file", "logpushd quarantine replay fixed.ndjson"),
        ],
        files: &[CONFIG, SPOOL, QUARANTINE],
        exit_statuses: &[
            (0, "The daemon accepted all records."),
            (64, "The command line is invalid, or a sink or reason does not exist."),
            (65, "Records are still invalid, or could not be sent."),
            (69, "The daemon does not answer, or refuses the records."),
        ],
        see_also: &["logpushd quarantine show", "logpushd quarantine delete"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd quarantine delete",
        examples: &[
            example(
                "List what would be deleted",
                "logpushd quarantine delete --before 2026-11-01 --dry-run",
            ),
            example(
                "Delete the old records of one endpoint",
                "logpushd quarantine delete --endpoint main --before 2026-11-01 --yes",
            ),
            example("Delete everything", "logpushd quarantine delete --all --yes"),
        ],
        files: &[CONFIG, SPOOL, QUARANTINE],
        exit_statuses: &[
            (64, "The command line is invalid, or --yes is missing."),
            (69, "The daemon is still writing to a file after 30 seconds."),
        ],
        see_also: &["logpushd quarantine list"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd cert csr",
        examples: &[
            example("Create a key and a request", "logpushd cert csr --name logs.example.com"),
            example(
                "Create a request for a renewal with the same key",
                "logpushd cert csr --name logs.example.com --key logs.example.com.key",
            ),
            example(
                "Create a request for two names with an RSA key",
                "logpushd cert csr --name logs.example.com --san logs.example.net --rsa 2048",
            ),
        ],
        files: &[
            ("NAME.key", "The private key, mode 0600. An existing file is never overwritten."),
            ("NAME.csr", "The certificate request, in PEM."),
        ],
        exit_statuses: &[(78, "The key cannot be used.")],
        see_also: &["logpushd cert show"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd cert show",
        examples: &[
            example("Show the certificate of a server", "logpushd cert show logs.example.com:8443"),
            example(
                "Check that certificate and key belong together",
                "logpushd cert show fullchain.pem --key privkey.pem",
            ),
        ],
        exit_statuses: &[
            (0, "The certificate was shown, even if it is expired or not trusted."),
            (69, "The server does not answer."),
            (78, "A file contains no certificate, or the key of --key does not belong to it."),
        ],
        see_also: &["logpushd cert csr"],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd completions",
        examples: &[
            example(
                "Complete commands in this session of bash",
                "source <(logpushd completions bash)",
            ),
            example(
                "Install the completion of fish",
                "logpushd completions fish > ~/.config/fish/completions/logpushd.fish",
            ),
        ],
        ..EMPTY
    },
    CommandSections {
        command: "logpushd man",
        examples: &[
            example(
                "Read the manual of the configuration",
                "logpushd man logpushd.toml | man -l -",
            ),
            example("Write all pages to a directory", "logpushd man --dir man"),
        ],
        exit_statuses: &[(64, "The command line is invalid, or the page does not exist.")],
        ..EMPTY
    },
];
