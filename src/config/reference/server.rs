//! The listeners, and everything that there is once.

use super::{
    Key, Table,
    Takes::{Count, Duration, Flag, List, OneOf, Size, String, StringOrList},
    Without::{Default, Means, Refused},
};

pub(super) const LISTENER: &[Table] = &[
    Table {
        name: "server",
        text: "The public HTTPS listener.",
        keys: &[
            Key {
                name: "address",
                takes: StringOrList("IP address and port"),
                without: Default("\"0.0.0.0:8443\""),
                text: "Where to listen. Cloudflare pushes to any port; below 1024 the daemon needs a \
                       privilege (CAP_NET_BIND_SERVICE) or a socket from systemd. `\"[::]:8443\"` \
                       takes IPv6, and IPv4 too where that is the system's default; beside an IPv4 \
                       address with the same port in the list it takes IPv6 only. Behind a proxy or a \
                       redirect on the same machine use 127.0.0.1.",
            },
            Key {
                name: "proxy_protocol_from",
                takes: List("address or network"),
                without: Means {
                    text: "no connection begins with a PROXY protocol header",
                    example: "[\"127.0.0.1\", \"192.0.2.0/28\"]",
                },
                text: "Proxies that pass TLS through and tell the client's address by the PROXY \
                       protocol, version 1 or 2. Every connection from these addresses must begin \
                       with such a header, and the address in it counts for `allow_from`, limits \
                       and the log. Headers from any other address are refused. Name only proxies \
                       of yours: they can claim any address. See docs/guide/proxy.md.",
            },
        ],
    },
    Table {
        name: "server.tls",
        text: "Certificate and key. Cloudflare accepts only a certificate that is publicly \
               trusted, is for the host name in the job's destination, and is sent with its full \
               chain.",
        keys: &[
            Key {
                name: "cert_file",
                takes: String("path"),
                without: Refused { example: "\"fullchain.pem\"" },
                text: "A PEM file with the certificate and then every intermediate; ACME clients \
                       call it `fullchain.pem`. With `self_signed` it may be left out, and is \
                       `fullchain.pem` beside the configuration then.",
            },
            Key {
                name: "key_file",
                takes: String("path"),
                without: Refused { example: "\"privkey.pem\"" },
                text: "A PEM file with the private key, as PKCS#8, PKCS#1 or SEC1. Let only the \
                       daemon's user read it. With `self_signed` it may be left out, and is \
                       `privkey.pem` then.",
            },
            Key {
                name: "self_signed",
                takes: Flag,
                without: Default("false"),
                text: "For development: makes the two files above for localhost and 127.0.0.1, if \
                       both are missing. Valid for ten years. Cloudflare refuses such a certificate.",
            },
            Key {
                name: "client_ca_file",
                takes: String("path"),
                without: Means {
                    text: "no client certificate is asked for",
                    example: "\"ca.pem\"",
                },
                text: "Mutual TLS: a client must show a certificate that a CA of this PEM file \
                       signed, at every endpoint; an endpoint may do without a secret then. \
                       Logpush has no certificate to show, so this is for other senders or for a \
                       proxy in front.",
            },
            Key {
                name: "min_version",
                takes: OneOf(&["1.2", "1.3"]),
                without: Default("\"1.2\""),
                text: "The oldest version of TLS that is spoken. Cloudflare speaks both. `\"1.3\"` \
                       if a policy demands it and no older client has to connect.",
            },
        ],
    },
    Table {
        name: "server.tls.acme",
        text: "Instead of `cert_file` and `key_file`: the daemon gets its certificate from an ACME \
               directory, as Let's Encrypt's, and renews it when a third of its life is left. It \
               answers the challenge (TLS-ALPN-01) on its own listener, and the directory connects \
               to port 443 for that: listen there, or forward that port. See \
               docs/certificates.md.",
        keys: &[
            Key {
                name: "domains",
                takes: StringOrList("name of a host"),
                without: Refused { example: "[\"logs.example.com\"]" },
                text: "The names that the certificate is for: what the jobs' destinations connect \
                       to. Each must lead here. No wildcards and no addresses.",
            },
            Key {
                name: "contact",
                takes: String("mailto: address"),
                without: Means {
                    text: "the account has none",
                    example: "\"mailto:ops@example.com\"",
                },
                text: "Where the authority may reach you. Let's Encrypt no longer sends reminders.",
            },
            Key {
                name: "directory_url",
                takes: String("URL"),
                without: Default("\"https://acme-v02.api.letsencrypt.org/directory\""),
                text: "The directory. By using it you agree to the terms of the authority behind \
                       it. Try with a staging directory first: the limits on failures are tight.",
            },
            Key {
                name: "directory_ca_file",
                takes: String("path"),
                without: Means {
                    text: "the authorities of the public web",
                    example: "\"pebble.pem\"",
                },
                text: "A PEM file with whom to trust about the directory's own certificate: for a \
                       directory of one's own.",
            },
            Key {
                name: "cache_dir",
                takes: String("path"),
                without: Means { text: "the folder `acme` in `spool.dir`", example: "\"acme\"" },
                text: "Where account and certificate are kept, for the daemon's user alone. With a \
                       certificate here a start needs no directory.",
            },
        ],
    },
];

