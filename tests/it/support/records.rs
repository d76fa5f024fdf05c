//! Records like Cloudflare's, the same on every run.

use std::io::{Read as _, Write as _};

use flate2::{Compression, write::GzEncoder};

/// Splitmix64: the same seed gives the same records.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

const PATHS: [&str; 6] = [
    r"/",
    r"/search?q=caf\u00e9&lang=fr",
    r"/Straße/日本語/🦀",
    r"/a\\b\/c\t",
    r"/quoted\u0022\n",
    r"/x'%22%3Cscript%3E",
];
const AGENTS: [&str; 3] = [
    r"Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    r"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15",
    r#"weird \"agent\" \\ with \u0000 and \ud83e\udd80"#,
];

/// Records of about 500 bytes, one per line.
pub(crate) fn small_records(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut lines = Vec::with_capacity(count * 600);
    for number in 0..count {
        small_record(&mut lines, &mut random, number);
        lines.push(b'\n');
    }
    lines
}

fn small_record(line: &mut Vec<u8>, random: &mut Random, number: usize) {
    let start = 1_700_000_000_000_000_000 + random.below(100_000_000_000_000_000);
    let end = start + random.below(1_000_000_000);
    let (ray, status) = (random.next(), 200 + random.below(350));
    let (path, agent) = (random.pick(&PATHS), random.pick(&AGENTS));
    let ip = random.below(1 << 16);
    write!(
        line,
        r#"{{"RayID":"{ray:016x}","EdgeStartTimestamp":{start},"EdgeEndTimestamp":{end},"ClientIP":"2001:db8::{ip:x}","ClientRequestHost":"www.example.com","ClientRequestMethod":"GET","ClientRequestURI":"{path}","ClientRequestUserAgent":"{agent}","EdgeResponseStatus":{status},"CacheCacheStatus":"dynamic","WorkerSubrequest":false,"OriginResponseTime":1.5e-3,"SecurityActions":[],"Number":{number}}}"#
    )
    .unwrap();
}

/// Records of about 2 KB in the shape of the `http_requests` dataset, one per line.
pub(crate) fn http_requests(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut lines = Vec::with_capacity(count * 2200);
    for number in 0..count {
        small_record(&mut lines, &mut random, number);
        // Continues the object that was just closed.
        lines.pop();
        for field in 0..24 {
            let value = random.next();
            let (path, ns) = (random.pick(&PATHS), 1_790_000_000_000_000_000 + value % 1_000_000);
            write!(lines, r#","Field{field}":"{path}","Field{field}Ns":{ns}"#).unwrap();
        }
        lines.extend_from_slice(
            br#","RequestHeaders":{"accept":"*/*","x":null},"JA4Signals":{"h2h3_ratio_1h":0.98}}"#,
        );
        lines.push(b'\n');
    }
    lines
}

/// A batch whose records contain its number and their index.
pub(crate) fn numbered(batch: u64, count: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    for index in 0..count {
        let pad = "x".repeat(usize::try_from(batch % 37).unwrap() + index % 101);
        let line = format!(r#"{{"batch":{batch},"index":{index},"of":{count},"pad":"{pad}"}}"#);
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
    lines
}

/// The number of records in a body that ends with a newline.
pub(crate) fn count_lines(body: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', body).count() as u64
}

/// The content of one gzip member.
#[expect(clippy::disallowed_types, reason = "what a test has packed itself has no limits to keep")]
pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

/// One gzip member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
