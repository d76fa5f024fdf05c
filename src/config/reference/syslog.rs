//! Syslog servers.

use super::{
    Key, Table,
    Takes::{Duration, Names, OneOf, Size, String, StringOrList},
    Without::{Default, Means, Refused},
};

pub(super) const TABLES: &[Table] = &[
    Table {
        name: "sink.NAME.syslog",
        text: "A message for each record, to a server of RFC 5424 or RFC 3164: at least once and \
               in order over TCP, TLS and unix sockets, best effort over UDP. docs/sinks.md has \
               recipes for rsyslog, syslog-ng and journald.",
        keys: &[
            Key {
                name: "address",
                takes: StringOrList("address"),
                without: Refused { example: "\"tcp://siem.example.com:601\"" },
                text: "`tcp://HOST:PORT`, `tls://HOST:PORT`, `udp://HOST:PORT` or `unix://PATH`. \
                       Of several the first that works is used.",
            },
            Key {
                name: "format",
                takes: OneOf(&["rfc5424", "rfc3164"]),
                without: Default("\"rfc5424\""),
                text: "The form of a message's header. `\"rfc3164\"` has neither a year nor a \
                       zone; it is what journald and old servers take.",
            },
            Key {
                name: "framing",
                takes: OneOf(&["octet_counting", "newline"]),
                without: Means {
                    text: "`\"octet_counting\"`, on a unix stream `\"newline\"`",
                    example: "\"octet_counting\"",
                },
                text: "How messages are told apart on a stream, RFC 6587. `\"newline\"` for \
                       servers that do not know octet counting.",
            },
            Key {
                name: "message",
                takes: OneOf(&["json", "cef", "leef"]),
                without: Default("\"json\""),
                text: "What follows the header: the record as it came, or CEF or LEEF for ArcSight \
                       and QRadar. See docs/message-formats.md.",
            },
            Key {
                name: "leef_version",
                takes: OneOf(&["2.0", "1.0"]),
                without: Default("\"2.0\""),
                text: "The version of LEEF that `message = \"leef\"` writes. In both, tabs separate \
                       the attributes. The header of 2.0 names the tab as `x09`; use `\"1.0\"` for \
                       parsers that take `x09` literally.",
            },
            Key {
                name: "max_message_bytes",
                takes: Size,
                without: Default("\"64KiB\""),
                text: "The longest message, header and all: 1 KiB to 64 MiB; with a `udp://` \
                       address at most 65507 bytes, which is the default then. Not above what the \
                       server takes: rsyslog 8 KiB by default, syslog-ng 64 KiB.",
            },
            Key {
                name: "oversize",
                takes: OneOf(&["truncate", "drop"]),
                without: Default("\"truncate\""),
                text: "A longer message loses whole fields, the longest first, and names them in \
                       the field `LogpushdDropped`; or it is left out. Both are counted in \
                       `logpushd_sink_oversize_records_total`.",
            },
            Key {
                name: "timeout",
                takes: Duration,
                without: Default("\"10s\""),
                text: "How long connecting may take, a TLS handshake, and a write of which nothing \
                       is taken; more than 0.",
            },
            Key {
                name: "resend_window",
                takes: Duration,
                without: Default("\"5s\""),
                text: "What was sent within this time before a connection broke is sent again, and \
                       batches stay in the spool for as long. Raise it if the server holds \
                       messages in memory for longer; lower it, down to `\"0s\"`, if its \
                       connections all break sooner than that.",
            },
            Key {
                name: "failback",
                takes: Duration,
                without: Default("\"1m\""),
                text: "With several addresses: so long after its failure a server is preferred \
                       again.",
            },
            Key {
                name: "time",
                takes: OneOf(&["received", "event"]),
                without: Default("\"received\""),
                text: "The time in the header: of the batch, or of the record where it has one.",
            },
            Key {
                name: "facility",
                takes: OneOf(&[
                    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp",
                    "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock", "local0",
                    "local1", "local2", "local3", "local4", "local5", "local6", "local7",
                ]),
                without: Default("\"local0\""),
                text: "The facility of every message.",
            },
            Key {
                name: "severity",
                takes: OneOf(&[
                    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
                ]),
                without: Default("\"info\""),
                text: "The severity of a message for which `severity_values` has none.",
            },
            Key {
                name: "severity_field",
                takes: String("name of a field"),
                without: Means { text: "`severity` holds for all", example: "\"Action\"" },
                text: "A field at the top of a record that decides on its severity. Only with \
                       `severity_values`.",
            },
            Key {
                name: "severity_values",
                takes: Names("values and severities"),
                without: Means {
                    text: "`severity` holds for all",
                    example: "{ block = \"warning\", managed_challenge = \"notice\" }",
                },
                text: "The values of that field, and the severity of each. Only with \
                       `severity_field`.",
            },
            Key {
                name: "hostname",
                takes: String("name"),
                without: Means { text: "the name of the machine", example: "\"logs.example.com\"" },
                text: "The host in the header: up to 255 printable characters without spaces.",
            },
            Key {
                name: "app_name",
                takes: String("name to fill in"),
                without: Default("\"logpushd\""),
                text: "The application in the header; with `\"rfc3164\"` the tag. `{dataset}` and \
                       `{endpoint}` are filled in; up to 48 characters beside them.",
            },
            Key {
                name: "msgid",
                takes: String("name to fill in"),
                without: Default("\"{dataset}\""),
                text: "The kind of message in the header, filled in likewise; up to 32 characters. \
                       Only with `\"rfc5424\"`.",
            },
            Key {
                name: "structured_data",
                takes: Names("IDs, each a table of names and values"),
                without: Means {
                    text: "none",
                    example: "{ origin = { software = \"logpushd\" } }",
                },
                text: "Structured data of every message; values are filled in likewise. Only with \
                       `\"rfc5424\"`.",
            },
        ],
    },
    Table {
        name: "sink.NAME.syslog.tls",
        text: "For `tls://` addresses; refused if there is none. Certificates are read anew for \
               each connection.",
        keys: &[
            Key {
                name: "ca_file",
                takes: String("path"),
                without: Means { text: "whom the system trusts", example: "\"siem-ca.pem\"" },
                text: "PEM: the authorities that may sign the server's certificate, or the server's \
                       certificate itself, also if it is self-signed.",
            },
            Key {
                name: "cert_file",
                takes: String("path"),
                without: Means { text: "no certificate is shown", example: "\"client.pem\"" },
                text: "PEM: the certificate to show, with its intermediates. Only with `key_file`.",
            },
            Key {
                name: "key_file",
                takes: String("path"),
                without: Means { text: "no certificate is shown", example: "\"client.key\"" },
                text: "PEM: its private key. Only with `cert_file`.",
            },
            Key {
                name: "server_name",
                takes: String("name or IP address"),
                without: Means { text: "the host of the address", example: "\"siem.example.com\"" },
                text: "The name that must stand in the server's certificate: for an address that \
                       is an IP address or an alias.",
            },
        ],
    },
];
