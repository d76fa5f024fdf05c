//! The keys of the `splunk_hec` sink.

use reqwest::{Url, header::AUTHORIZATION};
use settings::{
    Context, Table, Value,
    reference::Takes,
    setting, settings,
    types::{Count, PositiveSpan, Size},
    words,
};
use tls::ClientTls;

use crate::{
    network::{self, Compression, HttpUrl, NetworkSettings, SecretFile, SecretHeader},
    origin_text::fill,
};

/// The path of the HTTP Event Collector below the base URL.
const PREFIX: &str = "/services/collector";

/// The longest literal part of a text in an event's metadata.
const MAX_METADATA_BYTES: usize = 1024;

/// The maximum number of chunks in memory while acknowledgments are awaited.
const MAX_WINDOW: usize = 64;

/// The maximum size of these chunks, if that is more than one per connection.
const MAX_WINDOW_BYTES: u64 = 64 << 20;

settings! {
    /// Splunk's HTTP Event Collector (HEC), at least once. With indexer acknowledgment, a record
    /// counts as delivered when Splunk has indexed it. See docs/sinks/splunk_hec.md for the setup
    /// of Splunk.
    pub struct Settings in "sink.NAME.splunk_hec", checked by check {
        /// The URL of the collector, `https://` or `http://`, without `/services/collector`. A
        /// path is kept.
        pub url: BaseUrl as "https://splunk.example.com:8088",
        /// The file with the token of the collector, as its first line.
        ///
        /// The file is read again when Splunk refuses the token, or when a connection fails.
        pub token_file: SecretFile as "hec.txt",
        /// The index of the events. The token must be allowed to write to it. `{dataset}` and
        /// `{endpoint}` are filled in.
        pub index: Option<Metadata> as "cloudflare" else "the default index of the token",
        /// The source of the events. `{dataset}` and `{endpoint}` are filled in.
        pub source: Option<Metadata> as "logpush:{dataset}" else "the default source of the token",
        /// The source type of the events. `{dataset}` and `{endpoint}` are filled in.
        pub sourcetype: Metadata = "cloudflare:json",
        /// The host of the events. `{dataset}` and `{endpoint}` are filled in.
        pub host: Option<Metadata> as "{endpoint}" else "the default host of the token",
        /// Whether to wait for indexer acknowledgment. `"auto"`: if the token has it. `"on"`: the
        /// token must have it. `"off"`: never; the token must not have it.
        pub acknowledgements: Acknowledgements = "auto",
        /// The maximum time from the answer to a request to its acknowledgment. Then the request is
        /// sent again.
        pub acknowledgement_timeout: PositiveSpan = "5m",
        /// The timeout of a request, from connecting to the end of the response.
        pub timeout: PositiveSpan = "60s",
        /// The maximum number of connections, up to 256, each with one request at a time. Up to 64
        /// requests, or 64 MiB of records, may wait for their acknowledgments.
        pub in_flight: Count = 4,
        /// How to compress the bodies of requests.
        pub compression: HecCompression = "gzip",
        /// The maximum size of a request. Larger batches are divided.
        pub batch: Batch,
        /// TLS for `https://` URLs.
        pub tls: ClientTls,
    }
}

settings! {
    /// The limits at which a batch is divided into requests.
    pub struct Batch derive(Copy, Eq) {
        /// The maximum size of a request: the bytes of its records as lines, without the metadata
        /// of each event, before compression. A longer record is a request of its own.
        ///
        /// Splunk Cloud accepts about 5 MiB with the metadata.
        pub max_bytes: Size<1024, { 256 << 20 }> = "1MiB",
        /// The maximum number of records in a request.
        pub max_records: Count = 10000,
    }
}

words! {
    /// `acknowledgements`
    pub enum Acknowledgements {
        /// Waits if the token has indexer acknowledgment.
        Auto = "auto",
        /// Requires that the token has indexer acknowledgment.
        On = "on",
        /// Does not wait.
        Off = "off",
    }
}

words! {
    /// `compression`. Splunk accepts no other encoding.
    pub enum HecCompression {
        /// RFC 1952.
        Gzip = "gzip",
        /// Bodies are not compressed.
        None = "none",
    }
}

setting! {
    /// A URL without placeholders and query.
    pub struct BaseUrl(CollectorUrl): Takes::String("URL"), read by base_url;
}

setting! {
    /// A text in which `{dataset}` and `{endpoint}` are filled in.
    pub struct Metadata(String): Takes::String("text template"), read by metadata;
}

/// The URL of a collector, with the path of its prefix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CollectorUrl {
    /// As in the configuration.
    url: HttpUrl,
    /// With the prefix.
    prefix: Url,
}

impl CollectorUrl {
    fn new(url: HttpUrl) -> Result<Self, String> {
        let mut prefix = url.fill("", "")?;
        let path = prefix.path().trim_end_matches('/');
        // Many guides show the whole path.
        let path = ["/event", "/raw", ""]
            .iter()
            .find_map(|end| path.strip_suffix(end)?.strip_suffix(PREFIX))
            .unwrap_or(path);
        let path = format!("{path}{PREFIX}");
        prefix.set_path(&path);
        Ok(Self { url, prefix })
    }

    /// The URL that accepts events.
    pub(super) fn events(&self) -> Url {
        self.below("event")
    }

