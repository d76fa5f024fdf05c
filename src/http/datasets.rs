//! Limits the datasets of an endpoint: to those in `datasets`, or else to all datasets of
//! Cloudflare and a bounded number of other names. Each dataset may become a directory and a file,
//! so a sender with a secret must not create any number of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use super::refusal::Refusal;
use crate::{cloudflare::datasets, config::Endpoint};

/// Dataset names unknown to Cloudflare that each endpoint accepts in one run of the daemon.
/// Cloudflare has 37 datasets, and few senders have as many of their own.
pub(super) const MAX_UNKNOWN_DATASETS: usize = 256;

/// Accepted dataset names that are unknown to Cloudflare, by endpoint.
#[derive(Debug, Default)]
pub(super) struct Datasets(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl Datasets {
    /// Checks the dataset in the path. Must be called after the secret is verified, so that a
    /// stranger learns nothing and uses up none of the names.
    pub(super) fn admit(&self, endpoint: &Endpoint, dataset: &str) -> Result<(), Refusal> {
        if !endpoint.datasets.is_empty() {
            let is_listed = endpoint.datasets.iter().any(|listed| listed == dataset);
            return if is_listed { Ok(()) } else { Err(Refusal::DatasetNotListed) };
        }
        if datasets::is_known(dataset) {
            return Ok(());
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry(endpoint.name.clone()).or_default();
        if seen.contains(dataset) {
            return Ok(());
        }
        if seen.len() >= MAX_UNKNOWN_DATASETS {
            return Err(Refusal::TooManyDatasets { limit: MAX_UNKNOWN_DATASETS });
        }
        seen.insert(dataset.to_owned());
        Ok(())
    }
}
