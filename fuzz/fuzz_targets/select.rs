//! Any records, with masked fields: see `logpushd_fuzz::select`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logpushd_fuzz::select(data));