    /// The URL that answers whether the events of a channel are indexed.
    pub(super) fn acknowledgments(&self, channel: &str) -> Url {
        let mut url = self.below("ack");
        url.query_pairs_mut().append_pair("channel", channel);
        url
    }

    /// The URL that answers whether the collector accepts events.
    pub(super) fn health(&self) -> Url {
        self.below("health")
    }

    fn below(&self, name: &str) -> Url {
        let mut url = self.prefix.clone();
        url.set_path(&format!("{}/{name}", url.path()));
        url
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.is_https()
    }
}

impl Settings {
    /// The keys of every sink that sends requests.
    pub(super) fn network(&self) -> NetworkSettings {
        NetworkSettings {
            timeout: self.timeout,
            in_flight: self.in_flight,
            compression: match self.compression {
                HecCompression::Gzip => Compression::Gzip,
                HecCompression::None => Compression::None,
            },
            batch: network::Batch {
                max_bytes: self.batch.max_bytes,
                max_records: self.batch.max_records,
            },
            tls: self.tls.clone(),
        }
    }

    /// The header with the token.
    pub(super) fn token(&self) -> SecretHeader {
        SecretHeader::prefixed("token_file", AUTHORIZATION, "Splunk ", self.token_file.clone())
    }

    /// The maximum number of chunks in memory: sent, or waiting for a connection or for their
    /// acknowledgments. An acknowledgment takes much longer than a request, so these are more than
    /// the requests.
    pub(super) fn window(&self) -> usize {
        if self.acknowledgements == Acknowledgements::Off {
            return self.in_flight;
        }
        let fit = MAX_WINDOW_BYTES / self.batch.max_bytes.max(1);
        let fit = usize::try_from(fit).unwrap_or(MAX_WINDOW).min(MAX_WINDOW);
        fit.max(self.in_flight)
    }
}

fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    let network = settings.network();
    network::check_network(&network, table, cx);
    if table.is_valid("url") {
        network.check_url(&settings.url.url, Some("token_file"), table, cx);
    }
}

fn base_url(value: &Value<'_>, cx: &mut Context) -> Option<CollectorUrl> {
    let url = network::read_url(value, cx)?;
    let text = url.to_string();
    let fault = if text.contains('{') {
        "contains a placeholder"
    } else if text.contains('?') {
        "contains a query"
    } else {
        match CollectorUrl::new(url) {
            Ok(url) => return Some(url),
            Err(fault) => {
                cx.push(value.problem(fault));
                return None;
            }
        }
    };
    let message = format!("`{}` {fault}", value.name());
    let hint = "write the base URL of the collector, such as \"https://splunk.example.com:8088\"";
    cx.push(value.problem(message).hint(hint));
    None
}

fn metadata(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let text = value.string(cx)?.into_inner();
    let literal = fill(&text, "", "");
    let fault = if text.is_empty() {
        "is empty"
    } else if literal.contains(['{', '}']) {
        "contains an unknown placeholder: use {dataset} or {endpoint}"
    } else if literal.contains(char::is_control) {
        "contains a control character"
    } else if literal.len() > MAX_METADATA_BYTES {
        "is longer than 1024 bytes"
    } else {
        return Some(text);
    };
    cx.push(value.problem(format!("`{}` {fault}", value.name())));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> [String; 3] {
        let url = CollectorUrl::new(HttpUrl::parse(text).unwrap()).unwrap();
        [url.events(), url.acknowledgments("c-1"), url.health()].map(String::from)
    }

    #[test]
    fn a_path_is_kept_and_the_prefix_is_added_once() {
        for (text, prefix) in [
            ("https://a.example:8088", "https://a.example:8088/services/collector"),
            ("https://a.example/", "https://a.example/services/collector"),
            ("https://a.example/hec/", "https://a.example/hec/services/collector"),
            ("https://a.example/services/collector", "https://a.example/services/collector"),
            ("https://a.example/x/services/collector/", "https://a.example/x/services/collector"),
            ("https://a.example/services/collector/event", "https://a.example/services/collector"),
            ("https://a.example/services/collector/raw", "https://a.example/services/collector"),
            ("https://a.example/event", "https://a.example/event/services/collector"),
        ] {
            let expected = [
                format!("{prefix}/event"),
                format!("{prefix}/ack?channel=c-1"),
                format!("{prefix}/health"),
            ];
            assert_eq!(urls(text), expected, "{text}");
        }
    }

    #[test]
    fn the_window_is_bounded_by_chunks_and_bytes() {
        let mut settings = <Settings as settings::Settings>::sample().unwrap();
        for (max_bytes, in_flight, acknowledgements, expected) in [
            (1 << 20, 4, Acknowledgements::Auto, 64),
            (1 << 20, 100, Acknowledgements::On, 100),
            (1024, 4, Acknowledgements::On, 64),
            (8 << 20, 4, Acknowledgements::On, 8),
            (256 << 20, 4, Acknowledgements::On, 4),
            (1 << 20, 4, Acknowledgements::Off, 4),
        ] {
            settings.batch.max_bytes = max_bytes;
            settings.in_flight = in_flight;
            settings.acknowledgements = acknowledgements;
            assert_eq!(settings.window(), expected);
        }
    }
}
