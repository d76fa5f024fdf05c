//! Whole and damaged gzip, against the decoding of what went into it: see `logpushd_fuzz::gzip_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logpushd_fuzz::gzip_body(data));
