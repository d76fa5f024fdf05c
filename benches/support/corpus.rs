//! Generates records like those of Cloudflare's `http_requests` from a seed, the same on every
//! machine.
//!
//! Hosts, paths, agents and clients are from small pools in which some are frequent. Identifiers
//! and times are random. The gzip ratio is about that of real batches.

use std::io::{self, Write as _};

use flate2::{Compression, write::GzEncoder};

/// The fields of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shape {
    /// About 2.2 KB: all fields, some with headers.
    Large,
    /// About 520 bytes: the fields of a lean job.
    Small,
}

/// A source of records.
pub(crate) struct Corpus {
    random: Random,
    shape: Shape,
    clock: u64,
}

impl Corpus {
    pub(crate) fn new(seed: u64, shape: Shape) -> Self {
        Self { random: Random::new(seed), shape, clock: 1_763_755_200_000_000_000 }
    }

    /// Generates records, one per line.
    pub(crate) fn lines(&mut self, records: usize) -> io::Result<Vec<u8>> {
        let mut lines = Vec::new();
        for _ in 0..records {
            match self.shape {
                Shape::Large => self.large(&mut lines)?,
                Shape::Small => self.small(&mut lines)?,
            }
            lines.push(b'\n');
        }
        Ok(lines)
    }

    fn large(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Request { start, end, ray, client, host, path, agent, status, bytes } = self.request();
        let r = &mut self.random;
        let (country, asn) = (COUNTRIES[client % 12], 3000 + client % 50 * 97);
        let ip = format_args!("198.51.{}.{}", client % 7 + 100, client * 37 % 256).to_string();
        let (colo, cache) = (COLOS[client % 12], ["hit", "miss", "dynamic", "expired"][r.often(4)]);
        let origin = r.often(3);
        let (ttfb, duration) = (r.below(400), r.below(300));
        let (sid, ja3) = (r.next(), r.next());
        write!(
            out,
            "{{\"BotScore\":{},\"BotScoreSrc\":\"Machine Learning\",\"BotTags\":[],\
             \"CacheCacheStatus\":\"{cache}\",\"CacheResponseBytes\":{},\
             \"CacheResponseStatus\":{status},\"CacheTieredFill\":false,\"ClientASN\":{asn},\
             \"ClientCountry\":\"{country}\",\"ClientIP\":\"{ip}\",\
             \"ClientIPClass\":\"noRecord\",\
             \"ClientMTLSAuthStatus\":\"unknown\",\"ClientRegionCode\":\"{country}-{}\",\
             \"ClientRequestBytes\":{},\"ClientRequestHost\":\"{host}\",\
             \"ClientRequestMethod\":\"{}\",\"ClientRequestPath\":\"{path}\",\
             \"ClientRequestProtocol\":\"HTTP/2\",\"ClientRequestReferer\":\"https://{host}/\",\
             \"ClientRequestScheme\":\"https\",\"ClientRequestSource\":\"eyeball\",\
             \"ClientRequestURI\":\"{path}?sid={sid:016x}\",\"ClientRequestUserAgent\":\"{agent}\",\
             \"ClientSrcPort\":{},\"ClientSSLCipher\":\"AEAD-AES128-GCM-SHA256\",\
             \"ClientSSLProtocol\":\"TLSv1.3\",\"ClientTCPRTTMs\":{},",
            r.below(99) + 1,
            bytes + 412,
            client % 9,
            r.below(900) + 100,
            ["GET", "POST", "HEAD"][r.often(3)],
            r.below(60_000) + 1024,
            r.often(80),
        )?;
        write!(
            out,
            "\"Cookies\":{{}},\
             \"EdgeCFConnectingO2O\":false,\"EdgeColoCode\":\"{colo}\",\"EdgeColoID\":{},\
             \"EdgeEndTimestamp\":{end},\
             \"EdgePathingStatus\":\"nr\",\"EdgeRequestHost\":\"{host}\",\
             \"EdgeResponseBodyBytes\":{bytes},\"EdgeResponseBytes\":{},\
             \"EdgeResponseCompressionRatio\":{},\"EdgeResponseContentType\":\"{}\",\
             \"EdgeResponseStatus\":{status},\"EdgeServerIP\":\"203.0.113.{}\",\
             \"EdgeStartTimestamp\":{start},\"EdgeTimeToFirstByteMs\":{ttfb},\
             \"JA3Hash\":\"{ja3:016x}{sid:016x}\",\"JA4\":\"t13d1516h2_8daaf6152771_02713d6af862\",\
             \"OriginDNSResponseTimeMs\":{origin},\
             \"OriginIP\":\"192.0.2.{}\",\
             \"OriginResponseBytes\":0,\"OriginResponseDurationMs\":{duration},\
             \
             \"OriginResponseHeaderReceiveDurationMs\":{},\"OriginResponseStatus\":{status},\
             \"OriginResponseTime\":{},\"OriginSSLProtocol\":\"TLSv1.3\",\
             \"OriginTCPHandshakeDurationMs\":{},\"OriginTLSHandshakeDurationMs\":{},",
            client % 12 * 31 + 11,
            bytes + 700,
            ["0", "2.74", "3.91", "4.6"][r.often(4)],
            ["text/html", "application/json", "image/webp", "text/css"][r.often(4)],
            r.often(60),
            r.often(6) + 10,
            duration.saturating_sub(1),
            duration * 1_000_000,
            r.often(9),
            r.often(20),
        )?;
        write!(
            out,
            "\"ParentRayID\":\"00\",\"RayID\":\"{ray:016x}\",\
             \"ResponseHeaders\":{{\"x-frame-options\":\"SAMEORIGIN\",\"vary\":\"Accept-Encoding\"}},\
             \"SecurityAction\":\"\",\"SecurityActions\":[],\
             \"SecurityRuleID\":\"\",\"SecurityRuleIDs\":[],\"SecuritySources\":[],\
             \"UpperTierColoID\":0,\
             \"WAFAttackScore\":{},\"WAFRCEAttackScore\":{},\"WAFSQLiAttackScore\":{},\
             \"WAFXSSAttackScore\":{},\"WorkerCPUTime\":0,\
             \"WorkerStatus\":\"unknown\",\"WorkerSubrequest\":false,\"WorkerSubrequestCount\":0,\
             \"ZoneName\":\"example.com\"}}",
            80 + r.often(20),
            80 + r.often(20),
            80 + r.often(20),
            80 + r.often(20),
        )
    }

