//! Tests of rows and lines of text, by example and with generated input.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::MAX_REJECTS;
use crate::decode::{
    BLOCK_BYTES, Block, DecodeError, Decoder, Delimiter, Edition, Encoding, Excess, Format, Limits,
    MAX_NAMES_BYTES, RejectReason,
};

const LIMITS: Limits = Limits { inflated_bytes: 64 << 20, record_bytes: 1 << 20 };
const CSV: Format = Format::Csv(Delimiter::Comma);

fn decode(format: Format, record_bytes: usize, wire: &[u8], chunk: usize) -> Block {
    let mut all = Block::default();
    let mut gather = |block: Block| {
        all.bytes.extend(block.bytes);
        all.records += block.records;
        all.rejects.extend(block.rejects);
    };
    let limits = Limits { record_bytes, ..LIMITS };
    let mut decoder = Decoder::new(limits, Encoding::Identity).with_format(format);
    for chunk in wire.chunks(chunk) {
        decoder.push(chunk, &mut gather).unwrap();
    }
    let summary = decoder.finish(&mut gather).unwrap();
    assert_eq!(summary.records, all.records);
    assert_eq!(summary.rejected, all.rejects.len() as u64);
    assert_eq!(memchr::memchr_iter(b'\n', &all.bytes).count() as u64, all.records);
    all
}

fn lines(format: Format, wire: &str) -> (String, Vec<(RejectReason, u64, String)>) {
    let block = decode(format, LIMITS.record_bytes, wire.as_bytes(), 5);
    let rejects = block.rejects.iter().map(|reject| {
        (reject.reason, reject.position, String::from_utf8_lossy(&reject.bytes).into_owned())
    });
    (String::from_utf8(block.bytes).unwrap(), rejects.collect())
}

#[test]
fn cells_become_the_values_that_logpush_would_send() {
    // As Logpush writes CSV: quoted strings, unquoted numbers, and a header without quotes.
    let wire = "ClientIP,EdgeStartTimestamp,RayID,Flag,Score\n\
        \"192.0.2.1\",1506702504433000200,\"3e6050\",true,-1.50e3\n\
        \"\",0,\"\",false,99999999999999999999.5\r\n\n\
        ,null,a b,True,007\n";
    let want = "{\"ClientIP\":\"192.0.2.1\",\"EdgeStartTimestamp\":1506702504433000200,\"RayID\":\"3e6050\",\"Flag\":true,\"Score\":-1.50e3}\n\
        {\"ClientIP\":\"\",\"EdgeStartTimestamp\":0,\"RayID\":\"\",\"Flag\":false,\"Score\":99999999999999999999.5}\n\
        {\"ClientIP\":\"\",\"EdgeStartTimestamp\":null,\"RayID\":\"a b\",\"Flag\":\"True\",\"Score\":\"007\"}\n";
    assert_eq!(lines(CSV, wire), (want.to_owned(), vec![]));
    for delimiter in Delimiter::ALL {
        let wire = wire.replace(',', &char::from(delimiter.byte()).to_string());
        let got = lines(Format::Csv(delimiter), &wire);
        assert_eq!(got, (want.to_owned(), vec![]), "{delimiter:?}");
    }
}

#[test]
fn a_quoted_cell_may_contain_any_character() {
    let wire =
        "\u{feff}\"a,1\",\"b\"\"\"\n\"x,\"\"y\"\"\r\nz\",\"\"\n\"\"\"\",\" \"\na\"b,\"12\"\n1,2\n";
    let want = "{\"a,1\":\"x,\\\"y\\\"\\r\\nz\",\"b\\\"\":\"\"}\n\
        {\"a,1\":\"\\\"\",\"b\\\"\":\" \"}\n\
        {\"a,1\":\"a\\\"b\",\"b\\\"\":\"12\"}\n\
        {\"a,1\":1,\"b\\\"\":2}\n";
    assert_eq!(lines(CSV, wire), (want.to_owned(), vec![]));
}

