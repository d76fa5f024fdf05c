//! Admits or refuses a request by method, path, source address, secret and encoding, before a byte
//! of the body is read.

use std::{io, net::IpAddr, sync::Arc};

use hyper::{HeaderMap, Method, header::CONTENT_ENCODING, http::request};
use records::is_dataset;

use super::{
    datasets::Datasets,
    refusal::{Methods, Refusal},
    secrets::Secrets,
    sink_header::EndpointSinks,
};
use crate::{
    config::{Endpoint, HEC_PATHS, HecPath, PathPattern, Protocol, SinkConfig},
    decode::{Encoding, Format},
    ingest::BodyFormat,
    metrics::{EndpointMetrics, Metrics},
    spool::OnlySink,
};

/// All endpoints of the configuration.
#[derive(Debug)]
pub(super) struct Gate {
    endpoints: Vec<LoadedEndpoint>,
    /// Shared with the gates before and after a reload.
    datasets: Arc<Datasets>,
}

/// An endpoint with its secrets.
#[derive(Debug)]
struct LoadedEndpoint {
    config: Endpoint,
    secrets: Secrets,
    sinks: EndpointSinks,
    metrics: Arc<EndpointMetrics>,
}

/// The endpoint of a request, and what the request may do there.
#[derive(Debug)]
pub(super) struct GateDecision<'a> {
    /// Metrics that count the request. `None` if no endpoint has its path.
    pub(super) endpoint: Option<&'a Arc<EndpointMetrics>>,
    /// Protocol of the answer.
    pub(super) protocol: Protocol,
    pub(super) outcome: Result<RequestKind, Refusal>,
}

/// Kind of an admitted request.
#[derive(Debug)]
pub(super) enum RequestKind {
    /// A batch.
    Upload(Admitted),
    /// Query of whether batches are accepted.
    Health,
    /// Query of the methods of the path.
    Methods(Methods),
}

/// An upload that may send its body.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) endpoint: Arc<EndpointMetrics>,
    pub(super) protocol: Protocol,
    pub(super) dataset: String,
    /// The only sink that gets the records, if the sender names one.
    pub(super) sink: Option<OnlySink>,
    pub(super) body_format: BodyFormat,
}

/// An endpoint that has the path of a request.
struct MatchedEndpoint<'a> {
    endpoint: &'a LoadedEndpoint,
    dataset: String,
    /// Function of the path, with HEC.
    hec: Option<HecPath>,
}

impl Gate {
    /// Reads the secrets of the endpoints.
    pub(super) fn open(
        endpoints: &[Endpoint],
        sinks: &[SinkConfig],
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let endpoints = endpoints.iter().map(|endpoint| {
            let metrics = metrics.endpoint(&endpoint.name);
            let secrets = Secrets::open(&endpoint.auth, &metrics).map_err(|error| {
                io::Error::new(error.kind(), format!("endpoint.{}: {error}", endpoint.name))
            })?;
            let sinks = EndpointSinks::of(endpoint, sinks);
            Ok(LoadedEndpoint { config: endpoint.clone(), secrets, sinks, metrics })
        });
        Ok(Self { endpoints: endpoints.collect::<io::Result<_>>()?, datasets: Arc::default() })
    }

    /// Shares the count of unknown datasets with `other`, which this gate replaces.
    pub(super) fn continuing(self, other: &Self) -> Self {
        Self { datasets: Arc::clone(&other.datasets), ..self }
    }

    /// Whether some endpoint allows this address.
    pub(super) fn may_connect(&self, address: IpAddr) -> bool {
        let mut lists = self.endpoints.iter().map(|endpoint| &endpoint.config.allow_from);
        self.endpoints.is_empty()
            || lists.any(|list| list.is_empty() || list.iter().any(|net| net.contains(&address)))
    }

    /// Records in the audit log which secrets differ from `before`.
    pub(super) fn audit_changes(&self, before: &Self) {
        for endpoint in &self.endpoints {
            let same = |other: &&LoadedEndpoint| other.config.name == endpoint.config.name;
            if let Some(other) = before.endpoints.iter().find(same) {
                endpoint.secrets.audit_changes(&other.secrets);
            }
        }
    }

