//! Splits a source into batches. Memory holds one compressed batch and one record, whatever the size of
//! the source.

use std::io::Read;

use memchr::memchr_iter;
use records::decode::{self, Inflate};

use super::{
    PushError,
    batch::{BatchBuilder, GzippedBatch},
    chunks::{Chunks, INPUT_BYTES},
    format,
};

/// The longest line that is read. Logpush's records have at most 1 MB.
const MAX_RECORD_BYTES: usize = 64 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The error for a file that is not JSON, reported when its first batch is full, before anything is sent.
const NOT_JSON: &str = "the file does not begin with a JSON object and needs more than one batch, so push must know its format: \
    add --csv-header for CSV with a header row, --no-csv-header for CSV without one, or --lines if each line is a record";

/// Options for splitting a source into batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct SplitOptions {
    pub(super) max_bytes: u64,
    pub(super) max_records: u64,
    pub(super) level: u32,
    pub(super) mode: SplitMode,
}

/// The position where a batch may end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SplitMode {
    /// After a JSON record. Other files are not split, since their first line may be a CSV header that
    /// each batch would need.
    Records,
    /// After any line.
    Lines,
    /// After a CSV row, without a header row.
    CsvRows,
    /// After a CSV row; each batch begins with the header row.
    CsvWithHeader,
    /// At the end of the file.
    Whole,
}

/// Splits `from` into batches and passes each to `take`.
pub(super) fn split(
    from: impl Read,
    options: SplitOptions,
    take: &mut dyn FnMut(GzippedBatch) -> Result<(), PushError>,
) -> Result<(), PushError> {
    match options.mode {
        SplitMode::Records | SplitMode::Lines | SplitMode::CsvRows | SplitMode::CsvWithHeader => {
            lines(from, options, take)
        }
        SplitMode::Whole => whole(from, options, take),
    }
}

fn lines(
    from: impl Read,
    options: SplitOptions,
    take: &mut dyn FnMut(GzippedBatch) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let mut chunks = Chunks::new(from);
    let batch = BatchBuilder::new(options.level);
    let mut splitter =
        Splitter { options, batch, is_first: true, is_json: false, header: Vec::new() };
    // The start of a record from an earlier chunk, or of a row from an earlier line.
    let mut begun = Vec::new();
    let mut in_quotes = false;
    let has_cells = matches!(options.mode, SplitMode::CsvRows | SplitMode::CsvWithHeader);
    let is_odd = |bytes: &[u8]| has_cells && memchr_iter(b'"', bytes).count() % 2 == 1;
    let mut is_start = true;
    while let Some(chunk) = chunks.next()? {
        if std::mem::take(&mut is_start) {
            // Check again: the gzip data may contain an unsupported format.
            format::refuse(chunk)?;
        }
        let mut start = 0;
        for at in memchr_iter(b'\n', chunk) {
            let line = chunk.get(start..=at).unwrap_or_default();
            start = at + 1;
            // Quotes within a field are doubled, so their number is even at the end of a row.
            in_quotes ^= is_odd(line);
            if in_quotes {
                begun.extend_from_slice(line);
                continue;
            }
            if begun.is_empty() {
                splitter.add(line, take)?;
            } else {
                begun.extend_from_slice(line);
                splitter.add(&begun, take)?;
                begun.clear();
            }
        }
        let rest = chunk.get(start..).unwrap_or_default();
        in_quotes ^= is_odd(rest);
        begun.extend_from_slice(rest);
        if begun.len() > MAX_RECORD_BYTES {
            return Err(PushError::File(format!(
                "a line is longer than {} MiB: write one record per line, or add --whole to send the file unchanged",
                MAX_RECORD_BYTES >> 20
            )));
        }
    }
    if !begun.is_empty() {
        begun.push(b'\n');
        splitter.add(&begun, take)?;
    }
    if splitter.batch.records > 0 { take(splitter.batch.finish()?) } else { Ok(()) }
}

struct Splitter {
    options: SplitOptions,
    batch: BatchBuilder,
    /// Whether no record has been read yet.
    is_first: bool,
    /// Whether the first record begins like a JSON object.
    is_json: bool,
    /// The header row of each batch; may be empty.
    header: Vec<u8>,
}

