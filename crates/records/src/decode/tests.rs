use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;

mod concatenated;
mod editions;

const LIMITS: Limits = Limits { inflated_bytes: 64 << 20, record_bytes: 1 << 20 };

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Decodes a body in chunks of this size, and joins all blocks.
fn decode(limits: Limits, wire: &[u8], chunk: usize) -> Result<(Block, Summary), DecodeError> {
    decode_as(Format::Json, limits, wire, chunk)
}

fn decode_as(
    format: Format,
    limits: Limits,
    wire: &[u8],
    chunk: usize,
) -> Result<(Block, Summary), DecodeError> {
    let mut all = Block::default();
    let mut gather = |block: Block| {
        assert_eq!(memchr::memchr_iter(b'\n', &block.bytes).count() as u64, block.records);
        all.bytes.extend(block.bytes);
        all.records += block.records;
        all.rejects.extend(block.rejects);
    };
    let mut decoder = Decoder::new(limits, Encoding::Identity).with_format(format);
    for chunk in wire.chunks(chunk) {
        decoder.push(chunk, &mut gather)?;
    }
    let summary = decoder.finish(&mut gather)?;
    assert_eq!(summary.records, all.records);
    assert_eq!(summary.rejected, all.rejects.len() as u64);
    Ok((all, summary))
}

fn lines(wire: &str) -> (String, Vec<(RejectReason, u64, String)>) {
    let (block, _) = decode(LIMITS, wire.as_bytes(), 7).unwrap();
    let rejects = block.rejects.iter().map(|reject| {
        (reject.reason, reject.position, String::from_utf8_lossy(&reject.bytes).into_owned())
    });
    (String::from_utf8(block.bytes).unwrap(), rejects.collect())
}

#[test]
fn framings_of_the_same_records_give_the_same_lines() {
    let want = "{\"a\":1}\n{\"b\":[{\"c\":\"],}\\\"\"}]}\n{}\n";
    for wire in [
        "{\"a\":1}\n{\"b\":[{\"c\":\"],}\\\"\"}]}\n{}\n",
        "{\"a\":1}\n{\"b\":[{\"c\":\"],}\\\"\"}]}\n{}",
        "{\"a\":1}\r\n{\"b\":[{\"c\":\"],}\\\"\"}]}\r\n{}\r\n",
        "\n\r\n  \n{\"a\":1}\n\n{\"b\":[{\"c\":\"],}\\\"\"}]}\n\t\n{}",
        "[{\"a\":1},{\"b\":[{\"c\":\"],}\\\"\"}]},{}]",
        "\r\n[\n {\"a\":1}\n,\n\t{\"b\":[{\"c\":\"],}\\\"\"}]} ,\r\n{}\n]\n",
        "[{\"a\":1}\n{\"b\":[{\"c\":\"],}\\\"\"}]}{},]",
        "{\"events\":[{\"a\":1},{\"b\":[{\"c\":\"],}\\\"\"}]},{}]}",
        "{\"events\":[\n  {\"a\":1},\n  {\"b\":[{\"c\":\"],}\\\"\"}]},\n  {}\n]}\n",
        "{\"anything\": [\n{\"a\":1},\n{\"b\":[{\"c\":\"],}\\\"\"}]},\n{}\n]\n}\n",
    ] {
        assert_eq!(lines(wire), (want.to_owned(), vec![]), "{wire:?}");
    }
}

#[test]
fn an_element_of_several_lines_becomes_one_line() {
    let wire = "[\n  {\n    \"a\": 1,\r\n    \"b\": \"x\\ny\"\n  }\n]\n";
    let want = "{     \"a\": 1,      \"b\": \"x\\ny\"   }\n";
    assert_eq!(lines(wire), (want.to_owned(), vec![]));
}

#[test]
fn the_bytes_of_a_record_are_not_changed() {
    for record in [
        r#"{"EdgeStartTimestamp":1506702504433000200,"n":99999999999999999999999}"#,
        r#"{"n":1e400,"m":-0.0,"o":1.10}"#,
        r#"{"k":1,"k":2}"#,
        r#"{"z":1,"a":{"b":[null,true]}}"#,
        r#"{"s":"\u00e9\/\ud800 \"\\ é"}"#,
        r#" {"lead" : 1} "#,
    ] {
        assert_eq!(lines(&format!("{record}\n")), (format!("{record}\n"), vec![]));
        let (block, _) = decode(LIMITS, &gzip(format!("[{record}]").as_bytes()), 3).unwrap();
        assert_eq!(String::from_utf8(block.bytes).unwrap(), format!("{}\n", record.trim()));
    }
}