#[test]
fn only_the_invalid_row_is_rejected() {
    use RejectReason::NotCsv;
    let (good, bad) = lines(CSV, "a,b\n1,2\n1\n1,2,3\n\"x\"y,2\n3,4\n5,\"open\n6,7\n");
    assert_eq!(good, "{\"a\":1,\"b\":2}\n{\"a\":3,\"b\":4}\n");
    let want = [(2, "1"), (3, "1,2,3"), (4, "\"x\"y,2"), (6, "5,\"open\n6,7")];
    assert_eq!(bad, want.map(|(at, text)| (NotCsv, at, text.to_owned())));

    let block = decode(CSV, 64, b"a\n\"\xff\"\n\"ok\"\n", 1);
    assert_eq!(block.bytes, b"{\"a\":\"ok\"}\n");
    assert_eq!(block.rejects[0].reason, RejectReason::NotUtf8);
}

#[test]
fn every_row_is_rejected_without_column_names() {
    for wire in ["\"a\nb,c\n1,2\n", "\"a\"x,b\n1,2\n"] {
        let (good, bad) = lines(CSV, wire);
        assert_eq!(good, "", "{wire:?}");
        assert!(!bad.is_empty() && bad.iter().all(|(reason, ..)| *reason == RejectReason::NotCsv));
    }
    assert_eq!(lines(CSV, "a,b\n"), (String::new(), vec![]));
    assert_eq!(lines(CSV, "\r\n\n"), (String::new(), vec![]));
}

#[test]
fn lines_of_text_become_messages() {
    let wire = "CEF:0|Cloudflare|x\r\n\n  \n a \"hi\"\t\u{e9}\nlast";
    let want = "{\"message\":\"CEF:0|Cloudflare|x\"}\n\
        {\"message\":\" a \\\"hi\\\"\\t\u{e9}\"}\n{\"message\":\"last\"}\n";
    assert_eq!(lines(Format::Text, wire), (want.to_owned(), vec![]));
    let block = decode(Format::Text, 64, b"{\"a\":1}\n\xff\n", 3);
    assert_eq!(block.bytes, b"{\"message\":\"{\\\"a\\\":1}\"}\n");
    assert_eq!(block.rejects[0].reason, RejectReason::NotUtf8);
}

#[test]
fn only_the_row_that_is_too_long_is_rejected() {
    for format in [CSV, Format::Text] {
        // The row is too long; the record made of it is; the row exceeds the buffer.
        for long in ["x".repeat(65), "x".repeat(60), "x".repeat(700_000)] {
            let wire = format!("a\r\n{long}\r\nz\r\n");
            for chunk in [1, 7, 1 << 20] {
                let block = decode(format, 64, wire.as_bytes(), chunk.max(wire.len() / 1000));
                assert!(block.bytes.ends_with(b"\"z\"}\n"), "{format:?} {}", long.len());
                assert_eq!(block.rejects.len(), 1);
                assert_eq!(block.rejects[0].reason, RejectReason::TooLong);
                // The length includes the CR if the row exceeds the buffer.
                let beyond = block.rejects[0].length - long.len() as u64;
                assert!(beyond <= 1, "{beyond} more");
            }
        }
    }
    // Quotes that are not closed affect no more than the record limit.
    let open = format!("a\n\"{}\n{}", "x".repeat(80), "\"y\"\n".repeat(50));
    let block = decode(CSV, 64, open.as_bytes(), 9);
    assert_eq!(block.records, 50);
}

/// All blocks of a body, and the number of records.
fn blocks(decoder: Decoder, wire: &[u8]) -> (Vec<Block>, Result<u64, DecodeError>) {
    let (mut blocks, mut decoder) = (Vec::new(), decoder);
    let pushed = decoder.push(wire, &mut |block| blocks.push(block));
    let finished = pushed.and_then(|()| decoder.finish(&mut |block| blocks.push(block)));
    (blocks, finished.map(|summary| summary.records))
}