impl Splitter {
    fn add(
        &mut self,
        line: &[u8],
        take: &mut dyn FnMut(GzippedBatch) -> Result<(), PushError>,
    ) -> Result<(), PushError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let is_first = std::mem::take(&mut self.is_first);
        if is_first && self.options.mode == SplitMode::CsvWithHeader {
            self.header = line.to_vec();
            return Ok(());
        }
        if is_first && self.options.mode == SplitMode::Records && !decode::opens_as_lines(line) {
            return Err(PushError::File(String::from(
                "a JSON array, or an object around one, cannot be split into batches: add --whole to send the file unchanged",
            )));
        }
        if is_first {
            let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            self.is_json = text.trim_ascii_start().starts_with(b"{");
        }
        let is_full = self.batch.records >= self.options.max_records
            || self.batch.bytes + line.len() as u64 > self.options.max_bytes;
        if is_full && self.batch.records > 0 {
            if self.options.mode == SplitMode::Records && !self.is_json {
                return Err(PushError::File(NOT_JSON.to_owned()));
            }
            let full = std::mem::replace(&mut self.batch, BatchBuilder::new(self.options.level));
            take(full.finish()?)?;
        }
        if self.batch.records == 0 {
            self.batch.write(&self.header)?;
        }
        Ok(self.batch.push(line)?)
    }
}

