//! The common parts of all sinks that send requests over a network.
//!
//! [`NetworkSettings`] are their keys. [`HttpSender`] is the HTTP client of one sink, with its TLS
//! files and secrets. [`HttpAnswer::verdict`] interprets the response of a target that has no rules
//! of its own.

mod answer;
mod compression;
mod connection;
mod error_class;
mod headers;
mod http;
mod secret;
mod settings;
mod url;

pub use self::{
    answer::HttpAnswer,
    compression::Compression,
    connection::OwnConnection,
    headers::{Headers, SecretHeaders, check_headers},
    http::{HttpRequest, HttpSender},
    secret::{SecretFile, SecretHeader, SecretInUrl},
    settings::{Batch, NetworkSettings},
    url::{HttpUrl, SecretUrlTemplate, UrlTemplate},
};
pub(crate) use self::{
    http::unusable_file,
    settings::check as check_network,
    url::{url as read_url, with_path},
};