#[test]
fn only_the_invalid_record_is_rejected() {
    use RejectReason::{NotJson, NotObject};
    let (good, bad) = lines("{\"a\":1}\nnonsense\n\n{\"b\":2}\r\n[1]\n17\n{\"c\":3} x\n{\"d\":4");
    assert_eq!(good, "{\"a\":1}\n{\"b\":2}\n");
    let want = [
        (NotJson, 2, "nonsense"),
        (NotObject, 4, "[1]"),
        (NotObject, 5, "17"),
        (NotJson, 6, "{\"c\":3} x"),
        (NotJson, 7, "{\"d\":4"),
    ];
    assert_eq!(bad, want.map(|(reason, at, text)| (reason, at, text.to_owned())));

    let (good, bad) =
        lines("[{\"a\":1},{\"b\":tru},null,{\"c\":\"unended},\n{\"d\":4}]\n{\"e\":5}");
    assert_eq!(good, "{\"a\":1}\n{\"d\":4}\n{\"e\":5}\n");
    let want =
        [(NotJson, 2, "{\"b\":tru}"), (NotObject, 3, "null"), (NotJson, 4, "{\"c\":\"unended},")];
    assert_eq!(bad, want.map(|(reason, at, text)| (reason, at, text.to_owned())));
}

#[test]
fn text_that_is_not_utf8_is_rejected() {
    let wire = b"{\"a\":\"\xff\"}\n{\"b\":\"\xc3\xa9\"}\n";
    for wire in [&wire[..], b"[{\"a\":\"\xff\"},{\"b\":\"\xc3\xa9\"}]"] {
        let (block, _) = decode(LIMITS, wire, 4).unwrap();
        assert_eq!(block.bytes, "{\"b\":\"é\"}\n".as_bytes());
        assert_eq!(block.rejects.len(), 1);
        assert_eq!(block.rejects[0].reason, RejectReason::NotUtf8);
        assert_eq!(&*block.rejects[0].bytes, b"{\"a\":\"\xff\"}");
    }
}

#[test]
fn a_record_over_the_limit_is_rejected() {
    let limits = Limits { record_bytes: 300_000, ..LIMITS };
    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    let exact = sized(300_000);
    for over in [300_001, 300_002, 600_000, 5_000_000] {
        let over = sized(over);
        for wire in
            [format!("{{}}\n{exact}\r\n{over}\n{{}}\n"), format!("[{{}},{exact} ,{over},\n{{}}]")]
        {
            for chunk in [1000, usize::MAX] {
                let (block, _) = decode(limits, wire.as_bytes(), chunk).unwrap();
                assert!(block.bytes == format!("{{}}\n{exact}\n{{}}\n").as_bytes());
                assert_eq!(block.rejects.len(), 1);
                let reject = &block.rejects[0];
                assert_eq!((reject.reason, reject.position), (RejectReason::TooLong, 3));
                assert_eq!(reject.length, over.len() as u64);
                assert_eq!(*reject.bytes, over.as_bytes()[..64 * 1024]);
            }
        }
    }
}

#[test]
fn the_preview_of_a_long_record_spans_blocks() {
    let over = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
    for before_end in [10, 60, 100] {
        let mut body = vec![b' '; BLOCK_BYTES - before_end];
        body[0] = b'[';
        body.extend(over.as_bytes());
        body.push(b']');
        let (block, _) = decode(Limits { record_bytes: 8, ..LIMITS }, &body, 1000).unwrap();
        assert_eq!(*block.rejects[0].bytes, *over.as_bytes());
    }
}

#[test]
fn memory_does_not_grow_with_an_endless_record() {
    let limits = Limits { record_bytes: 4096, inflated_bytes: u64::MAX };
    for opening in ["{\"a\":\"", "[{\"a\":\"", "[[[["] {
        let mut decoder = Decoder::new(limits, Encoding::Identity);
        let chunk = vec![b'x'; 100_000];
        let mut blocks = 0;
        let mut count = |_| blocks += 1;
        decoder.push(opening.as_bytes(), &mut count).unwrap();
        for _ in 0..200 {
            decoder.push(&chunk, &mut count).unwrap();
            assert!(decoder.framer.buffer().capacity() <= 2 * BLOCK_BYTES);
        }
        let summary = decoder.finish(&mut |_| {}).unwrap();
        assert_eq!((summary.records, summary.rejected), (0, 1));
    }
}

#[test]
fn gzip_is_detected_by_its_first_bytes() {
    let text = b"{\"a\":1}\n";
    let finish = |declared, wire: &[u8]| {
        let mut decoder = Decoder::new(LIMITS, declared);
        decoder.push(wire, &mut |_| {})?;
        decoder.finish(&mut |_| {})
    };
    assert_eq!(finish(Encoding::Identity, &gzip(text)).unwrap().encoding, Encoding::Gzip);
    assert_eq!(finish(Encoding::Gzip, text).unwrap().encoding, Encoding::Identity);
    assert_eq!(finish(Encoding::Gzip, b"").unwrap().inflated_bytes, 0);
    for damaged in [&b"\x00\x01garbage"[..], b"\x1f", b"PK\x03\x04"] {
        let error = finish(Encoding::Gzip, damaged).unwrap_err();
        assert!(matches!(error, DecodeError::Gzip(_)), "{error:?}");
    }
    // White space is text, whatever follows in the first chunk.
    let blank = b"\r\nno gzip";
    for chunk in [2, blank.len()] {
        let mut decoder = Decoder::new(LIMITS, Encoding::Gzip);
        for chunk in blank.chunks(chunk) {
            decoder.push(chunk, &mut |_| {}).unwrap();
        }
        assert_eq!(decoder.finish(&mut |_| {}).unwrap().rejected, 1, "chunks of {chunk}");
    }
}

