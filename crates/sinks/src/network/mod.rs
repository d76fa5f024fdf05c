//! What sinks have in common that send requests over a network.
//!
//! [`NetworkSettings`] are their keys. [`HttpSender`] is the HTTP client of one sink, with its TLS
//! files and secrets; [`HttpAnswer::verdict`] interprets an answer of a target that has no rules of
//! its own.

mod answer;
mod compression;
mod headers;
mod http;
mod secret;
mod settings;
mod url;

pub use self::{
    answer::HttpAnswer,
    compression::Compression,
    headers::{Headers, SecretHeader, SecretHeaders},
    http::{HttpRequest, HttpSender},
    settings::{Batch, NetworkSettings},
    url::{HttpUrl, UrlTemplate},
};
