//! Any bytes as records, turned into messages: see `logpushd_fuzz::message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logpushd_fuzz::message(data));
