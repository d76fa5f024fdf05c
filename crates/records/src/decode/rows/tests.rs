//! Rows and lines, by example and against the plainest way to write them.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::MAX_REJECTS;
use crate::decode::{
    BLOCK_BYTES, Block, DecodeError, Decoder, Delimiter, Edition, Encoding, Excess, Format, Limits,
    MAX_NAMES_BYTES, RejectReason,
};

const LIMITS: Limits = Limits { inflated_bytes: 64 << 20, record_bytes: 1 << 20 };
const CSV: Format = Format::Csv(Delimiter::Comma);

fn decode(format: Format, record_bytes: usize, wire: &[u8], piece: usize) -> Block {
    let mut all = Block::default();
    let mut gather = |block: Block| {
        all.bytes.extend(block.bytes);
        all.records += block.records;
        all.rejects.extend(block.rejects);
    };
    let limits = Limits { record_bytes, ..LIMITS };
    let mut decoder = Decoder::new(limits, Encoding::Identity).of(format);
    for piece in wire.chunks(piece) {
        decoder.push(piece, &mut gather).unwrap();
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
fn cells_become_what_logpush_would_send() {
    // As Logpush writes them: strings in quotes, numbers bare; the header without quotes.
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
fn quotes_hold_whatever_stands_in_them() {
    let wire =
        "\u{feff}\"a,1\",\"b\"\"\"\n\"x,\"\"y\"\"\r\nz\",\"\"\n\"\"\"\",\" \"\na\"b,\"12\"\n1,2\n";
    let want = "{\"a,1\":\"x,\\\"y\\\"\\r\\nz\",\"b\\\"\":\"\"}\n\
        {\"a,1\":\"\\\"\",\"b\\\"\":\" \"}\n\
        {\"a,1\":\"a\\\"b\",\"b\\\"\":\"12\"}\n\
        {\"a,1\":1,\"b\\\"\":2}\n";
    assert_eq!(lines(CSV, wire), (want.to_owned(), vec![]));
}

#[test]
fn a_bad_row_goes_alone() {
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
fn without_names_there_is_no_record() {
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
    let wire = "CEF:0|Cloudflare|x\r\n\n  \n say \"hi\"\t\u{e9}\nlast";
    let want = "{\"message\":\"CEF:0|Cloudflare|x\"}\n\
        {\"message\":\" say \\\"hi\\\"\\t\u{e9}\"}\n{\"message\":\"last\"}\n";
    assert_eq!(lines(Format::Text, wire), (want.to_owned(), vec![]));
    let block = decode(Format::Text, 64, b"{\"a\":1}\n\xff\n", 3);
    assert_eq!(block.bytes, b"{\"message\":\"{\\\"a\\\":1}\"}\n");
    assert_eq!(block.rejects[0].reason, RejectReason::NotUtf8);
}

#[test]
fn what_is_too_long_costs_itself() {
    for format in [CSV, Format::Text] {
        // As a row, and by what is made of it; then one that no buffer holds.
        for long in ["x".repeat(65), "x".repeat(60), "x".repeat(700_000)] {
            let wire = format!("a\r\n{long}\r\nz\r\n");
            for piece in [1, 7, 1 << 20] {
                let block = decode(format, 64, wire.as_bytes(), piece.max(wire.len() / 1000));
                assert!(block.bytes.ends_with(b"\"z\"}\n"), "{format:?} {}", long.len());
                assert_eq!(block.rejects.len(), 1);
                assert_eq!(block.rejects[0].reason, RejectReason::TooLong);
                // With the CR, if the row was too long to be looked at.
                let beyond = block.rejects[0].length - long.len() as u64;
                assert!(beyond <= 1, "{beyond} more");
            }
        }
    }
    // Quotes that nobody closes cost no more than the longest record.
    let open = format!("a\n\"{}\n{}", "x".repeat(80), "\"y\"\n".repeat(50));
    let block = decode(CSV, 64, open.as_bytes(), 9);
    assert_eq!(block.records, 50);
}

/// All blocks, as they were handed over.
fn blocks(decoder: Decoder, wire: &[u8]) -> (Vec<Block>, Result<u64, DecodeError>) {
    let (mut blocks, mut decoder) = (Vec::new(), decoder);
    let pushed = decoder.push(wire, &mut |block| blocks.push(block));
    let finished = pushed.and_then(|()| decoder.finish(&mut |block| blocks.push(block)));
    (blocks, finished.map(|summary| summary.records))
}

#[test]
fn names_have_a_bound() {
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
fn what_is_made_may_come_to_no_more_than_the_body() {
    let name = "x".repeat(1000);
    let csv = (CSV, format!("{name}\n{}", "7\n".repeat(2000)), name.len() + 6);
    let text = (Format::Text, "y\n".repeat(100_000), "{\"message\":\"y\"}".len());
    // Rows that are too long once they are made are work, too.
    let long = (CSV, format!("{name}\n{}", format!("{}\n", "y".repeat(1000)).repeat(1000)), 1005);
    for ((format, wire, each), record_bytes) in [(csv, 1 << 20), (text, 1 << 20), (long, 1010)] {
        let wire = wire.as_bytes();
        let count = memchr::memchr_iter(b'\n', wire).count() - usize::from(format == CSV);
        let all = (count * each) as u64;
        let decode = |inflated_bytes: u64| {
            let limits = Limits { inflated_bytes, record_bytes };
            blocks(Decoder::new(limits, Encoding::Identity).of(format), wire)
        };
        let (most, outcome) = decode(all);
        assert!(outcome.is_ok(), "{format:?} {outcome:?}");
        let limit = all - 1;
        assert_eq!(decode(limit).1, Err(DecodeError::TooLarge { limit, excess: Excess::Records }));
        // It stops there and then, not at the end of the buffer.
        let limit = wire.len() as u64;
        let (made, outcome) = decode(limit);
        assert_eq!(outcome, Err(DecodeError::TooLarge { limit, excess: Excess::Records }));
        let made: usize = made.iter().map(|block| block.bytes.len()).sum();
        assert!(made as u64 <= limit + record_bytes as u64, "{format:?} {made}");
        // What was accepted once is read whatever the limit is now.
        let encoding = Encoding::Identity;
        let (again, outcome) =
            blocks(Decoder::again(record_bytes, encoding, 0, Edition::Second).of(format), wire);
        assert!(outcome.is_ok() && again == most, "{format:?} {outcome:?}");
    }
}

#[test]
fn a_block_of_rejects_costs_little() {
    let name = "x".repeat(1000);
    let wire = format!("{name}\n{}", "12\n".repeat(2 * MAX_REJECTS + 1));
    let limits = Limits { record_bytes: 1000, ..LIMITS };
    let (blocks, _) = blocks(Decoder::new(limits, Encoding::Identity).of(CSV), wire.as_bytes());
    let counts: Vec<_> = blocks.iter().map(|block| block.rejects.len()).collect();
    assert_eq!(counts, [MAX_REJECTS, MAX_REJECTS, 1]);
    for reject in blocks.iter().flat_map(|block| &block.rejects) {
        assert_eq!((reject.reason, reject.length), (RejectReason::TooLong, 2));
        assert_eq!(*reject.bytes, *b"12", "the row, and not what was made of it");
    }
}

#[test]
fn a_record_is_stopped_at_its_limit() {
    // Each becomes six bytes.
    let row = "\u{1}".repeat(LIMITS.record_bytes - 10);
    for format in [CSV, Format::Text] {
        let wire = format!("a\n{row}\n");
        let decoder = Decoder::new(LIMITS, Encoding::Identity).of(format);
        let (blocks, _) = blocks(decoder, wire.as_bytes());
        let rejects: Vec<_> = blocks.iter().flat_map(|block| &block.rejects).collect();
        assert_eq!(rejects.len(), 1, "{format:?}");
        assert_eq!(rejects[0].length, row.len() as u64);
        let held = blocks.iter().map(|block| block.bytes.capacity()).max().unwrap();
        assert!(held <= 2 * LIMITS.record_bytes, "{format:?} {held}");
    }
}

#[test]
fn a_destination_check_is_one_in_any_form() {
    let header = CSV.header_row(&["a".to_owned(), "b".to_owned()]);
    for format in [CSV, Format::Text, Format::Json] {
        for body in ["{\"content\":\"test\"}", "test"] {
            let mut decoder =
                Decoder::new(LIMITS, Encoding::Identity).of(format).behind(header.len());
            decoder.push(&header, &mut |_| {}).unwrap();
            decoder.push(body.as_bytes(), &mut |_| {}).unwrap();
            assert!(decoder.finish(&mut |_| {}).unwrap().destination_check, "{format:?} {body}");
        }
    }
}

#[test]
fn a_header_row_goes_before_a_body_of_either_encoding() {
    let header = CSV.header_row(&["a\"1".to_owned(), "b,2".to_owned()]);
    assert_eq!(header, b"\"a\"\"1\",\"b,2\"\n");
    assert_eq!(CSV.header_row(&[]), b"");
    assert_eq!(Format::Text.header_row(&["a".to_owned()]), b"");
    for first in [&b"1,2\n"[..], &crate::decode::gunzip::member(b"1,2\n").unwrap()] {
        let wire = [crate::decode::before(&header, first).unwrap().as_slice(), first].concat();
        let block = decode(CSV, 1 << 20, &wire, 3);
        assert_eq!(block.bytes, b"{\"a\\\"1\":1,\"b,2\":2}\n");
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        rows in prop::collection::vec(
            prop::collection::vec(("[a-z0-9,;\"\r\n\u{e9} .e-]{0,6}", any::<bool>()), 3),
            0..20,
        ),
        end in prop::sample::select(vec!["\n", "\r\n"]),
        piece in 1_usize..40,
    ) {
        let mut wire = format!("x,\"y\",z{end}");
        let mut want = String::new();
        for row in &rows {
            let mut cells = Vec::new();
            let values = row.iter().map(|(text, quote)| {
                let bare = !quote && !text.contains([',', '"', '\r', '\n']);
                cells.push(if bare { text.clone() } else { format!("\"{}\"", text.replace('"', "\"\"")) });
                // Of a number beyond all floats, too, only the grammar counts.
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
        let block = decode(CSV, LIMITS.record_bytes, wire.as_bytes(), piece);
        prop_assert_eq!(&block.rejects, &vec![]);
        prop_assert_eq!(String::from_utf8(block.bytes).unwrap(), want);
    }

    #[test]
    fn pieces_and_edges_change_nothing(
        wire in "([a-c\",\r\n\u{e9}]|\"\"){0,300}",
        filling in prop::sample::select(vec!["", "row", "quote", "blank"]),
        limit in 4_usize..40,
        piece in 1_usize..50,
    ) {
        // So that the buffer is full somewhere within.
        let filler = match filling {
            "row" => "x".repeat(BLOCK_BYTES - 100),
            "quote" => format!("\"{}", "x".repeat(BLOCK_BYTES - 100)),
            "blank" => " ".repeat(BLOCK_BYTES - 100),
            _ => String::new(),
        };
        let wire = filler + &wire;
        for format in [CSV, Format::Text] {
            let whole = decode(format, limit, wire.as_bytes(), wire.len().max(1));
            let pieces = decode(format, limit, wire.as_bytes(), piece.max(wire.len() / 1000));
            prop_assert!(whole == pieces);
        }
    }
}
