//! Reads the path of `[endpoint.NAME]` with `protocol = "splunk_hec"`.

use settings::{Context, Diagnostic, Spanned, Table};

use super::endpoint::{Keys, path_fault};
use crate::config::{HEC_PATHS, PathPattern, hec::HEC_PREFIX};

/// The default dataset.
const DATASET: &str = "splunk_hec";

/// Returns the prefix of the paths, and the dataset.
pub(super) fn path(
    name: &Spanned<String>,
    keys: &Keys,
    table: &Table<'_>,
    cx: &mut Context,
) -> Option<Spanned<PathPattern>> {
    if !table.is_valid("path") || !table.is_valid("dataset") {
        return None;
    }
    let prefix = keys.path.as_deref().unwrap_or(HEC_PREFIX);
    let span = table.span_of("path").unwrap_or_else(|| name.span());
    if let Some((message, hint)) = fault(prefix) {
        cx.push(Diagnostic::at(span, message).hint(hint));
        return None;
    }
    let dataset = keys.dataset.as_deref().unwrap_or(DATASET).to_owned();
    Some(Spanned::new(span, PathPattern::Prefix { prefix: prefix.to_owned(), dataset }))
}

/// Returns what is wrong with a prefix, and what to do.
fn fault(path: &str) -> Option<(String, String)> {
    if path.contains("{dataset}") {
        let message = "`{dataset}` is not allowed in a path with `splunk_hec`".to_owned();
        let hint =
            "write only the prefix, such as \"/services/collector\", and set `dataset = \"...\"`";
        return Some((message, hint.to_owned()));
    }
    if let Some((message, hint)) = path_fault(path) {
        return Some((message, hint.to_owned()));
    }
    let last = HEC_PATHS.iter().filter(|(end, _)| !end.is_empty());
    let end = last.map(|(end, _)| *end).chain(["/"]).find(|end| path.ends_with(end))?;
    let prefix = path.strip_suffix(end).map(|prefix| prefix.trim_end_matches('/'));
    // The rest can be invalid too, as in `/a/raw/raw`.
    let prefix = prefix.filter(|prefix| !prefix.is_empty() && fault(prefix).is_none());
    let prefix = prefix.unwrap_or(HEC_PREFIX);
    let message = format!("`path` is the prefix of `/raw` and `/event`, without `{end}`");
    Some((message, format!("write \"{prefix}\"")))
}
