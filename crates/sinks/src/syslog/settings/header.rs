//! The texts in a header: printable ASCII, and structured data.

use settings::{Context, Diagnostic, Setting, Spanned, Value, reference::Takes, setting};

/// Printable ASCII without spaces, at most `MAX` characters.
#[derive(Clone, Copy, Debug)]
pub struct HeaderText<const MAX: usize>;

/// Printable ASCII without spaces and with placeholders, at most `MAX` characters without these.
#[derive(Clone, Copy, Debug)]
pub struct FilledText<const MAX: usize>;

impl<const MAX: usize> Setting for HeaderText<MAX> {
    type Output = String;
    const TAKES: Takes = Takes::String("name");

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<String> {
        let text = value.string(cx)?.into_inner();
        let fault = fault(&text, &text, MAX);
        checked(value, text, fault, cx)
    }
}

impl<const MAX: usize> Setting for FilledText<MAX> {
    type Output = String;
    const TAKES: Takes = Takes::String("name template");

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<String> {
        let text = value.string(cx)?.into_inner();
        let literal = literal(&text);
        let braces = "contains an unknown placeholder: use {dataset} or {endpoint}";
        let has_braces = literal.contains(['{', '}']);
        let fault = fault(&text, &literal, MAX).or_else(|| has_braces.then(|| braces.to_owned()));
        checked(value, text, fault, cx)
    }
}

/// `text` without its placeholders.
fn literal(text: &str) -> String {
    crate::origin_text::fill(text, "", "")
}

fn fault(text: &str, literal: &str, max: usize) -> Option<String> {
    if text.is_empty() {
        Some("is empty".to_owned())
    } else if !literal.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("must be printable ASCII without spaces".to_owned())
    } else if literal.len() > max {
        Some(format!("is longer than {max} characters"))
    } else {
        None
    }
}

fn checked(
    value: &Value<'_>,
    text: String,
    fault: Option<String>,
    cx: &mut Context,
) -> Option<String> {
    if let Some(fault) = fault {
        cx.push(value.problem(format!("`{}` {fault}", value.name())));
        return None;
    }
    Some(text)
}

/// SD-IDs, and the names and values of each.
type Elements = Vec<(String, Vec<(String, String)>)>;

setting! {
    /// STRUCTURED-DATA of RFC 5424: SD-IDs, and the names and values of each.
    pub struct StructuredData(Elements):
        Takes::Names("IDs, each a table of names and values"), read by structured_data;
}

fn structured_data(value: &Value<'_>, cx: &mut Context) -> Option<Elements> {
    let entries = value.entries(cx)?;
    if entries.is_empty() {
        cx.push_incomplete(value.problem(format!("`{}` is empty", value.name())));
    }
    let mut data = Vec::new();
    for (id, parameters) in entries {
        check_name(&id, cx);
        let parameters = parameters.pairs(cx).unwrap_or_default();
        let mut known = Vec::new();
        for (name, value) in parameters {
            check_name(&name, cx);
            if literal(value.get_ref()).contains(char::is_control) {
                let message =
                    format!("the value of `{}` contains a control character", name.get_ref());
                cx.push(Diagnostic::at(value.span(), message));
            }
            known.push((name.into_inner(), value.into_inner()));
        }
        data.push((id.into_inner(), known));
    }
    Some(data)
}

/// Checks an SD-NAME of RFC 5424.
fn check_name(name: &Spanned<String>, cx: &mut Context) {
    let text = name.get_ref();
    let is_name = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'=' | b']' | b'"'));
    if !is_name {
        let message = format!("`{}` is not a valid name in structured data", text.escape_debug());
        cx.push(Diagnostic::at(name.span(), message).hint(
            "use 1 to 32 printable ASCII characters without spaces, `=`, `]` and quotes, as in \"zone@32473\"",
        ));
    }
}
