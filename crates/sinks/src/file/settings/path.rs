//! The path of a file sink: a template, and where it begins.

use std::path::Component;

use jiff::Timestamp;
use settings::{Context, Diagnostic, Spanned, Value, reference::Takes, setting};

use crate::template::{self, PathTemplate};

setting! {
    /// A path with placeholders and times, which comes out absolute. It was filled in once.
    pub struct PathToFillIn(String): Takes::String("path to fill in"), read by path_to_fill_in;
}

fn path_to_fill_in(value: &Value<'_>, cx: &mut Context) -> Option<String> {
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
            problem("the path names a folder, not a file".into())
                .hint("end it with the name of a file, as in \"{dataset}/%Y-%m-%d.ndjson\""),
        );
        return None;
    }
    if text.get_ref().starts_with('/') {
        return Some(text.into_inner());
    }
    let (folder, rest) = cx.base_of(text.get_ref());
    let Some(folder) = folder.to_str() else {
        cx.push(
            problem("the folder of this file is not valid UTF-8".into())
                .hint("write an absolute path"),
        );
        return None;
    };
    // The folder is no template, whatever it is called.
    let path = format!("{}/{}", template::escape(folder.trim_end_matches('/')), rest);
    PathTemplate::parse(&path).map_err(|message| cx.push(problem(message))).ok()?;
    Some(path)
}

/// No name and no time may lead out of the folder where a path begins to be filled in, so neither may
/// what stands between them.
fn leaves_base(path: &Spanned<String>, template: &PathTemplate) -> Option<Diagnostic> {
    let filled = template.render("endpoint", "dataset", Timestamp::UNIX_EPOCH);
    let mut components = filled.components();
    let parts = path.get_ref().split('/').filter(|part| !matches!(*part, "" | "."));
    let is_literal = |part: &str| !part.contains(['{', '%']);
    let literal = parts.take_while(|part| is_literal(part)).count();
    let root = usize::from(filled.is_absolute());
    components.by_ref().take(literal + root).for_each(drop);
    components.any(|part| part == Component::ParentDir).then(|| {
        Diagnostic::at(path.span(), "`..` behind a place to fill in")
            .hint("write the path without `..`")
    })
}
