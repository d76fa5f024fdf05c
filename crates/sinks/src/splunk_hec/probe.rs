//! Checks the collector without sending an event.

use reqwest::{Method, Request};

use super::{
    Acknowledgements, Collector, Settings,
    answer::{HecAnswer, Meaning, meaning},
    channel::Channels,
    connection::{CHANNEL, MAX_ANSWER_BYTES, query},
    json,
};
use crate::{ProbeError, network::HttpAnswer, upload::Verdict};

/// Checks the health of the collector, the token, and whether it has indexer acknowledgment.
pub(super) async fn probe(settings: &Settings) -> Result<Vec<String>, ProbeError> {
    let collector = Collector::new(settings);
    let mut facts = vec![collector.health().await?, collector.token().await?];
    facts.push(match (settings.acknowledgements, collector.has_acknowledgments().await?) {
        (Acknowledgements::Off, true) => {
            return Err(ProbeError::new(
                "the token has indexer acknowledgment, and `acknowledgements` is \"off\"",
                "set `acknowledgements` to \"auto\", or use another token",
            ));
        }
        (Acknowledgements::On, false) => {
            return Err(ProbeError::new(
                "the token has no indexer acknowledgment, and `acknowledgements` is \"on\"",
                "enable it for the token in Splunk, or set `acknowledgements` to \"auto\"",
            ));
        }
        (_, true) => "the token has indexer acknowledgment".to_owned(),
        (_, false) => "the token has no indexer acknowledgment: events that Splunk has accepted \
            are lost if it fails before it has indexed them"
            .to_owned(),
    });
    facts.push("the index cannot be checked without sending an event".to_owned());
    Ok(facts)
}

impl Collector {
    async fn ask(&self, request: Request) -> Result<(HttpAnswer, Vec<u8>, HecAnswer), Verdict> {
        let mut answer = self.sender.send(self.sender.prepare(Ok(request))).await?;
        let body = answer.body(MAX_ANSWER_BYTES).await?;
        let hec = HecAnswer::parse(&body);
        Ok((answer, body, hec))
    }

    async fn health(&self) -> Result<String, ProbeError> {
        let url = self.settings.url.health();
        let (answer, body, hec) = self.ask(Request::new(Method::GET, url.clone())).await?;
        // 17: HEC is healthy.
        if answer.status().is_success() && hec.code == Some(17) {
            return Ok(format!("{url} is healthy"));
        }
        Err(failure(&answer, &body, &hec).into())
    }

    /// A request without an event is refused, but only after its token was checked.
    async fn token(&self) -> Result<String, ProbeError> {
        let mut request = json(self.settings.url.events(), Vec::new());
        request.headers_mut().insert(CHANNEL, Channels::new().header());
        let (answer, body, hec) = self.ask(request).await?;
        match hec.code {
            // No data.
            Some(5) => Ok("Splunk accepts the token".to_owned()),
            _ => Err(failure(&answer, &body, &hec).into()),
        }
    }

    async fn has_acknowledgments(&self) -> Result<bool, ProbeError> {
        let channels = Channels::new();
        let url = self.settings.url.acknowledgments(channels.current());
        let (answer, body, hec) = self.ask(json(url, query(&[0]))).await?;
        match (hec.acks.is_some(), hec.code) {
            (true, _) => Ok(true),
            // ACK is disabled.
            (false, Some(14)) => Ok(false),
            // Some programs that receive events have no acknowledgments.
            (false, _) if answer.status() == 404 || answer.status() == 405 => Ok(false),
            _ => Err(failure(&answer, &body, &hec).into()),
        }
    }
}

fn failure(answer: &HttpAnswer, body: &[u8], hec: &HecAnswer) -> Verdict {
    let message = String::from_utf8_lossy(body);
    match meaning(answer.status().as_u16(), hec, 0, 0) {
        Meaning::Alert(action) => {
            Verdict::Alert { why: answer.failure(&message), action: action.to_owned() }
        }
        _ => match answer.verdict_with(&message) {
            Verdict::Delivered => Verdict::Retry { after: None, why: answer.failure(&message) },
            verdict => verdict,
        },
    }
}
