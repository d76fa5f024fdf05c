//! Which datasets an endpoint takes: those that it lists; else all that Cloudflare has, and a bounded
//! number of others. Each dataset may become a directory and a file, so a secret alone must not make any
//! number of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use super::refusal::Refusal;
use crate::{cloudflare::datasets, config::Endpoint};

/// Names that Cloudflare does not have, for each endpoint in one run of the daemon. Cloudflare has 37, and
/// few senders have as many of their own.
pub(super) const MAX_UNKNOWN_DATASETS: usize = 256;

/// The names that were taken and that Cloudflare does not have, by endpoint.
#[derive(Debug, Default)]
pub(super) struct Datasets(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl Datasets {
    /// Whether an endpoint takes a dataset that was named in the path. To be asked once the secret is
    /// verified: a stranger learns nothing, and uses nothing up.
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
