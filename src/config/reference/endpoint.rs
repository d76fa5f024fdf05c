//! Where jobs post to.

use super::{
    Key, Table,
    Takes::{Flag, List, OneOf, String},
    Without::{Default, Means, Refused},
};

pub(super) const TABLES: &[Table] = &[Table {
    name: "endpoint.NAME",
    text: "Where a Logpush job posts; at least one. NAME is yours, 1 to 64 of `A-Z`, `a-z`, `0-9`, \
           `_` and `-`; it stands in metrics, in the log and in the names of waiting batches. Each \
           endpoint needs a `secret_file`, `auth = \"none\"`, or `client_ca_file` in \
           `[server.tls]`.",
    keys: &[
        Key {
            name: "path",
            takes: String("path of a URL"),
            without: Refused { example: "\"/logpush/{dataset}\"" },
            text: "The path that is posted to. `{dataset}` stands for the name of the dataset: 1 \
                   to 64 of `a-z`, `0-9` and `_`. The request itself does not say which dataset it \
                   carries, so each job gets a path of its own. A query behind it is ignored. No \
                   two endpoints may take the same path; one without `{dataset}` goes before one \
                   with it. With `protocol = \"splunk_hec\"` it is what stands before `/raw` and \
                   `/event`, and may be left out.",
        },
        Key {
            name: "dataset",
            takes: String("name of a dataset"),
            without: Means { text: "the path has `{dataset}`", example: "\"http_requests\"" },
            text: "Beside a path without `{dataset}`, and only there: the dataset that it is for. \
                   It names the files and the series of metrics.",
        },
        Key {
            name: "datasets",
            takes: List("name of a dataset"),
            without: Means {
                text: "all of Cloudflare, and 256 others",
                example: "[\"http_requests\", \"firewall_events\"]",
            },
            text: "With `{dataset}` in `path`: the datasets that may be written through this \
                   endpoint. Any other gets 404, once the secret is verified. Without the list, an \
                   endpoint takes every dataset that Cloudflare has and the first 256 other names \
                   of a run of the daemon, since each may become a directory; more get 413.",
        },
        Key {
            name: "protocol",
            takes: OneOf(&["logpush", "splunk_hec"]),
            without: Default("\"logpush\""),
            text: "What is spoken: Logpush to an HTTP destination, or Splunk's HTTP Event \
                   Collector, which a job with a `splunk://` destination speaks. For the latter \
                   `path` is the prefix and `\"/services/collector\"` by default, `dataset` is \
                   `\"splunk_hec\"` by default, and the lines of `secret_file` are tokens. See \
                   docs/splunk-hec.md.",
        },
        Key {
            name: "secret_file",
            takes: String("path"),
            without: Means { text: "see `auth`", example: "\"secrets.txt\"" },
            text: "A file in which every non-empty line is a live secret, so that a new one can be \
                   added before the old one goes. A line `name: value` names its secret (1 to 64 of \
                   `A-Z`, `a-z`, `0-9`, `_`, `.` and `-`, then a colon and a space): the log shows \
                   the name when the secret is first used, and \
                   `logpushd_secret_last_used_timestamp_seconds` when it was last used. The sender \
                   shows the value; the whole line is accepted as well. Make a secret with \
                   `openssl rand -hex 32`, readable by the daemon's user alone. A file without one \
                   is an error.",
        },
        Key {
            name: "secret_header",
            takes: String("name of a header"),
            without: Default("\"X-Logpush-Secret\""),
            text: "The HTTP header that carries the secret: the job's destination ends with \
                   `?header_X-Logpush-Secret=SECRET` then. Case does not matter. Only with \
                   `secret_file`.",
        },
        Key {
            name: "auth",
            takes: OneOf(&["none"]),
            without: Means {
                text: "a secret or a client certificate is demanded",
                example: "\"none\"",
            },
            text: "`\"none\"` lets anyone post who reaches the address: for tests on loopback, or \
                   behind a proxy that checks the sender. Not beside `secret_file`.",
        },
        Key {
            name: "allow_from",
            takes: List("addresses or networks"),
            without: Means {
                text: "any address may post",
                example: "[\"192.0.2.0/24\", \"2001:db8::/32\"]",
            },
            text: "Source addresses that may post; others are answered 403. A second door, not the \
                   first: Cloudflare's addresses serve all of its customers. Behind a proxy, it is \
                   the proxy's address that counts.",
        },
        Key {
            name: "sinks",
            takes: List("names of sinks"),
            without: Means { text: "all sinks", example: "[\"archive\"]" },
            text: "The sinks that get what is posted here.",
        },
        Key {
            name: "format",
            takes: OneOf(&["json", "csv", "text"]),
            without: Default("\"json\""),
            text: "The form of the records: JSON objects (a line each, in an array, or in an \
                   object around one), rows, or lines of anything. Rows and lines become JSON \
                   objects. See docs/formats.md.",
        },
        Key {
            name: "delimiter",
            takes: OneOf(&[",", ";", "\\t", "|"]),
            without: Default("\",\""),
            text: "What stands between the cells of a row; only with `format = \"csv\"`. The same \
                   as the job's `field_delimiter`.",
        },
        Key {
            name: "columns",
            takes: List("names of columns"),
            without: Means {
                text: "`header = true` is needed",
                example: "[\"ClientIP\", \"EdgeStartTimestamp\", \"RayID\"]",
            },
            text: "The names of the columns; only with `format = \"csv\"`. Logpush writes no row of \
                   names by itself: list the job's `field_names`, in their order. A first row that \
                   repeats them is skipped. They may come to 64 KiB.",
        },
        Key {
            name: "header",
            takes: Flag,
            without: Default("false"),
            text: "Whether the first row of each body names the columns; only with \
                   `format = \"csv\"`, and instead of `columns`. Set it only if each body has such \
                   a row, as one that a job's `batch_prefix` writes: else a record is taken for it.",
        },
    ],
}];
