//! Compresses the bodies of requests.

use std::{
    borrow::Cow,
    io::{self, Write as _},
};

use bytes::Bytes;
use flate2::write::GzEncoder;
use settings::words;

/// A low level: records shrink to a tenth, and higher levels cost much time for little gain.
const GZIP_LEVEL: u32 = 3;

/// The default of zstd.
const ZSTD_LEVEL: i32 = 3;

words! {
    /// `compression`
    pub enum Compression {
        /// RFC 1952.
        Gzip = "gzip",
        /// RFC 8878.
        Zstd = "zstd",
        /// Bodies are not compressed.
        None = "none",
    }
}

impl Compression {
    /// The value of `Content-Encoding`, if the header is needed.
    pub fn encoding(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::None => None,
        }
    }

    /// Compresses a body, without a copy of one that is not compressed.
    ///
    /// # Errors
    /// As [`Self::compress`].
    pub fn compress_shared(self, body: Bytes) -> io::Result<Bytes> {
        match self {
            Self::None => Ok(body),
            Self::Gzip | Self::Zstd => self.compress(Cow::Borrowed(&body)).map(Bytes::from),
        }
    }

    /// Compresses a body. The same body always results in the same bytes.
    ///
    /// # Errors
    /// The encoder has no memory.
    pub fn compress(self, body: Cow<'_, [u8]>) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(&body)?;
                encoder.finish()
            }
            Self::Zstd => zstd::encode_all(&*body, ZSTD_LEVEL),
            Self::None => Ok(body.into_owned()),
        }
    }
}