#[test]
fn inflation_stops_at_the_limit() {
    let bomb = gzip(&vec![b' '; 10_000_000]);
    let limits = Limits { inflated_bytes: 1_000_000, ..LIMITS };
    let error = decode(limits, &bomb, usize::MAX).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { limit: 1_000_000, excess: Excess::Body });
    let exact = gzip(&vec![b' '; 1_000_000]);
    assert_eq!(decode(limits, &exact, usize::MAX).unwrap().1.inflated_bytes, 1_000_000);
}

#[test]
fn a_large_and_damaged_body_is_too_large_in_any_chunks() {
    let mut wire = gzip(&vec![b' '; 1001]);
    let crc = wire.len() - 6;
    wire[crc] ^= 1;
    for (inflated_bytes, is_too_large) in [(1000, true), (1001, false)] {
        for chunk in [1, 7, usize::MAX] {
            let error = decode(Limits { inflated_bytes, ..LIMITS }, &wire, chunk).unwrap_err();
            assert_eq!(matches!(error, DecodeError::TooLarge { .. }), is_too_large, "{error:?}");
        }
    }
}

#[test]
fn the_destination_check_is_recognized_in_any_encoding() {
    for body in ["{\"content\":\"test\"}", "{\"content\":\"tests\"}", "test", "tests\n"] {
        for wire in [body.as_bytes().to_vec(), gzip(body.as_bytes())] {
            for chunk in [1, usize::MAX] {
                assert!(decode(LIMITS, &wire, chunk).unwrap().1.destination_check, "{body}");
            }
        }
    }
    let (_, summary) = decode(LIMITS, &gzip(b"{\"content\":\"test\",\"a\":1}\n"), 5).unwrap();
    assert!(!summary.destination_check);
    assert_eq!(summary.records, 1);
}

/// Valid records, and occasionally invalid ones.
fn arbitrary_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "\\{\"[a-zA-Z]{1,9}\":(\"[^\"\\\\\\x00-\\x1f]{0,40}\"|[1-9][0-9]{0,22}|\\[\\]|null)\\}"
            .prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => Just(b"{\"a\":\"b\"".to_vec()),
    ]
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_chunks(
        records in proptest::collection::vec(arbitrary_line(), 0..40),
        array in any::<bool>(),
        zipped in any::<bool>(),
        chunk in 1_usize..200,
        record_bytes in 1_usize..80,
    ) {
        let mut body = records.join(if array { &b",\n"[..] } else { &b"\n"[..] });
        if array {
            body.insert(0, b'[');
            body.push(b']');
        }
        let wire = if zipped { gzip(&body) } else { body };
        let limits = Limits { record_bytes, ..LIMITS };
        let whole = decode(limits, &wire, usize::MAX);
        let chunks = decode(limits, &wire, chunk);
        prop_assert_eq!(&whole, &chunks);
        if let Ok((block, summary)) = whole {
            let mut replayed = Block::default();
            let mut gather = |next: Block| {
                replayed.bytes.extend(next.bytes);
                replayed.rejects.extend(next.rejects);
            };
            let mut decoder = Decoder::for_replay(record_bytes, summary.encoding, summary.rejected, summary.edition);
            decoder.push(&wire, &mut gather).unwrap();
            decoder.finish(&mut gather).unwrap();
            prop_assert_eq!(block.bytes, replayed.bytes);
            prop_assert_eq!(block.rejects, replayed.rejects);
        }
    }

    #[test]
    fn valid_records_are_those_that_serde_json_accepts(
        records in proptest::collection::vec(arbitrary_line(), 0..40),
    ) {
        let body = records.join(&b'\n');
        prop_assume!(!matches!(body.trim_ascii_start().first(), Some(b'[')));
        let (block, _) = decode(LIMITS, &body, usize::MAX).unwrap();
        let mut want = Vec::new();
        for line in body.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Ok(text) = std::str::from_utf8(line) else { continue };
            let object = serde_json::from_str::<Box<serde_json::value::RawValue>>(text);
            if object.is_ok_and(|object| object.get().starts_with('{')) {
                want.extend_from_slice(line);
                want.push(b'\n');
            }
        }
        prop_assert_eq!(block.bytes, want);
    }

    #[test]
    fn no_input_causes_a_panic(wire in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _outcome = decode(Limits { record_bytes: 100, inflated_bytes: 1000 }, &wire, 17);
    }
}
