//! Any text, as a destination of Logpush: see `logpushd_fuzz::destination`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logpushd_fuzz::destination(data));
