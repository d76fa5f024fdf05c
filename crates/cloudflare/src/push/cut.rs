//! Reads a source and cuts it into batches. Memory does not grow with the source, nor with a batch but
//! for what that is when it is gzipped.

use std::io::Read;

use memchr::memchr_iter;
use records::decode::{self, Inflate};

use super::{
    Failure,
    batch::{Batch, Body},
    compressed,
    pieces::{PIECE_BYTES, Pieces},
};

/// What has no line end for so long is no line: Logpush's records end at 1 MB.
const MAX_RECORD_BYTES: usize = 64 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Nothing of the file was sent: this is found when its first batch is full.
const NOT_JSON: &str = "it does not begin with a JSON object and needs more than one batch, so push must know what its first line is: \
    --csv-header if it names the columns of CSV, --no-csv-header if it is a row of CSV like the others, --lines if each line is a record";

/// How a source becomes batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) max_bytes: u64,
    pub(super) max_records: u64,
    pub(super) level: u32,
    pub(super) how: How,
}

/// Where batches end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// After a record. Only JSON is split: in anything else the first line may name the columns of
    /// CSV, and each batch would need it.
    Records,
    /// After a line, whatever it holds.
    Lines,
    /// After a row of CSV. No row names the columns.
    Rows,
    /// After a row of CSV. The first row names the columns and begins each batch.
    NamedRows,
    /// At the end of the file.
    Whole,
}

/// Cuts `from` into batches, and hands each over.
pub(super) fn cut(
    from: impl Read,
    options: Cut,
    take: &mut dyn FnMut(Body) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match options.how {
        How::Records | How::Lines | How::Rows | How::NamedRows => lines(from, options, take),
        How::Whole => whole(from, options, take),
    }
}

fn lines(
    from: impl Read,
    options: Cut,
    take: &mut dyn FnMut(Body) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut pieces = Pieces::new(from);
    let batch = Batch::new(options.level);
    let mut filling =
        Filling { options, batch, is_first: true, is_json: false, header: Vec::new() };
    // A record that began in an earlier piece, or a row that began in an earlier line.
    let mut begun = Vec::new();
    let mut in_quotes = false;
    let has_cells = matches!(options.how, How::Rows | How::NamedRows);
    let is_odd = |bytes: &[u8]| has_cells && memchr_iter(b'"', bytes).count() % 2 == 1;
    let mut is_start = true;
    while let Some(piece) = pieces.next()? {
        if std::mem::take(&mut is_start) {
            // Once more: it may have been in gzip.
            compressed::refuse(piece)?;
        }
        let mut start = 0;
        for at in memchr_iter(b'\n', piece) {
            let line = piece.get(start..=at).unwrap_or_default();
            start = at + 1;
            // A quote within quotes is doubled, so that outside of all cells their number is even.
            in_quotes ^= is_odd(line);
            if in_quotes {
                begun.extend_from_slice(line);
                continue;
            }
            if begun.is_empty() {
                filling.add(line, take)?;
            } else {
                begun.extend_from_slice(line);
                filling.add(&begun, take)?;
                begun.clear();
            }
        }
        let rest = piece.get(start..).unwrap_or_default();
        in_quotes ^= is_odd(rest);
        begun.extend_from_slice(rest);
        if begun.len() > MAX_RECORD_BYTES {
            return Err(Failure::Flaw(format!(
                "there is no line end for {} MiB: records are lines; --whole sends a file as it is",
                MAX_RECORD_BYTES >> 20
            )));
        }
    }
    if !begun.is_empty() {
        begun.push(b'\n');
        filling.add(&begun, take)?;
    }
    if filling.batch.records > 0 { take(filling.batch.finish()?) } else { Ok(()) }
}

struct Filling {
    options: Cut,
    batch: Batch,
    /// There was no record yet.
    is_first: bool,
    /// The first record begins like a JSON object.
    is_json: bool,
    /// The row that begins each batch, if one does.
    header: Vec<u8>,
}

