//! A collector that answers 200 and discards every body after counting its decompressed bytes.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_ENCODING, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Builder};

/// A collector that runs until this process ends.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Collector {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let bytes = Arc::new(AtomicU64::new(0));
        let total = Arc::clone(&bytes);
        thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((stream, _)) = listener.accept().await {
                    let total = Arc::clone(&total);
                    let service = service_fn(move |request| {
                        let total = Arc::clone(&total);
                        async move {
                            if let Some(bytes) = discard(request).await {
                                total.fetch_add(bytes, Relaxed);
                            }
                            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
                        }
                    });
                    tokio::spawn(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                    );
                }
            });
        });
        Ok(Self { address, bytes })
    }

    /// Returns the bytes of all bodies, decompressed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

/// Returns the decompressed length of the body, or `None` if it is incomplete.
async fn discard(request: Request<Incoming>) -> Option<u64> {
    let encoding = request.headers().get(CONTENT_ENCODING).cloned();
    let mut body = request.into_body();
    let (mut length, mut end, mut zstd) = (0, [0; 4], Vec::new());
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().ok()?;
        length += data.len() as u64;
        match encoding.as_ref().map(HeaderValue::as_bytes) {
            Some(b"gzip") => {
                let last = [&end[..], &data[data.len().saturating_sub(4)..]].concat();
                end.copy_from_slice(&last[last.len() - 4..]);
            }
            Some(b"zstd") => zstd.extend_from_slice(&data),
            _ => {}
        }
    }
    match encoding.as_ref().map(HeaderValue::as_bytes) {
        // The last 4 bytes are the length (RFC 1952, section 2.3.1), since the body has one member.
        Some(b"gzip") => Some(u32::from_le_bytes(end).into()),
        Some(b"zstd") => Some(zstd::decode_all(&*zstd).ok()?.len() as u64),
        _ => Some(length),
    }
}
