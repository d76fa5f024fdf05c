//! What is otherwise in `[endpoint.NAME]` with `protocol = "splunk_hec"`.

use toml::Spanned;

use super::{check_dataset, endpoint::path_fault};
use crate::config::{
    HEC_PATHS, PathPattern, context::Context, diagnostic::Diagnostic, hec::HEC_PREFIX,
    reader::Table,
};

/// What a batch is called if nobody says what is in it.
const DATASET: &str = "splunk_hec";

/// The prefix of the paths, and the dataset.
pub(super) fn path(
    name: &Spanned<String>,
    table: &mut Table<'_>,
    cx: &mut Context,
) -> Option<Spanned<PathPattern>> {
    let is_named = table.contains("path");
    let path = table.string("path", cx);
    let may_hold_dataset = table.contains("dataset");
    let dataset = table.string("dataset", cx).filter(|dataset| check_dataset(dataset, cx));
    let path = match path {
        Some(path) => path,
        None if is_named => return None,
        None => Spanned::new(name.span(), HEC_PREFIX.to_owned()),
    };
    if let Some((message, hint)) = fault(path.get_ref()) {
        cx.push(Diagnostic::at(path.span(), message).hint(hint));
        return None;
    }
    let dataset = match dataset {
        Some(dataset) => dataset.into_inner(),
        None if may_hold_dataset => return None,
        None => DATASET.to_owned(),
    };
    let span = path.span();
    Some(Spanned::new(span, PathPattern::Prefix { prefix: path.into_inner(), dataset }))
}

/// What is wrong with a prefix, and what to do.
fn fault(path: &str) -> Option<(String, String)> {
    if path.contains("{dataset}") {
        let message = "with `splunk_hec` there is no `{dataset}` in a path".to_owned();
        let hint =
            "write the prefix alone, as \"/services/collector\", and `dataset = \"...\"` beside it";
        return Some((message, hint.to_owned()));
    }
    if let Some((message, hint)) = path_fault(path) {
        return Some((message, hint.to_owned()));
    }
    let last = HEC_PATHS.iter().filter(|(end, _)| !end.is_empty());
    let end = last.map(|(end, _)| *end).chain(["/"]).find(|end| path.ends_with(end))?;
    let prefix = path.strip_suffix(end).map(|prefix| prefix.trim_end_matches('/'));
    // What is left may be at fault as well, as of `/a/raw/raw`.
    let prefix = prefix.filter(|prefix| !prefix.is_empty() && fault(prefix).is_none());
    let prefix = prefix.unwrap_or(HEC_PREFIX);
    let message = format!("`path` is what stands before `/raw` and `/event`, without `{end}`");
    Some((message, format!("write \"{prefix}\"")))
}

/// The token has a place of its own.
pub(super) fn check_header(header: &Spanned<String>, cx: &mut Context) -> bool {
    let message = "`secret_header` does nothing with `splunk_hec`: the token comes as `Authorization: Splunk TOKEN`";
    let hint = "leave it out; the lines of `secret_file` are the tokens";
    cx.push(Diagnostic::at(header.span(), message).hint(hint));
    false
}