    fn small(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Request { start, end, ray, client, host, path, agent, status, bytes } = self.request();
        let r = &mut self.random;
        let (sid, ja3) = (r.next(), r.next());
        write!(
            out,
            "{{\"ClientIP\":\"198.51.{}.{}\",\"ClientCountry\":\"{}\",\"ClientRequestHost\":\"{host}\",\
             \"ClientRequestMethod\":\"{}\",\"ClientRequestURI\":\"{path}?sid={sid:016x}\",\
             \"ClientRequestUserAgent\":\"{agent}\",\"EdgeStartTimestamp\":{start},\
             \"EdgeEndTimestamp\":{end},\"EdgeResponseBytes\":{bytes},\
             \"EdgeResponseStatus\":{status},\"JA3Hash\":\"{ja3:016x}{:016x}\",\"RayID\":\"{ray:016x}\"}}",
            client % 7 + 100,
            client * 37 % 256,
            COUNTRIES[client % 12],
            ["GET", "POST", "HEAD"][r.often(3)],
            ja3.rotate_left(17).wrapping_mul(sid),
        )
    }

    fn request(&mut self) -> Request {
        let r = &mut self.random;
        // Records are not in order: their times spread over some seconds.
        self.clock += 1_000_000;
        let start = self.clock + r.below(5_000_000_000);
        let path = r.often(120);
        Request {
            start,
            end: start + r.below(900_000_000),
            ray: r.next(),
            client: usize::try_from(r.below(20_000)).unwrap_or(0),
            host: HOSTS[r.often(6)],
            path: format!("/{}/{}/{path}", WORDS[path % 8], WORDS[path / 8 % 8]),
            agent: AGENTS[r.often(5)],
            status: [200, 200, 304, 404, 302, 500][r.often(6)],
            bytes: r.below(90_000),
        }
    }
}

/// The fields that both shapes have.
struct Request {
    start: u64,
    end: u64,
    ray: u64,
    client: usize,
    host: &'static str,
    path: String,
    agent: &'static str,
    status: u16,
    bytes: u64,
}

/// Compresses like Logpush, as far as is known: one member with the default level.
pub(crate) fn gzip(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data)?;
    encoder.finish()
}

/// The random number generator `SplitMix64`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns an index below `end`. Low indexes are frequent.
    fn often(&mut self, end: usize) -> usize {
        let wide = end as u64;
        let least = self.below(wide).min(self.below(wide)).min(self.below(wide));
        usize::try_from(least).unwrap_or(0)
    }
}

const COUNTRIES: [&str; 12] =
    ["us", "de", "in", "br", "gb", "fr", "jp", "sg", "ca", "nl", "au", "za"];
const COLOS: [&str; 12] =
    ["IAD", "FRA", "BOM", "GRU", "LHR", "CDG", "NRT", "SIN", "YYZ", "AMS", "SYD", "JNB"];
const HOSTS: [&str; 6] = [
    "www.example.com",
    "api.example.com",
    "static.example.com",
    "shop.example.com",
    "img.example.com",
    "admin.example.com",
];
const WORDS: [&str; 8] =
    ["products", "assets", "api", "v2", "images", "search", "account", "checkout"];
const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
];
