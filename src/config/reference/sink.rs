//! Where records go: what every sink has, files, and standard output.

use super::{
    Key, Table,
    Takes::{Count, Duration, List, Names, OneOf, Size, String},
    Without::{Default, Means, Refused},
};

pub(super) const TABLES: &[Table] = &[
    Table {
        name: "sink.NAME.KIND",
        text: "Where records go; at least one. NAME is yours, as for an endpoint; KIND is one of \
               those below. Each sink takes batches at its own pace, and holds up nobody else \
               until the spool is full. These keys are for every kind. See docs/choosing.md.",
        keys: &[
            Key {
                name: "when_full",
                takes: OneOf(&["block", "drop"]),
                without: Default("\"block\""),
                text: "When the spool is full and this sink is behind: `\"block\"` refuses new \
                       batches with 503 until it has caught up; `\"drop\"` drops the oldest \
                       batches that only such sinks lack and that none has begun, logs it, and \
                       counts them in `logpushd_sink_dropped_records_total`. For a sink that may \
                       rather lose records than stop the others.",
            },
            Key {
                name: "datasets",
                takes: List("names of datasets"),
                without: Means {
                    text: "all datasets",
                    example: "[\"http_requests\", \"firewall_events\"]",
                },
                text: "Only batches of these datasets. Others are not even read for this sink.",
            },
            Key {
                name: "endpoints",
                takes: List("names of endpoints"),
                without: Means {
                    text: "all endpoints that have this sink among their `sinks`",
                    example: "[\"main\"]",
                },
                text: "Only batches of these endpoints.",
            },
            Key {
                name: "where",
                takes: Names("fields and conditions"),
                without: Means {
                    text: "all records",
                    example: "{ EdgeResponseStatus = { ge = 500 }, Action = [\"block\", \"log\"] }",
                },
                text: "Only records for which all of this holds. A field stands for one value or a \
                       list of them, or has the operators `ge`, `gt`, `le`, `lt`, `not` and \
                       `exists`; a dot in quotes leads into an object. A string never equals a \
                       number. What never leaves Cloudflare costs least: filter in the job where \
                       no other sink wants the rest.",
            },
            Key {
                name: "keep_fields",
                takes: List("names of fields"),
                without: Means { text: "all fields", example: "[\"RayID\", \"ClientIP\"]" },
                text: "These fields alone; a dot leads to a part of a field. Not beside \
                       `drop_fields`.",
            },
            Key {
                name: "drop_fields",
                takes: List("names of fields"),
                without: Means { text: "all fields", example: "[\"RequestHeaders.cookie\"]" },
                text: "All fields but these. Not beside `keep_fields`.",
            },
            Key {
                name: "rename",
                takes: Names("old and new names"),
                without: Means { text: "names as they came", example: "{ ClientIP = \"src_ip\" }" },
                text: "Other names for whole fields. `where`, `keep_fields` and `drop_fields` mean \
                       the old ones.",
            },
        ],
    },
    Table {
        name: "sink.NAME.file",
        text: "Lines of JSON in files: each record exactly once, in whole lines and in order, also \
               after `kill -9`. See docs/sinks.md.",
        keys: &[
            Key {
                name: "path",
                takes: String("path to fill in"),
                without: Refused { example: "\"/var/log/logpushd/{dataset}/%Y-%m-%d.ndjson\"" },
                text: "`{dataset}` and `{endpoint}` are filled in, and `%Y`, `%m`, `%d`, `%H` and \
                       the like with a time in UTC. What stands before the first of these is the \
                       base, a directory that no file and no link leads out of: behind it, no link is \
                       followed. `{{`, `}}` and `%%` \
                       stand for a brace and a percent sign. Folders are made. No two sinks may \
                       write to the same files.",
            },
            Key {
                name: "time",
                takes: OneOf(&["received", "event"]),
                without: Default("\"received\""),
                text: "The time that is filled in: that of the batch, or of each record, from the \
                       field that its dataset has for it. With `\"event\"` every record is looked \
                       into; one without a usable time goes by the receipt.",
            },
            Key {
                name: "event_window.past",
                takes: Duration,
                without: Default("\"31d\""),
                text: "With `time = \"event\"`: a record that is older than this at its receipt is filed by \
                       the time of receipt. `\"all\"` files every old record by its own time, as for \
                       an import of history.",
            },
            Key {
                name: "event_window.future",
                takes: Duration,
                without: Default("\"1d\""),
                text: "With `time = \"event\"`: a record whose time is further ahead of its receipt is \
                       filed by the time of receipt.",
            },
            Key {
                name: "mode",
                takes: String("octal permissions"),
                without: Default("\"0640\""),
                text: "The permissions of a new file, whatever the umask; its owner must be able \
                       to read and write. Folders may be entered by whoever may read.",
            },
            Key {
                name: "owner",
                takes: String("user"),
                without: Means { text: "the daemon's user", example: "\"root\"" },
                text: "Who owns new files and folders: a name in /etc/passwd, or a number as text. \
                       It takes CAP_CHOWN.",
            },
            Key {
                name: "group",
                takes: String("group"),
                without: Means { text: "the daemon's group", example: "\"adm\"" },
                text: "The group of new files and folders: a name in /etc/group, or a number as \
                       text. The daemon's user must be in it. To let people read the files without \
                       being root.",
            },
            Key {
                name: "rotate.max_bytes",
                takes: Size,
                without: Means {
                    text: "files end by the time in `path` alone",
                    example: "\"1GiB\"",
                },
                text: "A file `NAME.ndjson` is renamed to `NAME.ndjson.20261121T230000Z` after the \
                       batch that brings it to this size, and an empty `NAME.ndjson` takes its place.",
            },
            Key {
                name: "rotate.max_age",
                takes: Duration,
                without: Means {
                    text: "files end by the time in `path` alone",
                    example: "\"24h\"",
                },
                text: "The same, so long after its first record, also if nothing more comes; more \
                       than 0. With both, whichever comes first.",
            },
            Key {
                name: "compress",
                takes: OneOf(&["none", "gzip", "zstd"]),
                without: Default("\"none\""),
                text: "What becomes of finished files, beside the delivery and at a low priority. \
                       A file is finished when it was rotated, or when the date in its path has \
                       passed; a file that was not rotated keeps its name.",
            },
            Key {
                name: "compress_after",
                takes: Duration,
                without: Default("\"10m\""),
                text: "How long a finished file stays plain, so that a program that reads it can \
                       come to its end. `\"0s\"` compresses at once; `\"next\"` when the next file \
                       of the same endpoint and dataset is finished.",
            },
            Key {
                name: "retain.files",
                takes: Count,
                without: Means { text: "all files stay", example: "30" },
                text: "So many finished files of each endpoint and dataset stay. A file is \
                       finished when it was rotated, or when time has led the path to another one. \
                       Only files that this sink began since `retain` or `compress` is there are \
                       ever removed.",
            },
            Key {
                name: "retain.age",
                takes: Duration,
                without: Means { text: "all files stay", example: "\"90d\"" },
                text: "Those stay that were written to within so long; more than 0.",
            },
            Key {
                name: "retain.bytes",
                takes: Size,
                without: Means { text: "all files stay", example: "\"100GiB\"" },
                text: "So many bytes of all files of the sink together stay; the oldest go first. \
                       To keep a disk from filling up.",
            },
            Key {
                name: "fsync",
                takes: OneOf(&["checkpoint", "batch"]),
                without: Default("\"checkpoint\""),
                text: "When what was written is synced: once a second, or behind each batch as \
                       well. Until then the batch is in the spool, so nothing is lost by \
                       `\"checkpoint\"`.",
            },
        ],
    },
    Table {
        name: "sink.NAME.stdout",
        text: "Standard output, for a pipe or a terminal, at least once. There can be one. When \
               the reader closes the pipe, batches wait for the next start.",
        keys: &[Key {
            name: "format",
            takes: OneOf(&["ndjson", "text"]),
            without: Default("\"ndjson\""),
            text: "Records as they came, or `name=value` for people.",
        }],
    },
];
