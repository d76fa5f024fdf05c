//! The header with which a request names the only sink that gets its records, and the selection that
//! they have already been through, if they are dead letters. `logpushd quarantine replay` sends it.

use hyper::{HeaderMap, header::HeaderName};

use super::refusal::Refusal;
use crate::{
    config::{Endpoint, SINK_HEADER, SinkConfig},
    printable::clipped,
    spool::{MAX_JOINT_NAMES_BYTES, OnlySink},
};

/// Header that names the sink.
pub const SINK: HeaderName = HeaderName::from_static(SINK_HEADER);

/// Separates the name from the fingerprint of the selection.
const SELECTION: &str = "; selection=";

/// Longest name of a sink, and how much of an unknown name an answer repeats.
const MAX_NAME_CHARS: usize = 64;

/// The sinks of an endpoint.
#[derive(Debug)]
pub(super) struct EndpointSinks(Vec<SinkConfig>);

/// Why a batch cannot go to the sink that its sender names.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum UnusableSink {
    /// No sink of this name takes this endpoint and dataset.
    Unknown {
        /// The name in the header.
        sink: String,
    },
    /// The sink has another selection than the one that the records have been through.
    Changed {
        /// The name of the sink.
        sink: String,
    },
    /// The batch's file name would be too long.
    TooLong {
        /// Bytes that the names of endpoint, dataset and sink may have together.
        limit: usize,
    },
}

impl EndpointSinks {
    pub(super) fn of(endpoint: &Endpoint, sinks: &[SinkConfig]) -> Self {
        let named = sinks.iter().filter(|sink| endpoint.sinks.contains(&sink.name));
        Self(named.cloned().collect())
    }

    /// Returns the sink that the request names, if it names one. Must be called after the secret is
    /// verified, so that a stranger learns nothing.
    pub(super) fn requested(
        &self,
        headers: &HeaderMap,
        endpoint: &str,
        dataset: &str,
    ) -> Result<Option<OnlySink>, Refusal> {
        let mut values = headers.get_all(SINK).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let value = String::from_utf8_lossy(value.as_bytes());
        let (name, selection) = match value.split_once(SELECTION) {
            Some((name, selection)) => (name, Some(selection)),
            None => (&*value, None),
        };
        let takes = |sink: &&SinkConfig| sink.name == name && sink.choice.takes(endpoint, dataset);
        let Some(sink) = self.0.iter().find(takes).filter(|_| values.next().is_none()) else {
            let sink = clipped(&value, MAX_NAME_CHARS);
            return Err(Refusal::SinkNotTaken(UnusableSink::Unknown { sink }));
        };
        if endpoint.len() + dataset.len() + sink.name.len() > MAX_JOINT_NAMES_BYTES {
            return Err(Refusal::SinkNotTaken(UnusableSink::TooLong {
                limit: MAX_JOINT_NAMES_BYTES,
            }));
        }
        let fingerprint = sink.choice.fingerprint();
        let selection = fingerprint.filter(|current| selection == Some(&hex(*current)));
        if selection.is_none() && value.len() > name.len() {
            return Err(Refusal::SinkNotTaken(UnusableSink::Changed { sink: sink.name.clone() }));
        }
        Ok(Some(OnlySink { name: sink.name.clone(), selection }))
    }
}

/// Returns the value of the header for a sink.
pub fn sink_header(OnlySink { name, selection }: &OnlySink) -> String {
    let selection = selection.map(|selection| format!("{SELECTION}{}", hex(selection)));
    format!("{name}{}", selection.unwrap_or_default())
}

