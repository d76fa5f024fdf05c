//! Limits of hyper and h2 for one connection.

use std::time::Duration;

use hyper_util::{rt::TokioTimer, server::conn::auto};

use super::streams::Opened;

/// Read buffer of an HTTP/1.1 connection, and thus the largest head of a request.
const H1_BUFFER_BYTES: usize = 32 << 10;

/// Size of all headers of an HTTP/2 request. Cloudflare's are below 1 KiB.
const H2_HEADER_BYTES: u32 = 16 << 10;

/// Concurrent requests on an HTTP/2 connection.
const H2_STREAMS: u32 = 128;

/// Flow control window of a request. The protocol's default of 64 KiB would limit a sender that is
/// 100 ms away to 640 KiB/s.
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Flow control window of a connection, and thus the memory that a connection can use.
const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Send buffer of a request. Answers are one line.
const H2_SEND_BUFFER_BYTES: usize = 16 << 10;

/// Pings detect a peer that has vanished: without an answer within the timeout, the connection
/// ends.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

pub(super) fn builder(
    protocol: Protocol,
    head: Duration,
    streams: Opened,
) -> auto::Builder<Opened> {
    let builder = auto::Builder::new(streams);
    let mut builder = match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    };
    // Without a timer, hyper has no deadlines. Its limits for the number of headers (100 in
    // HTTP/1.1) and for streams that are opened and reset keep their defaults.
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
