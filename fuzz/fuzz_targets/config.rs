//! Any text, through the configuration reader: see `logpushd_fuzz::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logpushd_fuzz::config(data));