#[test]
fn the_size_of_column_names_is_limited() {
    let decode = |bytes: usize| lines(CSV, &format!("{}\n1\n2\n", "x".repeat(bytes)));
    let (good, bad) = decode(MAX_NAMES_BYTES);
    assert_eq!((good.lines().count(), bad.len()), (2, 0));
    let (good, bad) = decode(MAX_NAMES_BYTES + 1);
    assert_eq!(good, "");
    let reasons: Vec<_> = bad.iter().map(|(reason, at, _)| (*reason, *at)).collect();
    let (long, bad) = (RejectReason::TooLong, RejectReason::NotCsv);
    assert_eq!(reasons, [(long, 1), (bad, 2), (bad, 3)]);
}

#[test]
fn the_size_of_made_records_is_limited() {
    let name = "x".repeat(1000);
    let csv = (CSV, format!("{name}\n{}", "7\n".repeat(2000)), name.len() + 6);
    let text = (Format::Text, "y\n".repeat(100_000), "{\"message\":\"y\"}".len());
    // Records that are rejected after they are made count as well.
    let long = (CSV, format!("{name}\n{}", format!("{}\n", "y".repeat(1000)).repeat(1000)), 1005);
    for ((format, wire, each), record_bytes) in [(csv, 1 << 20), (text, 1 << 20), (long, 1010)] {
        let wire = wire.as_bytes();
        let count = memchr::memchr_iter(b'\n', wire).count() - usize::from(format == CSV);
        let all = (count * each) as u64;
        let decode = |inflated_bytes: u64| {
            let limits = Limits { inflated_bytes, record_bytes };
            blocks(Decoder::new(limits, Encoding::Identity).with_format(format), wire)
        };
        let (most, outcome) = decode(all);
        assert!(outcome.is_ok(), "{format:?} {outcome:?}");
        let limit = all - 1;
        assert_eq!(decode(limit).1, Err(DecodeError::TooLarge { limit, excess: Excess::Records }));
        // It stops at the limit, not at the end of the buffer.
        let limit = wire.len() as u64;
        let (made, outcome) = decode(limit);
        assert_eq!(outcome, Err(DecodeError::TooLarge { limit, excess: Excess::Records }));
        let made: usize = made.iter().map(|block| block.bytes.len()).sum();
        assert!(made as u64 <= limit + record_bytes as u64, "{format:?} {made}");
        // A body that was accepted is read under any limit.
        let encoding = Encoding::Identity;
        let (replayed, outcome) = blocks(
            Decoder::for_replay(record_bytes, encoding, 0, Edition::Second).with_format(format),
            wire,
        );
        assert!(outcome.is_ok() && replayed == most, "{format:?} {outcome:?}");
    }
}

#[test]
fn the_number_of_rejects_in_a_block_is_limited() {
    let name = "x".repeat(1000);
    let wire = format!("{name}\n{}", "12\n".repeat(2 * MAX_REJECTS + 1));
    let limits = Limits { record_bytes: 1000, ..LIMITS };
    let (blocks, _) =
        blocks(Decoder::new(limits, Encoding::Identity).with_format(CSV), wire.as_bytes());
    let counts: Vec<_> = blocks.iter().map(|block| block.rejects.len()).collect();
    assert_eq!(counts, [MAX_REJECTS, MAX_REJECTS, 1]);
    for reject in blocks.iter().flat_map(|block| &block.rejects) {
        assert_eq!((reject.reason, reject.length), (RejectReason::TooLong, 2));
        assert_eq!(*reject.bytes, *b"12", "the row, not the record made of it");
    }
}

#[test]
fn making_a_record_stops_at_the_limit() {
    // Each byte becomes six.
    let row = "\u{1}".repeat(LIMITS.record_bytes - 10);
    for format in [CSV, Format::Text] {
        let wire = format!("a\n{row}\n");
        let decoder = Decoder::new(LIMITS, Encoding::Identity).with_format(format);
        let (blocks, _) = blocks(decoder, wire.as_bytes());
        let rejects: Vec<_> = blocks.iter().flat_map(|block| &block.rejects).collect();
        assert_eq!(rejects.len(), 1, "{format:?}");
        assert_eq!(rejects[0].length, row.len() as u64);
        let held = blocks.iter().map(|block| block.bytes.capacity()).max().unwrap();
        assert!(held <= 2 * LIMITS.record_bytes, "{format:?} {held}");
    }
}

