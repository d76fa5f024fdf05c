//! Who may post, and where: method, path, source address, secret and encoding, before a byte of the
//! body is read.

use std::{io, net::IpAddr, sync::Arc};

use hyper::{HeaderMap, Method, header::CONTENT_ENCODING, http::request};
use records::is_dataset;

use super::{
    addressee::Addressees,
    datasets::Datasets,
    refusal::{Methods, Refusal},
    secrets::Secrets,
};
use crate::{
    config::{Endpoint, HEC_PATHS, HecPath, PathPattern, Protocol, SinkConfig},
    decode::{Encoding, Format},
    ingest::Form,
    metrics::{EndpointMetrics, Metrics},
};

/// The endpoints.
#[derive(Debug)]
pub(super) struct Gate {
    doors: Vec<Door>,
    /// The same over reloads.
    datasets: Arc<Datasets>,
}

#[derive(Debug)]
struct Door {
    endpoint: Endpoint,
    secrets: Secrets,
    sinks: Addressees,
    metrics: Arc<EndpointMetrics>,
}

/// Where a request came in, and what it may do there.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    /// Where the request is counted; `None` if there is no such endpoint.
    pub(super) endpoint: Option<&'a Arc<EndpointMetrics>>,
    /// In whose words it is answered.
    pub(super) protocol: Protocol,
    pub(super) asks: Result<Asks, Refusal>,
}

/// What a request is about.
#[derive(Debug)]
pub(super) enum Asks {
    /// To be sent its body.
    Upload(Admitted),
    /// Whether batches are taken.
    Health,
    /// Which methods there are.
    Methods(Methods),
}

/// A request that may send its body.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) endpoint: Arc<EndpointMetrics>,
    pub(super) protocol: Protocol,
    pub(super) dataset: String,
    /// The only sink that is to have it, if the sender names one.
    pub(super) sink: Option<String>,
    pub(super) form: Form,
}

/// An endpoint, by a path of its.
struct MatchedEndpoint<'a> {
    door: &'a Door,
    dataset: String,
    /// What the path is for, with HEC.
    hec: Option<HecPath>,
}

impl Gate {
    pub(super) fn open(
        endpoints: &[Endpoint],
        sinks: &[SinkConfig],
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let doors = endpoints.iter().map(|endpoint| {
            let metrics = metrics.endpoint(&endpoint.name);
            let secrets = Secrets::open(&endpoint.auth, &metrics).map_err(|error| {
                io::Error::new(error.kind(), format!("endpoint.{}: {error}", endpoint.name))
            })?;
            let sinks = Addressees::of(endpoint, sinks);
            Ok(Door { endpoint: endpoint.clone(), secrets, sinks, metrics })
        });
        Ok(Self { doors: doors.collect::<io::Result<_>>()?, datasets: Arc::default() })
    }

    /// Counts the datasets of endpoints together with `other`, which it replaces.
    pub(super) fn continuing(self, other: &Self) -> Self {
        Self { datasets: Arc::clone(&other.datasets), ..self }
    }

    /// Whether there is an endpoint that a request from this address could be for.
    pub(super) fn may_connect(&self, address: IpAddr) -> bool {
        let mut lists = self.doors.iter().map(|door| &door.endpoint.allow_from);
        self.doors.is_empty()
            || lists.any(|list| list.is_empty() || list.iter().any(|net| net.contains(&address)))
    }

    /// Records in the audit log whose secrets are different from `before`.
    pub(super) fn audit_changes(&self, before: &Self) {
        for door in &self.doors {
            let same = |other: &&Door| other.endpoint.name == door.endpoint.name;
            if let Some(other) = before.doors.iter().find(same) {
                door.secrets.audit_changes(&other.secrets);
            }
        }
    }

