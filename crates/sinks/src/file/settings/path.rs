//! The `path` of a file sink: a template, relative to the directory of the configuration.

use std::path::Component;

use jiff::Timestamp;
use settings::{Context, Diagnostic, Spanned, Value, reference::Takes, setting};

use crate::template::{self, PathTemplate};

setting! {
    /// A valid path with placeholders and times, made absolute.
    pub struct PathSetting(String): Takes::String("path template"), read by path_setting;
}

fn path_setting(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let text = value.string(cx)?;
    let problem = |message: String| Diagnostic::at(text.span(), message);
    let template = match PathTemplate::parse(text.get_ref()) {
        Ok(template) => template,
        Err(message) => {
            cx.push(problem(message));
            return None;
        }
    };
    if let Some(problem) = leaves_base(&text, &template) {
        cx.push(problem);
        return None;
    }
    let last = text.get_ref().rsplit('/').next().unwrap_or_default();
    if matches!(last, "" | "." | "..") {
        cx.push(
            problem("the path names a directory, not a file".into())
                .hint("end it with the name of a file, as in \"{dataset}/%Y-%m-%d.ndjson\""),
        );
        return None;
    }
    if text.get_ref().starts_with('/') {
        return Some(text.into_inner());
    }
    let (directory, rest) = cx.base_of(text.get_ref());
    let Some(directory) = directory.to_str() else {
        cx.push(
            problem("the directory of this configuration file is not valid UTF-8".into())
                .hint("write an absolute path"),
        );
        return None;
    };
    // The directory is literal, even if its name contains braces or percent signs.
    let path = format!("{}/{}", template::escape(directory.trim_end_matches('/')), rest);
    PathTemplate::parse(&path).map_err(|message| cx.push(problem(message))).ok()?;
    Some(path)
}

/// Reports `..` after the first placeholder, which would lead out of the base directory.
fn leaves_base(path: &Spanned<String>, template: &PathTemplate) -> Option<Diagnostic> {
    let filled = template.render("endpoint", "dataset", Timestamp::UNIX_EPOCH);
    let mut components = filled.components();
    let parts = path.get_ref().split('/').filter(|part| !matches!(*part, "" | "."));
    let is_literal = |part: &str| !part.contains(['{', '%']);
    let literal = parts.take_while(|part| is_literal(part)).count();
    let root = usize::from(filled.is_absolute());
    components.by_ref().take(literal + root).for_each(drop);
    components.any(|part| part == Component::ParentDir).then(|| {
        Diagnostic::at(path.span(), "`..` after a placeholder").hint("write the path without `..`")
    })
}
