//! Common types of keys: sizes, durations, paths, numbers, text and lists.

use std::{marker::PhantomData, path::PathBuf, time::Duration};

use toml::Spanned;

use crate::{
    Context, Diagnostic, Setting, Value, format_bytes, reader::Pairs, reference::Takes, setting,
};

setting! {
    /// `true` or `false`.
    pub struct Flag(bool): Takes::Flag, read by flag;
}

setting! {
    /// A whole number of at least 1.
    pub struct Count(usize): Takes::Count, read by count;
}

setting! {
    /// A duration such as `"24h"`, or 0.
    pub struct Span(Duration): Takes::Duration { beside: None, zero: true }, read by span;
}

setting! {
    /// A duration greater than 0.
    pub struct PositiveSpan(Duration): Takes::Duration { beside: None, zero: false }, read by positive_span;
}

setting! {
    /// The name of a field in a record.
    pub struct FieldName(String): Takes::String("name of a field"), read by text;
}

setting! {
    /// A path. A relative path refers to the directory of the configuration file.
    pub struct Path(PathBuf): Takes::String("path"), read by path;
}

setting! {
    /// The path of an input file, which may be a credential of the service manager. Does not check that
    /// the file exists.
    pub struct Input(PathBuf): Takes::String("path"), read by input;
}

setting! {
    /// A table of strings with names of the operator's choice, in the order of the names.
    pub struct Texts(Pairs): Takes::Names("names and values"), read by texts;
}

/// Reads any string.
pub fn text(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    value.string(cx).map(Spanned::into_inner)
}

fn flag(value: &Value<'_>, cx: &mut Context) -> Option<bool> {
    value.boolean(cx)
}

fn count(value: &Value<'_>, cx: &mut Context) -> Option<usize> {
    value.count(cx)
}

fn span(value: &Value<'_>, cx: &mut Context) -> Option<Duration> {
    value.duration(cx)
}

fn positive_span(value: &Value<'_>, cx: &mut Context) -> Option<Duration> {
    let duration = value.duration(cx)?;
    if duration.is_zero() {
        let message = format!("`{}` must be greater than 0", value.name());
        let hint = format!("write a duration such as {}", value.example());
        cx.push(value.problem(message).hint(hint));
        return None;
    }
    Some(duration)
}

fn path(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    value.path(cx).map(Spanned::into_inner)
}

fn input(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    value.input(cx).map(Spanned::into_inner)
}

fn texts(value: &Value<'_>, cx: &mut Context) -> Option<Pairs> {
    value.pairs(cx)
}

/// A size of at least one byte: `"64MiB"`, or a number of bytes. `LEAST` and `MOST` are bounds in bytes,
/// inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Size<const LEAST: u64 = 1, const MOST: u64 = { u64::MAX }>;

impl<const LEAST: u64, const MOST: u64> Setting for Size<LEAST, MOST> {
    type Output = u64;
    const TAKES: Takes = Takes::Size { least: LEAST, most: MOST };

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<u64> {
        let size = value.size(cx)?.into_inner();
        if !(LEAST..=MOST).contains(&size) {
            let (least, most) = (format_bytes(LEAST), format_bytes(MOST));
            let message = format!("`{}` must be between {least} and {most}", value.name());
            cx.push(value.problem(message));
            return None;
        }
        Some(size)
    }
}

/// A non-empty list of distinct, non-empty strings.
#[derive(Clone, Copy, Debug)]
pub struct Names<T>(PhantomData<T>);

impl<T: Setting<Output = String>> Setting for Names<T> {
    type Output = Vec<Spanned<String>>;
    const TAKES: Takes = T::TAKES.in_list();

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<Self::Output> {
        let list = value.name();
        let items = value.items(cx)?;
        let mut names: Vec<Spanned<String>> = Vec::new();
        let mut are_valid = true;
        for item in items {
            let span = item.span();
            let Some(name) = T::read(&item, cx) else {
                are_valid = false;
                continue;
            };
            if name.is_empty() {
                let message = format!("an empty name in `{list}`");
                cx.push(Diagnostic::at(span.clone(), message).hint("remove it"));
            } else if names.iter().any(|other| *other.get_ref() == name) {
                let message = format!("`{}` is listed twice in `{list}`", name.escape_debug());
                cx.push(Diagnostic::at(span.clone(), message).hint("remove one"));
            }
            names.push(Spanned::new(span, name));
        }
        are_valid.then_some(names)
    }
}

/// A non-empty list of values.
#[derive(Clone, Copy, Debug)]
pub struct List<T>(PhantomData<T>);

impl<T: Setting> Setting for List<T> {
    type Output = Vec<T::Output>;
    const TAKES: Takes = T::TAKES.in_list();

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<Self::Output> {
        let items = value.items(cx)?;
        let count = items.len();
        let read: Vec<_> = items.into_iter().filter_map(|item| T::read(&item, cx)).collect();
        (read.len() == count).then_some(read)
    }
}

/// A value, or a non-empty list of values, each with its span.
#[derive(Clone, Copy, Debug)]
pub struct OneOrMore<T>(PhantomData<T>);

impl<T: Setting> Setting for OneOrMore<T> {
    type Output = Vec<Spanned<T::Output>>;
    const TAKES: Takes = T::TAKES.alone_or_in_list();

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<Self::Output> {
        let items = value.one_or_items(cx)?;
        let count = items.len();
        let read = items.into_iter().filter_map(|item| {
            let span = item.span();
            T::read(&item, cx).map(|read| Spanned::new(span, read))
        });
        let read: Vec<_> = read.collect();
        (read.len() == count).then_some(read)
    }
}