    /// The endpoint that the path names, if one does, and whether the request may go on there.
    pub(super) fn admit(&self, head: &request::Parts, peer: IpAddr) -> Visit<'_> {
        let path = head.uri.path();
        let Some(found) = self.find(path) else { return self.lost(path) };
        let (endpoint, protocol) = (Some(&found.door.metrics), found.door.endpoint.protocol);
        Visit { endpoint, protocol, asks: found.admit(head, peer, &self.datasets) }
    }

    /// A whole path wins over a pattern; no two patterns fit one path, as validation has made sure.
    fn find(&self, path: &str) -> Option<MatchedEndpoint<'_>> {
        let mut by_pattern = None;
        for door in &self.doors {
            match &door.endpoint.path {
                PathPattern::Fixed { path: whole, dataset } if whole == path => {
                    return Some(MatchedEndpoint { door, dataset: dataset.clone(), hec: None });
                }
                PathPattern::Fixed { .. } => {}
                PathPattern::Prefix { prefix, dataset } => {
                    let rest = path.strip_prefix(prefix.as_str());
                    let known = HEC_PATHS.iter().find(|(known, _)| Some(*known) == rest);
                    if let Some((_, hec)) = known {
                        let (dataset, hec) = (dataset.clone(), Some(*hec));
                        return Some(MatchedEndpoint { door, dataset, hec });
                    }
                }
                PathPattern::Dataset { prefix, suffix } => {
                    let rest = path.strip_prefix(prefix.as_str());
                    let dataset = rest.and_then(|rest| rest.strip_suffix(suffix.as_str()));
                    if let Some(dataset) = dataset.filter(|dataset| is_dataset(dataset.as_bytes()))
                    {
                        let dataset = dataset.to_owned();
                        by_pattern = Some(MatchedEndpoint { door, dataset, hec: None });
                    }
                }
            }
        }
        by_pattern
    }

    /// A path that no endpoint has. Behind the prefix of one it is answered as there.
    fn lost(&self, path: &str) -> Visit<'_> {
        let behind = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let near = self.doors.iter().find(|door| {
            matches!(&door.endpoint.path, PathPattern::Prefix { prefix, .. } if behind(prefix))
        });
        let (endpoint, protocol) = match near {
            Some(door) => (Some(&door.metrics), door.endpoint.protocol),
            None => (None, Protocol::Logpush),
        };
        Visit { endpoint, protocol, asks: Err(Refusal::NotFound) }
    }
}

impl MatchedEndpoint<'_> {
    fn admit(
        self,
        head: &request::Parts,
        peer: IpAddr,
        datasets: &Datasets,
    ) -> Result<Asks, Refusal> {
        let methods = self.methods();
        if !methods.include(&head.method) {
            return Err(Refusal::MethodNotAllowed(methods));
        }
        let endpoint = &self.door.endpoint;
        let networks = &endpoint.allow_from;
        if !networks.is_empty() && !networks.iter().any(|network| network.contains(&peer)) {
            return Err(Refusal::Forbidden);
        }
        // Splunk answers these to anybody, and senders ask before they show a token.
        if head.method == Method::OPTIONS {
            return Ok(Asks::Methods(methods));
        }
        if self.hec == Some(HecPath::Health) {
            return Ok(Asks::Health);
        }
        self.door.secrets.check(&endpoint.auth, head)?;
        if matches!(endpoint.path, PathPattern::Dataset { .. }) {
            datasets.admit(endpoint, &self.dataset)?;
        }
        let sink = self.door.sinks.named(&head.headers, &endpoint.name, &self.dataset)?;
        if self.hec == Some(HecPath::Ack) {
            return Err(Refusal::AckDisabled);
        }
        let form = self.form(encoding(&head.headers)?);
        let (protocol, endpoint) = (endpoint.protocol, Arc::clone(&self.door.metrics));
        Ok(Asks::Upload(Admitted { endpoint, protocol, dataset: self.dataset, sink, form }))
    }

    fn methods(&self) -> Methods {
        match self.hec {
            None => Methods::Upload,
            Some(HecPath::Health) => Methods::HecHealth,
            Some(_) => Methods::HecUpload,
        }
    }

    fn form(&self, encoding: Encoding) -> Form {
        if self.hec == Some(HecPath::Event) {
            return Form { encoding, format: Format::Concatenated, header_row: Vec::new() };
        }
        let Endpoint { format, columns, .. } = &self.door.endpoint;
        Form { encoding, format: *format, header_row: format.header_row(columns) }
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut encoding = Encoding::Identity;
    for value in headers.get_all(CONTENT_ENCODING) {
        let value = value.as_bytes().trim_ascii();
        if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") {
            if encoding == Encoding::Gzip {
                return Err(Refusal::UnsupportedEncoding);
            }
            encoding = Encoding::Gzip;
        } else if !value.is_empty() && !value.eq_ignore_ascii_case(b"identity") {
            return Err(Refusal::UnsupportedEncoding);
        }
    }
    Ok(encoding)
}

#[cfg(test)]
mod tests;