pub(super) const REST: &[Table] = &[
    Table {
        name: "spool",
        text: "The durable queue: a batch is here, on disk, from the 200 to Cloudflare until every \
               sink has it.",
        keys: &[
            Key {
                name: "dir",
                takes: String("path"),
                without: Default("\"/var/lib/logpushd\""),
                text: "The state folder: waiting batches, how far each sink is, which batches are \
                       known. It is made if missing. It needs a local filesystem on a disk that \
                       honours fsync, and one daemon alone uses it.",
            },
            Key {
                name: "max_bytes",
                takes: Size,
                without: Default("\"10GiB\""),
                text: "What may wait, as sent (gzipped). Beyond it batches are refused with 503, \
                       and Cloudflare sends them again for some hours. Make it as large as what \
                       Cloudflare sends in the longest outage of a sink that is to cost nothing. \
                       Whatever it says, 256 MiB of the disk (or a twentieth of a small one) stay \
                       free.",
            },
            Key {
                name: "dedup_window",
                takes: Duration,
                without: Default("\"24h\""),
                text: "A batch that arrives again within this time, byte for byte the same once \
                       inflated, is answered 200 and not delivered again. `\"0s\"` switches that \
                       off. 200,000 batches are remembered at most. Lower it only if senders mean \
                       to send the same bytes twice.",
            },
        ],
    },
    Table {
        name: "limits",
        text: "What one request, and all of them together, may cost. A refused batch is sent again \
               with the same bytes until the job is disabled after 24 hours, so a limit that is \
               too low stops the job.",
        keys: &[
            Key {
                name: "max_body_bytes",
                takes: Size,
                without: Default("\"256MiB\""),
                text: "One request's body as sent, gzipped. A larger one is refused with 413. Not \
                       above `limits.max_in_flight_bytes`. Keep it above a quarter of the job's \
                       `max_upload_bytes`, which counts inflated bytes.",
            },
            Key {
                name: "max_inflated_bytes",
                takes: Size,
                without: Default("\"2GiB\""),
                text: "The same body inflated; beyond it 413. It is inflated piece by piece, so \
                       this is not memory. Above the job's `max_upload_bytes`, which may be 1 GB \
                       at most. It holds as well for all records that are made of a body of CSV or \
                       text, in which names are repeated.",
            },
            Key {
                name: "max_record_bytes",
                takes: Size,
                without: Default("\"8MiB\""),
                text: "One record, from 1 KiB to 1 GiB, not above `limits.max_inflated_bytes`. A \
                       longer one goes to the quarantine, the others of its batch are accepted. An \
                       upload may cost about twice this in memory while it has such a record.",
            },
            Key {
                name: "max_in_flight_bytes",
                takes: Size,
                without: Default("\"256MiB\""),
                text: "The bodies of all requests under way, as sent; not below \
                       `limits.max_body_bytes`. Beyond it, or beyond 512 bodies, 503. They are on \
                       disk, not in memory. Raise it if many jobs push at the same time and the \
                       log says `too many uploads at once`.",
            },
            Key {
                name: "max_connections",
                takes: Count,
                without: Default("1024"),
                text: "Open connections. 64 beyond it are answered 503, others wait in the kernel. \
                       Each takes a file descriptor: raise `LimitNOFILE` with it.",
            },
            Key {
                name: "max_connections_per_address",
                takes: Count,
                without: Default("256"),
                text: "Open connections of one address, or of one /64 of IPv6. A new connection \
                       beyond it takes the place of one that has not shown a right secret; if all \
                       have, it is closed. Cloudflare uses few addresses, and behind a proxy all \
                       senders share one: keep it generous.",
            },
        ],
    },
    Table {
        name: "quarantine",
        text: "Where records go that are no valid JSON object in UTF-8 or are too long, beside the \
               reason. They are answered 200: Cloudflare would send the same bytes again for \
               hours. `logpushd quarantine list` says what is there, `logpushd quarantine replay` \
               sends it again.",
        keys: &[
            Key {
                name: "dir",
                takes: String("path"),
                without: Means {
                    text: "`quarantine` in `spool.dir`",
                    example: "\"/var/lib/logpushd/quarantine\"",
                },
                text: "The folder; it is made if missing.",
            },
            Key {
                name: "max_bytes",
                takes: Size,
                without: Default("\"1GiB\""),
                text: "What may lie there. Looked after every minute: the oldest files go first, \
                       and the log names each. Where losing a record is worse than a full disk, \
                       raise it.",
            },
            Key {
                name: "max_age",
                takes: Duration,
                without: Default("\"30d\""),
                text: "How long something lies there; more than 0. Long enough for somebody to \
                       notice, to mend the cause, and to replay.",
            },
        ],
    },
    Table {
        name: "admin",
        text: "Probes and metrics: `/healthz`, `/readyz`, `/metrics` and `/version` in plain HTTP, \
               without a password.",
        keys: &[
            Key {
                name: "address",
                takes: String("IP address and port"),
                without: Default("\"127.0.0.1:9464\""),
                text: "Only a loopback address: put a proxy in front for others. If the key is \
                       left out and another program has the port, the daemon runs without this \
                       listener; if it is there, the daemon does not start then.",
            },
            Key {
                name: "allowed_hosts",
                takes: List("name or IP address of a host"),
                without: Means {
                    text: "only `localhost` and IP addresses",
                    example: "[\"metrics.example.com\"]",
                },
                text: "Further hosts by which clients may ask, without a port: names that a proxy \
                       or a scraper sends in `Host`. A request for any other name is answered 421, \
                       so that no web page can read the answers by DNS rebinding.",
            },
        ],
    },
    Table {
        name: "log",
        text: "The daemon's own log, on standard error.",
        keys: &[
            Key {
                name: "level",
                takes: OneOf(&["error", "warn", "info", "debug", "trace"]),
                without: Default("\"info\""),
                text: "The least that is logged. `\"info\"` has a line for each batch; `\"warn\"` \
                       only what somebody should look at. Nothing of it holds a header, a query, a \
                       body or a secret.",
            },
            Key {
                name: "format",
                takes: OneOf(&["text", "json"]),
                without: Default("\"text\""),
                text: "`\"json\"` is one object a line, for a log collector.",
            },
            Key {
                name: "audit_file",
                takes: String("path"),
                without: Means {
                    text: "there is no audit log",
                    example: "\"/var/log/logpushd/audit.ndjson\"",
                },
                text: "A file to which the daemon appends events of security as lines of JSON: \
                       starts and stops, reloads with the changed keys, changes of secrets and \
                       certificates, replays, and failed authentications by network. Mode 0600; \
                       opened again at SIGHUP and SIGUSR1. See docs/audit.md.",
            },
        ],
    },
];
