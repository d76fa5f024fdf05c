//! Runs the tests' stand-in for Cloudflare's API, to try `logpushd job` by hand:
//!
//!     cargo run --example cloudflare_api -- 127.0.0.1:9443 CHAIN.pem KEY.pem ROOTS.pem
//!
//! It presents the certificate CHAIN.pem. Its destination check trusts the authorities in
//! ROOTS.pem.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "it is a part of the tests"
)]

#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/support/cloudflare/mod.rs"]
mod cloudflare;

use std::{env, error::Error, path::PathBuf, thread};

use self::cloudflare::{ACCOUNT, Cloudflare, TOKEN, ZONE};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [address, files @ ..] = words.as_slice() else { return Err("name an address".into()) };
    let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    let [cert, key, roots] = files.as_slice() else { return Err("name three files".into()) };
    let api = Cloudflare::start(address.parse()?, cert, key, roots)?;
    println!("--api-url {}\ntoken {TOKEN}\n--zone {ZONE}\n--account {ACCOUNT}", api.url());
    loop {
        thread::park();
    }
}