impl Filling {
    fn add(
        &mut self,
        line: &[u8],
        take: &mut dyn FnMut(Body) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let is_first = std::mem::take(&mut self.is_first);
        if is_first && self.options.how == How::NamedRows {
            self.header = line.to_vec();
            return Ok(());
        }
        if is_first && self.options.how == How::Records && !decode::opens_as_lines(line) {
            return Err(Failure::Flaw(String::from(
                "it begins like an array of records, or an object around one, which cannot be cut into batches: --whole sends it as it is",
            )));
        }
        if is_first {
            let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            self.is_json = text.trim_ascii_start().starts_with(b"{");
        }
        let is_full = self.batch.records >= self.options.max_records
            || self.batch.bytes + line.len() as u64 > self.options.max_bytes;
        if is_full && self.batch.records > 0 {
            if self.options.how == How::Records && !self.is_json {
                return Err(Failure::Flaw(NOT_JSON.to_owned()));
            }
            let full = std::mem::replace(&mut self.batch, Batch::new(self.options.level));
            take(full.finish()?)?;
        }
        if self.batch.records == 0 {
            self.batch.write(&self.header)?;
        }
        Ok(self.batch.push(line)?)
    }
}

/// One batch, of whatever it holds. What is gzip already is sent as it is.
fn whole(
    mut from: impl Read,
    options: Cut,
    take: &mut dyn FnMut(Body) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut start = Vec::new();
    from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut start)?;
    if Inflate::of(&start).is_gzip() {
        from.read_to_end(&mut start)?;
        return take(Body { gzip: start.into(), records: 0, bytes: 0 });
    }
    let mut batch = Batch::new(options.level);
    while !start.is_empty() {
        batch.write(&start)?;
        start.clear();
        from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut start)?;
    }
    if batch.bytes > 0 { take(batch.finish()?) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::Bytes;

    use super::{super::pieces::INFLATED_BYTES, *};

    /// The batches of `from`: records and inflated text.
    fn batches(from: &[u8], options: Cut) -> Result<Vec<(u64, String)>, String> {
        let mut batches = Vec::new();
        let outcome = cut(from, options, &mut |body| {
            batches.push((body.records, String::from_utf8(inflated(&body.gzip)).unwrap()));
            Ok(())
        });
        outcome.map(|()| batches).map_err(|failure| failure.to_string())
    }

    fn inflated(gzip: &[u8]) -> Vec<u8> {
        let mut pieces = Pieces::new(gzip);
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().unwrap() {
            bytes.extend_from_slice(piece);
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
        let mut batch = Batch::new(9);
        batch.write(text).unwrap();
        batch.finish().unwrap().gzip
    }

    const LINES: Cut = Cut { max_bytes: 8, max_records: 3, level: 6, how: How::Records };

    #[test]
    fn a_batch_ends_behind_a_record_within_its_limits() {
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
        // Two members, the second of them in the middle of a record.
        let zipped = [gzip(&text[..7]), gzip(&text[7..])].concat();
        assert_eq!(batches(&zipped, LINES).unwrap(), want);
        let mut sent = 0;
        let slow = OneByOne(&zipped);
        cut(slow, LINES, &mut |body| {
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
    fn each_batch_of_rows_begins_with_the_names() {
        let text = b"\na,b\r\n1,\"x\n\"\"y\"\n2,z\n\n3,\"\n\n\"\n4,last";
        let want = [(2, "a,b\r\n1,\"x\n\"\"y\"\n2,z\n"), (2, "a,b\r\n3,\"\n\n\"\n4,last\n")];
        let want: Vec<_> = want.map(|(records, text)| (records, text.to_owned())).into();
        let rows = Cut { max_bytes: 1000, max_records: 2, level: 6, how: How::NamedRows };
        assert_eq!(batches(text, rows).unwrap(), want);
        assert_eq!(batches(&gzip(text), rows).unwrap(), want);
        let mut slow = Vec::new();
        cut(OneByOne(text), rows, &mut |body| {
            slow.push((body.records, String::from_utf8(inflated(&body.gzip)).unwrap()));
            Ok(())
        })
        .unwrap();
        assert_eq!(slow, want);
        assert_eq!(batches(b"a,b\n", rows).unwrap(), []);
        // The row of names counts as bytes of a batch.
        let small = Cut { max_bytes: 9, ..rows };
        let found = batches(b"a,b\n1,2\n3,4\n", small).unwrap();
        assert_eq!(found, [(1, "a,b\n1,2\n".to_owned()), (1, "a,b\n3,4\n".to_owned())]);
    }

    #[test]
    fn only_json_is_split_unless_the_first_line_is_known() {
        let text = b"n,x\n1,\"\n\"\n2,b\n3,c\n";
        let two = Cut { max_bytes: 1000, max_records: 2, ..LINES };
        for bytes in [&text[..], &gzip(text), b"\xef\xbb\xbfa\nb\nc\n", b"\n\na\nb\nc\n"] {
            let mut sent = 0;
            let outcome = cut(bytes, two, &mut |_| {
                sent += 1;
                Ok(())
            });
            let error = outcome.unwrap_err().to_string();
            for option in ["--csv-header", "--no-csv-header", "--lines"] {
                assert!(error.contains(option), "{error}");
            }
            assert_eq!(sent, 0);
        }
        let one = Cut { max_records: 5, ..two };
        assert_eq!(batches(text, one).unwrap().len(), 1);
        let json = b"\xef\xbb\xbf {\"a\":1}\nb\nc\n";
        assert_eq!(batches(json, two).unwrap().len(), 2);
        let split = |how| {
            let found = batches(text, Cut { how, ..two }).unwrap();
            found.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(split(How::Rows), ["n,x\n1,\"\n\"\n", "2,b\n3,c\n"]);
        assert_eq!(split(How::Lines), ["n,x\n1,\"\n", "\"\n2,b\n", "3,c\n"]);
        assert_eq!(split(How::NamedRows), ["n,x\n1,\"\n\"\n2,b\n", "n,x\n3,c\n"]);
    }

    #[test]
    fn records_may_be_longer_than_what_is_read_at_a_time() {
        let record = format!("{{\"a\":\"{}\"}}\n", "x".repeat(3 * INFLATED_BYTES));
        let text = record.repeat(4);
        let large = Cut { max_bytes: 2 * record.len() as u64, ..LINES };
        for bytes in [text.as_bytes(), &gzip(text.as_bytes())] {
            let found = batches(bytes, large).unwrap();
            assert_eq!(found, vec![(2, record.repeat(2)); 2]);
        }
    }

    #[test]
    fn what_is_no_file_of_lines_is_said_to_be_none() {
        for text in ["[{\"a\":1},\n{\"a\":2}]", "{\"events\":[\n{\"a\":1}]}"] {
            assert!(batches(text.as_bytes(), LINES).unwrap_err().contains("--whole"), "{text}");
            let whole = Cut { how: How::Whole, ..LINES };
            assert_eq!(batches(text.as_bytes(), whole).unwrap(), [(0, text.to_owned())]);
        }
        let cut_off = gzip(b"{\"a\":1}\n");
        let error = batches(&cut_off[..cut_off.len() - 1], LINES).unwrap_err();
        assert!(error.contains("ends in the middle"), "{error}");
        let endless = vec![b'x'; MAX_RECORD_BYTES + 1];
        assert!(batches(&endless, LINES).unwrap_err().contains("no line end for 64 MiB"));
    }

    #[test]
    fn what_is_gzip_already_is_sent_as_it_is() {
        let whole = Cut { how: How::Whole, ..LINES };
        let zipped = gzip(&b"a,b\n1,2\n".repeat(100_000));
        let mut sent = Vec::new();
        cut(&zipped[..], whole, &mut |body| {
            sent.push(body.gzip);
            Ok(())
        })
        .unwrap();
        assert_eq!(sent, [zipped]);
        assert_eq!(batches(b"", whole).unwrap(), []);
    }
}