fn hex(selection: u32) -> String {
    format!("{selection:08x}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hyper::header::HeaderValue;

    use super::*;
    use crate::config::{self, Config};

    fn config(endpoint: &str) -> Config {
        let text = format!(
            "[server.tls]\nself_signed = true\n[spool]\ndir = \"/s\"\n[endpoint.{endpoint}]\n\
             path = \"/l/{{dataset}}\"\nauth = \"none\"\nsinks = [\"a\", \"some\"]\n\
             [endpoint.other]\npath = \"/o\"\ndataset = \"x\"\nauth = \"none\"\n\
             [sink.a.stdout]\n[sink.some.file]\npath = \"/some\"\ndatasets = [\"dns_logs\"]\n\
             mask = {{ a = \"redact\" }}\n\
             [sink.c.file]\npath = \"/c\"\n"
        );
        config::check_text(Path::new("/etc/logpushd/logpushd.toml"), &text).unwrap()
    }

    /// Returns the sink, or the answer's text, for these values of the header.
    fn named(endpoint: &str, dataset: &str, values: &[&str]) -> Result<Option<String>, String> {
        let only = named_selection(endpoint, dataset, values);
        only.map(|only| {
            only.map(|OnlySink { name, selection }| {
                assert_eq!(selection, None);
                name
            })
        })
    }

    fn named_selection(
        endpoint: &str,
        dataset: &str,
        values: &[&str],
    ) -> Result<Option<OnlySink>, String> {
        let config = config(endpoint);
        let found = config.endpoints.iter().find(|known| known.name == endpoint).unwrap();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SINK, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let named = EndpointSinks::of(found, &config.sinks).requested(&headers, endpoint, dataset);
        named.map_err(|refusal| {
            assert_eq!(refusal.status(), 400);
            refusal.text()
        })
    }

    #[test]
    fn a_sink_is_named_only_where_it_takes_the_batch() {
        let main = |dataset: &str, values: &[&str]| named("main", dataset, values);
        assert_eq!(main("dns_logs", &[]), Ok(None));
        assert_eq!(main("dns_logs", &["a"]), Ok(Some("a".to_owned())));
        assert_eq!(main("dns_logs", &["some"]), Ok(Some("some".to_owned())));
        for (dataset, values) in [
            ("http_requests", &["some"][..]),
            ("dns_logs", &["c"]),
            ("dns_logs", &["gone"]),
            ("dns_logs", &[""]),
            ("dns_logs", &["A"]),
            ("dns_logs", &["a", "some"]),
            ("dns_logs", &["a", "a"]),
            ("dns_logs", &["a, some"]),
            ("dns_logs", &["\u{e9}"]),
            ("dns_logs", &["c; selection=00000000"]),
            ("dns_logs", &["a;selection=00000000"]),
        ] {
            let text = main(dataset, values).unwrap_err();
            assert!(text.contains("no sink of this endpoint and dataset"), "{values:?} {text}");
        }
        let long = main("dns_logs", &[&"x".repeat(5000)]).unwrap_err();
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn a_selection_is_accepted_only_if_it_is_the_one_of_the_sink() {
        let config = config("main");
        let masking = config.sinks.iter().find(|sink| sink.name == "some").unwrap();
        let selection = masking.choice.fingerprint();
        assert!(selection.is_some());
        let some = OnlySink { name: "some".to_owned(), selection };
        let header = sink_header(&some);
        assert_eq!(named_selection("main", "dns_logs", &[&header]), Ok(Some(some)));
        let longer = format!("{header}0");
        for value in [&longer, "some; selection=", "some; selection=0", "a; selection=00000000"] {
            let text = named_selection("main", "dns_logs", &[value]).unwrap_err();
            assert!(text.contains("has other filters or masks"), "{value}: {text}");
        }
    }

    #[test]
    fn names_that_no_file_name_can_hold_are_refused() {
        let endpoint = "e".repeat(64);
        let fits = "d".repeat(MAX_JOINT_NAMES_BYTES - 64 - 1);
        assert_eq!(named(&endpoint, &fits, &["a"]), Ok(Some("a".to_owned())));
        let text = named(&endpoint, &format!("{fits}d"), &["a"]).unwrap_err();
        assert!(text.contains("at most 128 bytes together"), "{text}");
    }
}
