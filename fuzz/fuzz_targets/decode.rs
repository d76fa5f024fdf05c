//! Bodies of any bytes, through the decoder: see `logpushd_fuzz::decode`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logpushd_fuzz::decode(data));
