//! Finds names of datasets that Cloudflare does not have. A sink for such a dataset gets nothing.

use crate::{
    cloudflare::datasets::{self, DATASETS},
    config::{Config, Diagnostic, Document, PathPattern, nearest, suggestion},
};

/// Warns about unknown names in `datasets`, and about names in `dataset` that look misspelled.
pub(super) fn unknown(document: &Document) -> Vec<Diagnostic> {
    let config = &document.config;
    let mut warnings = Vec::new();
    for sink in &config.sinks {
        let key = sink.full_name("datasets");
        for (index, dataset) in sink.choice.datasets.iter().enumerate() {
            if !is_expected(config, dataset) {
                let message = format!("Cloudflare has no dataset `{dataset}`");
                let hint = format!(
                    "this sink gets no records of other datasets; {}",
                    suggestion(dataset, &DATASETS, "the datasets are")
                );
                let key = format!("{key}.{index}");
                warnings.push(document.warning(&key, message).hint(hint));
            }
        }
    }
    for endpoint in &config.endpoints {
        for (index, dataset) in endpoint.datasets.iter().enumerate() {
            if !datasets::is_known(dataset) {
                let key = format!("endpoint.{}.datasets.{index}", endpoint.name);
                let message = format!("Cloudflare has no dataset `{dataset}`");
                let hint = suggestion(dataset, &DATASETS, "the datasets are");
                warnings.push(document.warning(&key, message).hint(hint));
            }
        }
        let (PathPattern::Fixed { dataset, .. } | PathPattern::Prefix { dataset, .. }) =
            &endpoint.path
        else {
            continue;
        };
        // Any other name can be intended, for a sender other than Cloudflare.
        if !datasets::is_known(dataset)
            && let Some(near) = nearest(dataset, &DATASETS)
        {
            let key = format!("endpoint.{}.dataset", endpoint.name);
            let message = format!("Cloudflare has no dataset `{dataset}`");
            warnings.push(document.warning(&key, message).hint(format!("did you mean `{near}`?")));
        }
    }
    warnings
}

/// Returns whether Cloudflare has the dataset, or an endpoint is configured for it.
fn is_expected(config: &Config, dataset: &str) -> bool {
    let is_given = config.endpoints.iter().any(|endpoint| match &endpoint.path {
        _ if endpoint.datasets.iter().any(|listed| listed == dataset) => true,
        PathPattern::Fixed { dataset: given, .. } | PathPattern::Prefix { dataset: given, .. } => {
            given == dataset
        }
        PathPattern::Dataset { .. } => false,
    });
    is_given || datasets::is_known(dataset)
}
