//! logpushd: a standalone HTTPS daemon that Cloudflare Logpush pushes to.
pub mod decode;