/// Makes one batch of the whole source. A source in gzip is sent unchanged.
fn whole(
    mut from: impl Read,
    options: SplitOptions,
    take: &mut dyn FnMut(GzippedBatch) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let mut start = Vec::new();
    from.by_ref().take(INPUT_BYTES as u64).read_to_end(&mut start)?;
    if Inflate::detect(&start).is_gzip() {
        from.read_to_end(&mut start)?;
        return take(GzippedBatch { gzip: start.into(), records: 0, bytes: 0 });
    }
    let mut batch = BatchBuilder::new(options.level);
    while !start.is_empty() {
        batch.write(&start)?;
        start.clear();
        from.by_ref().take(INPUT_BYTES as u64).read_to_end(&mut start)?;
    }
    if batch.bytes > 0 { take(batch.finish()?) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::Bytes;

    use super::{super::chunks::INFLATED_BYTES, *};

    /// Returns the number of records and the decompressed text of each batch.
    fn batches(from: &[u8], options: SplitOptions) -> Result<Vec<(u64, String)>, String> {
        let mut batches = Vec::new();
        let outcome = split(from, options, &mut |body| {
            batches.push((body.records, String::from_utf8(inflated(&body.gzip)).unwrap()));
            Ok(())
        });
        outcome.map(|()| batches).map_err(|error| error.to_string())
    }

    fn inflated(gzip: &[u8]) -> Vec<u8> {
        let mut chunks = Chunks::new(gzip);
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().unwrap() {
            bytes.extend_from_slice(chunk);
        }
        bytes
    }

    /// A slow pipe.
    struct OneByOne<'a>(&'a [u8]);

    impl Read for OneByOne<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn gzip(text: &[u8]) -> Bytes {
        let mut batch = BatchBuilder::new(9);
        batch.write(text).unwrap();
        batch.finish().unwrap().gzip
    }

    const LINES: SplitOptions =
        SplitOptions { max_bytes: 8, max_records: 3, level: 6, mode: SplitMode::Records };

    #[test]
    fn a_batch_ends_after_a_record_within_its_limits() {
        let text = b"\n{1}\n \t\r\n{2}\r\n{333333333333}\n4\n5\n6\n7\n{end}";
        let want = [
            (1, "{1}\n"),
            (1, "{2}\r\n"),
            (1, "{333333333333}\n"),
            (3, "4\n5\n6\n"),
            (2, "7\n{end}\n"),
        ];
        let want: Vec<_> =
            want.iter().map(|(records, text)| (*records, (*text).to_owned())).collect();
        assert_eq!(batches(text, LINES).unwrap(), want);
        // Two gzip members; the second begins in the middle of a record.
        let zipped = [gzip(&text[..7]), gzip(&text[7..])].concat();
        assert_eq!(batches(&zipped, LINES).unwrap(), want);
        let mut sent = 0;
        let slow = OneByOne(&zipped);
        split(slow, LINES, &mut |body| {
            sent += body.records;
            Ok(())
        })
        .unwrap();
        assert_eq!(sent, 8);
        for blank in [&b""[..], b"\n\n", &gzip(b"")] {
            assert_eq!(batches(blank, LINES).unwrap(), []);
        }
    }

    #[test]
    fn each_csv_batch_begins_with_the_header_row() {
        let text = b"\na,b\r\n1,\"x\n\"\"y\"\n2,z\n\n3,\"\n\n\"\n4,last";
        let want = [(2, "a,b\r\n1,\"x\n\"\"y\"\n2,z\n"), (2, "a,b\r\n3,\"\n\n\"\n4,last\n")];
        let want: Vec<_> = want.map(|(records, text)| (records, text.to_owned())).into();
        let rows = SplitOptions {
            max_bytes: 1000,
            max_records: 2,
            level: 6,
            mode: SplitMode::CsvWithHeader,
        };
        assert_eq!(batches(text, rows).unwrap(), want);
        assert_eq!(batches(&gzip(text), rows).unwrap(), want);
        let mut slow = Vec::new();
        split(OneByOne(text), rows, &mut |body| {
            slow.push((body.records, String::from_utf8(inflated(&body.gzip)).unwrap()));
            Ok(())
        })
        .unwrap();
        assert_eq!(slow, want);
        assert_eq!(batches(b"a,b\n", rows).unwrap(), []);
        // The header row counts toward the size of a batch.
        let small = SplitOptions { max_bytes: 9, ..rows };
        let found = batches(b"a,b\n1,2\n3,4\n", small).unwrap();
        assert_eq!(found, [(1, "a,b\n1,2\n".to_owned()), (1, "a,b\n3,4\n".to_owned())]);
    }

    #[test]
    fn other_files_than_json_are_split_only_with_an_option() {
        let text = b"n,x\n1,\"\n\"\n2,b\n3,c\n";
        let two = SplitOptions { max_bytes: 1000, max_records: 2, ..LINES };
        for bytes in [&text[..], &gzip(text), b"\xef\xbb\xbfa\nb\nc\n", b"\n\na\nb\nc\n"] {
            let mut sent = 0;
            let outcome = split(bytes, two, &mut |_| {
                sent += 1;
                Ok(())
            });
            let error = outcome.unwrap_err().to_string();
            for option in ["--csv-header", "--no-csv-header", "--lines"] {
                assert!(error.contains(option), "{error}");
            }
            assert_eq!(sent, 0);
        }
        let one = SplitOptions { max_records: 5, ..two };
        assert_eq!(batches(text, one).unwrap().len(), 1);
        let json = b"\xef\xbb\xbf {\"a\":1}\nb\nc\n";
        assert_eq!(batches(json, two).unwrap().len(), 2);
        let texts = |mode| {
            let found = batches(text, SplitOptions { mode, ..two }).unwrap();
            found.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(texts(SplitMode::CsvRows), ["n,x\n1,\"\n\"\n", "2,b\n3,c\n"]);
        assert_eq!(texts(SplitMode::Lines), ["n,x\n1,\"\n", "\"\n2,b\n", "3,c\n"]);
        assert_eq!(texts(SplitMode::CsvWithHeader), ["n,x\n1,\"\n\"\n2,b\n", "n,x\n3,c\n"]);
    }

    #[test]
    fn records_may_be_longer_than_a_chunk() {
        let record = format!("{{\"a\":\"{}\"}}\n", "x".repeat(3 * INFLATED_BYTES));
        let text = record.repeat(4);
        let large = SplitOptions { max_bytes: 2 * record.len() as u64, ..LINES };
        for bytes in [text.as_bytes(), &gzip(text.as_bytes())] {
            let found = batches(bytes, large).unwrap();
            assert_eq!(found, vec![(2, record.repeat(2)); 2]);
        }
    }

    #[test]
    fn files_that_cannot_be_split_are_refused() {
        for text in ["[{\"a\":1},\n{\"a\":2}]", "{\"events\":[\n{\"a\":1}]}"] {
            assert!(batches(text.as_bytes(), LINES).unwrap_err().contains("--whole"), "{text}");
            let whole = SplitOptions { mode: SplitMode::Whole, ..LINES };
            assert_eq!(batches(text.as_bytes(), whole).unwrap(), [(0, text.to_owned())]);
        }
        let truncated = gzip(b"{\"a\":1}\n");
        let error = batches(&truncated[..truncated.len() - 1], LINES).unwrap_err();
        assert!(error.contains("ends in the middle"), "{error}");
        let endless = vec![b'x'; MAX_RECORD_BYTES + 1];
        assert!(batches(&endless, LINES).unwrap_err().contains("longer than 64 MiB"));
    }

    #[test]
    fn with_whole_a_gzip_file_is_sent_unchanged() {
        let whole = SplitOptions { mode: SplitMode::Whole, ..LINES };
        let zipped = gzip(&b"a,b\n1,2\n".repeat(100_000));
        let mut sent = Vec::new();
        split(&zipped[..], whole, &mut |body| {
            sent.push(body.gzip);
            Ok(())
        })
        .unwrap();
        assert_eq!(sent, [zipped]);
        assert_eq!(batches(b"", whole).unwrap(), []);
    }
}