#[test]
fn the_destination_check_is_recognized_in_any_format() {
    let header = CSV.header_row(&["a".to_owned(), "b".to_owned()]);
    for format in [CSV, Format::Text, Format::Json] {
        for body in ["{\"content\":\"test\"}", "test"] {
            let mut decoder = Decoder::new(LIMITS, Encoding::Identity)
                .with_format(format)
                .with_prefix_len(header.len());
            decoder.push(&header, &mut |_| {}).unwrap();
            decoder.push(body.as_bytes(), &mut |_| {}).unwrap();
            assert!(decoder.finish(&mut |_| {}).unwrap().destination_check, "{format:?} {body}");
        }
    }
}

#[test]
fn a_header_row_matches_the_encoding_of_the_body() {
    let header = CSV.header_row(&["a\"1".to_owned(), "b,2".to_owned()]);
    assert_eq!(header, b"\"a\"\"1\",\"b,2\"\n");
    assert_eq!(CSV.header_row(&[]), b"");
    assert_eq!(Format::Text.header_row(&["a".to_owned()]), b"");
    for first in [&b"1,2\n"[..], &crate::decode::gunzip::member(b"1,2\n").unwrap()] {
        let wire =
            [crate::decode::match_encoding(&header, first).unwrap().as_slice(), first].concat();
        let block = decode(CSV, 1 << 20, &wire, 3);
        assert_eq!(block.bytes, b"{\"a\\\"1\":1,\"b,2\":2}\n");
    }
}

proptest! {
    #[test]
    fn generated_csv_is_read(
        rows in prop::collection::vec(
            prop::collection::vec(("[a-z0-9,;\"\r\n\u{e9} .e-]{0,6}", any::<bool>()), 3),
            0..20,
        ),
        end in prop::sample::select(vec!["\n", "\r\n"]),
        chunk in 1_usize..40,
    ) {
        let mut wire = format!("x,\"y\",z{end}");
        let mut want = String::new();
        for row in &rows {
            let mut cells = Vec::new();
            let values = row.iter().map(|(text, quote)| {
                let bare = !quote && !text.contains([',', '"', '\r', '\n']);
                cells.push(if bare { text.clone() } else { format!("\"{}\"", text.replace('"', "\"\"")) });
                // Only the grammar of a number counts, even beyond the range of floating point.
                let number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
                    && text.trim_end() == text
                    && serde_json::from_str::<&RawValue>(text).is_ok();
                let literal = number || ["true", "false", "null"].contains(&text.as_str());
                if bare && literal { text.clone() } else { serde_json::to_string(text).unwrap() }
            });
            let values: Vec<_> = values.collect();
            let [x, y, z] = values.as_slice() else { unreachable!() };
            want += &["{\"x\":", x, ",\"y\":", y, ",\"z\":", z, "}\n"].concat();
            wire += &(cells.join(",") + end);
        }
        let block = decode(CSV, LIMITS.record_bytes, wire.as_bytes(), chunk);
        prop_assert_eq!(&block.rejects, &vec![]);
        prop_assert_eq!(String::from_utf8(block.bytes).unwrap(), want);
    }

    #[test]
    fn the_result_does_not_depend_on_chunks_and_buffers(
        wire in "([a-c\",\r\n\u{e9}]|\"\"){0,300}",
        filling in prop::sample::select(vec!["", "row", "quote", "blank"]),
        limit in 4_usize..40,
        chunk in 1_usize..50,
    ) {
        // The buffer is full somewhere within the generated part.
        let filler = match filling {
            "row" => "x".repeat(BLOCK_BYTES - 100),
            "quote" => format!("\"{}", "x".repeat(BLOCK_BYTES - 100)),
            "blank" => " ".repeat(BLOCK_BYTES - 100),
            _ => String::new(),
        };
        let wire = filler + &wire;
        for format in [CSV, Format::Text] {
            let whole = decode(format, limit, wire.as_bytes(), wire.len().max(1));
            let chunks = decode(format, limit, wire.as_bytes(), chunk.max(wire.len() / 1000));
            prop_assert!(whole == chunks);
        }
    }
}
