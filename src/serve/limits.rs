//! What hyper and h2 may read ahead, keep and wait for on one connection.

use std::time::Duration;

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};

/// What hyper reads ahead of an HTTP/1.1 connection, and with it the most that a request's head may
/// be.
const H1_BUFFER_BYTES: usize = 32 << 10;

/// All headers of one HTTP/2 request. Cloudflare's are below 1 KiB.
const H2_HEADER_BYTES: u32 = 16 << 10;

/// Requests at a time on one HTTP/2 connection.
const H2_STREAMS: u32 = 128;

/// What one request may send ahead of us. The protocol's 64 KiB would bound a sender 100 ms away to
/// 640 KiB/s.
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// What all requests of a connection may send ahead of us: what a connection can cost in memory.
const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Answers are a line of JSON; nothing needs to be written ahead.
const H2_SEND_BUFFER_BYTES: usize = 16 << 10;

/// A peer that has vanished is found out by a ping: no answer within the timeout ends the
/// connection.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

pub(super) fn builder(protocol: Protocol, head: Duration) -> auto::Builder<TokioExecutor> {
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    };
    // Without a timer hyper has no deadlines at all. Its bounds on headers (100 in HTTP/1.1) and on
    // streams that are opened only to be reset stay as they are.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(H1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(H2_HEADER_BYTES)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}