    /// Finds the endpoint of a request, and decides whether the request is admitted.
    pub(super) fn admit(&self, head: &request::Parts, peer: IpAddr) -> GateDecision<'_> {
        let path = head.uri.path();
        let Some(found) = self.find(path) else { return self.not_found(path) };
        let (endpoint, protocol) = (Some(&found.endpoint.metrics), found.endpoint.config.protocol);
        GateDecision { endpoint, protocol, outcome: found.admit(head, peer, &self.datasets) }
    }

    /// Finds the endpoint of a path. A fixed path takes precedence over a pattern. The validation
    /// of the configuration ensures that no two patterns match one path.
    fn find(&self, path: &str) -> Option<MatchedEndpoint<'_>> {
        let mut by_pattern = None;
        for endpoint in &self.endpoints {
            match &endpoint.config.path {
                PathPattern::Fixed { path: whole, dataset } if whole == path => {
                    return Some(MatchedEndpoint { endpoint, dataset: dataset.clone(), hec: None });
                }
                PathPattern::Fixed { .. } => {}
                PathPattern::Prefix { prefix, dataset } => {
                    let rest = path.strip_prefix(prefix.as_str());
                    let known = HEC_PATHS.iter().find(|(known, _)| Some(*known) == rest);
                    if let Some((_, hec)) = known {
                        let (dataset, hec) = (dataset.clone(), Some(*hec));
                        return Some(MatchedEndpoint { endpoint, dataset, hec });
                    }
                }
                PathPattern::Dataset { prefix, suffix } => {
                    let rest = path.strip_prefix(prefix.as_str());
                    let dataset = rest.and_then(|rest| rest.strip_suffix(suffix.as_str()));
                    if let Some(dataset) = dataset.filter(|dataset| is_dataset(dataset.as_bytes()))
                    {
                        let dataset = dataset.to_owned();
                        by_pattern = Some(MatchedEndpoint { endpoint, dataset, hec: None });
                    }
                }
            }
        }
        by_pattern
    }

    /// Refuses a path that no endpoint has. If the path begins with an endpoint's prefix, the
    /// answer is in that endpoint's protocol.
    fn not_found(&self, path: &str) -> GateDecision<'_> {
        let begins_with = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let of_prefix = self.endpoints.iter().find(|endpoint| {
            let path = &endpoint.config.path;
            matches!(path, PathPattern::Prefix { prefix, .. } if begins_with(prefix))
        });
        let (endpoint, protocol) = match of_prefix {
            Some(found) => (Some(&found.metrics), found.config.protocol),
            None => (None, Protocol::Logpush),
        };
        GateDecision { endpoint, protocol, outcome: Err(Refusal::NotFound) }
    }
}

impl MatchedEndpoint<'_> {
    fn admit(
        self,
        head: &request::Parts,
        peer: IpAddr,
        datasets: &Datasets,
    ) -> Result<RequestKind, Refusal> {
        let methods = self.methods();
        if !methods.include(&head.method) {
            return Err(Refusal::MethodNotAllowed(methods));
        }
        let endpoint = &self.endpoint.config;
        let networks = &endpoint.allow_from;
        if !networks.is_empty() && !networks.iter().any(|network| network.contains(&peer)) {
            return Err(Refusal::Forbidden);
        }
        // Splunk answers these requests without a token, and senders send them before they
        // authenticate.
        if head.method == Method::OPTIONS {
            return Ok(RequestKind::Methods(methods));
        }
        if self.hec == Some(HecPath::Health) {
            return Ok(RequestKind::Health);
        }
        self.endpoint.secrets.check(&endpoint.auth, head)?;
        if matches!(endpoint.path, PathPattern::Dataset { .. }) {
            datasets.admit(endpoint, &self.dataset)?;
        }
        let sink = self.endpoint.sinks.requested(&head.headers, &endpoint.name, &self.dataset)?;
        if self.hec == Some(HecPath::Ack) {
            return Err(Refusal::AckDisabled);
        }
        let body_format = self.body_format(encoding(&head.headers)?);
        let (protocol, endpoint) = (endpoint.protocol, Arc::clone(&self.endpoint.metrics));
        Ok(RequestKind::Upload(Admitted {
            endpoint,
            protocol,
            dataset: self.dataset,
            sink,
            body_format,
        }))
    }

    fn methods(&self) -> Methods {
        match self.hec {
            None => Methods::Upload,
            Some(HecPath::Health) => Methods::HecHealth,
            Some(_) => Methods::HecUpload,
        }
    }

    fn body_format(&self, encoding: Encoding) -> BodyFormat {
        if self.hec == Some(HecPath::Event) {
            return BodyFormat { encoding, format: Format::Concatenated, header_row: Vec::new() };
        }
        let Endpoint { format, columns, .. } = &self.endpoint.config;
        BodyFormat { encoding, format: *format, header_row: format.header_row(columns) }
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
