//! Tests of the editions of the rules: what later editions accept, and that a batch has the same records
//! under the edition in its name.

use super::*;

type Lines = (String, Vec<(RejectReason, u64, String)>);

/// Decodes a body.
fn read(mut decoder: Decoder, body: &[u8]) -> (Lines, Summary) {
    let mut all = Block::default();
    let mut gather = |block: Block| {
        all.bytes.extend(block.bytes);
        all.rejects.extend(block.rejects);
    };
    decoder.push(body, &mut gather).unwrap();
    let summary = decoder.finish(&mut gather).unwrap();
    let rejects = all.rejects.into_iter().map(|reject| {
        (reject.reason, reject.position, String::from_utf8_lossy(&reject.bytes).into_owned())
    });
    ((String::from_utf8(all.bytes).unwrap(), rejects.collect()), summary)
}

fn decode_new(format: Format, body: &[u8]) -> (Lines, Summary) {
    read(Decoder::new(LIMITS, Encoding::Identity).with_format(format), body)
}

/// Decodes a new body. Checks that a replay with the resulting edition gives the same records, plain and
/// compressed.
fn edition(format: Format, body: &str) -> (Lines, Edition) {
    let (lines, summary) = decode_new(format, body.as_bytes());
    let Summary { rejected, edition, .. } = summary;
    for (encoding, wire) in
        [(Encoding::Identity, body.as_bytes().to_vec()), (Encoding::Gzip, gzip(body.as_bytes()))]
    {
        let decoder = Decoder::for_replay(LIMITS.record_bytes, encoding, rejected, edition)
            .with_format(format);
        let (replayed, second) = read(decoder, &wire);
        assert_eq!(replayed, lines, "{body:?} {encoding:?}");
        assert_eq!(second.edition, edition, "{body:?}");
        assert_eq!((second.records, second.rejected), (summary.records, rejected));
    }
    (lines, edition)
}

const CSV: Format = Format::Csv(Delimiter::Comma);

#[test]
fn a_carriage_return_between_tokens_becomes_a_space() {
    for body in [
        "{\"x\":[\r{\"forged\":\"record\"}\r]}\n",
        "{\"x\":[\r{\"forged\":\"record\"}\r]}\r\n",
        "[{\"x\":[\r{\"forged\":\"record\"}\n]}]",
    ] {
        let (lines, _) = edition(Format::Json, body);
        assert_eq!(lines, ("{\"x\":[ {\"forged\":\"record\"} ]}\n".to_owned(), vec![]), "{body:?}");
    }
    let (lines, noted) = edition(Format::Json, "{\"a\":1}\n\r{\"b\"\r:2} \r\r\n{\"c\":3}\r\n");
    assert_eq!(lines, ("{\"a\":1}\n {\"b\" :2}  \n{\"c\":3}\n".to_owned(), vec![]));
    assert_eq!(noted, Edition::Second);
}

/// Only JSON white space becomes a space. Other characters that some programs treat as line ends are invalid
/// between tokens, and a CR is invalid in a string.
#[test]
fn other_line_ends_between_tokens_are_rejected() {
    for end in ["\u{b}", "\u{c}", "\u{1c}", "\u{1e}", "\u{85}", "\u{2028}", "\u{2029}"] {
        let body = format!("{{\"x\":[{end}{{}}{end}]}}\n");
        let ((good, bad), _) = edition(Format::Json, &body);
        assert_eq!((good.as_str(), bad.len()), ("", 1), "{end:?}");
    }
    let ((good, bad), _) = edition(Format::Json, "{\"x\":\"a\rb\"}\n");
    assert_eq!((good.as_str(), bad[0].0), ("", RejectReason::NotJson));
}

#[test]
fn objects_in_one_line_are_records() {
    let want = "{\"a\":1}\n{\"b\":{\"c\":\"}{\"}}\n{}\n";
    for body in [
        "{\"a\":1}{\"b\":{\"c\":\"}{\"}}{}",
        "{\"a\":1}{\"b\":{\"c\":\"}{\"}}{}\n",
        "{\"a\":1}\n{\"b\":{\"c\":\"}{\"}} {}\r\n",
        "{\"a\":1},\n{\"b\":{\"c\":\"}{\"}},{}\n",
        " {\"a\":1}\t{\"b\":{\"c\":\"}{\"}} , {},\r\n",
    ] {
        let (lines, noted) = edition(Format::Json, body);
        assert_eq!(lines, (want.to_owned(), vec![]), "{body:?}");
        assert_eq!(noted, Edition::Second);
    }
}

#[test]
fn a_line_with_anything_but_objects_is_one_reject() {
    for line in
        ["{\"a\":1} x", "{\"a\":1}[2]", "{\"a\":1},,{\"b\":2}", "{\"a\":1}{\"b\":", ",{\"a\":1}"]
    {
        let (lines, noted) = edition(Format::Json, &format!("{{}}\n{line}\n{{}}"));
        let reject = (RejectReason::NotJson, 2, line.to_owned());
        assert_eq!(lines, ("{}\n{}\n".to_owned(), vec![reject]), "{line:?}");
        assert_eq!(noted, Edition::First);
    }
}

/// From a job whose `record_suffix` has no line end: the body is one line, which exceeds the record limit.
#[test]
fn a_body_of_one_endless_line_is_read() {
    let record = format!("{{\"a\":\"{}\"}}", "x".repeat(50_000));
    let (lines, _) = edition(Format::Json, &record.repeat(100));
    assert_eq!(lines.0, format!("{record}\n").repeat(100));
    assert_eq!(lines.1, []);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    for (body, want) in [
        ("\u{feff}{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}\n{\"b\":2}\n"),
        ("\u{feff}[{\"a\":1},{\"b\":2}]", "{\"a\":1}\n{\"b\":2}\n"),
        ("\u{feff}{\"events\":[{\"a\":1}]}", "{\"a\":1}\n"),
        // Concatenated files.
        ("\u{feff}{\"a\":1}\n\u{feff}{\"b\":2}\n", "{\"a\":1}\n{\"b\":2}\n"),
        ("\u{feff}{\"a\":1}{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n"),
    ] {
        let (lines, noted) = edition(Format::Json, body);
        assert_eq!((lines, noted), ((want.to_owned(), vec![]), Edition::Second), "{body:?}");
        let wire = gzip(body.as_bytes());
        assert_eq!(decode_new(Format::Json, &wire).0.0, want);
    }
    let (lines, _) = edition(Format::Concatenated, "\u{feff}{\"event\":1}{\"event\":2}");
    assert_eq!(lines.0, "{\"event\":1}\n{\"event\":2}\n");
    let (_, summary) = decode_new(Format::Json, "\u{feff}{\"content\":\"test\"}".as_bytes());
    assert!(summary.destination_check);
    // Text that is declared as gzip.
    let decoder = Decoder::new(LIMITS, Encoding::Gzip);
    assert_eq!(read(decoder, "\u{feff}{\"a\":1}".as_bytes()).0.0, "{\"a\":1}\n");
}

#[test]
fn a_row_that_repeats_the_column_names_is_skipped() {
    let want = ("{\"a\":1,\"b,c\":\"x\"}\n".to_owned(), vec![]);
    for row in
        ["a,\"b,c\"\n", "\"a\",\"b,c\"\r\n", "\n\u{feff}a,\"b,c\"\n", "\u{feff}\"a\",\"b,c\"\n"]
    {
        let (lines, noted) = edition(CSV, &format!("\"a\",\"b,c\"\n{row}1,\"x\"\n"));
        assert_eq!((lines, noted), (want.clone(), Edition::Second), "{row:?}");
    }
    // Only the first row after the names is skipped.
    let (lines, noted) = edition(CSV, "a,b\n1,2\na,b\n");
    assert_eq!(lines.0, "{\"a\":1,\"b\":2}\n{\"a\":\"a\",\"b\":\"b\"}\n");
    assert_eq!(noted, Edition::First);
    let (lines, _) = edition(CSV, "a,b\n\u{feff}\"1,1\",2\n");
    assert_eq!(lines, ("{\"a\":\"1,1\",\"b\":2}\n".to_owned(), vec![]));
}

/// A batch of an earlier version, which has the first edition in its name, keeps its records.
#[test]
fn the_first_edition_gives_the_records_of_the_first_version() {
    let forged = "{\"x\":[\r{}\r]}\n";
    for (format, body, good, bad) in [
        (Format::Json, forged, forged, 0),
        (Format::Json, "{}{}\n{}\n", "{}\n", 1),
        (Format::Json, "{}{}", "", 1),
        (Format::Json, "\u{feff}{}\n{}\n", "{}\n", 1),
        (CSV, "a\na\n1\n", "{\"a\":\"a\"}\n{\"a\":1}\n", 0),
        (CSV, "a\n\u{feff}a\n", "{\"a\":\"\u{feff}a\"}\n", 0),
    ] {
        let decoder =
            Decoder::for_replay(LIMITS.record_bytes, Encoding::Identity, bad, Edition::First);
        let (lines, summary) = read(decoder.with_format(format), body.as_bytes());
        assert_eq!((lines.0.as_str(), lines.1.len() as u64), (good, bad), "{body:?}");
        assert_eq!(summary.edition, Edition::First);
        let verified = Decoder::new(LIMITS, Encoding::Identity)
            .with_edition(Edition::First)
            .with_format(format);
        assert_eq!(read(verified, body.as_bytes()).0, lines);
    }
}

/// A replay finds records by their positions, with a higher record limit.
#[test]
fn positions_do_not_depend_on_the_record_limit() {
    let body = "{\"a\":1}{\"b\":2}{\"c\":3}\n{}{}\n{\"d\":4}";
    let limits = Limits { record_bytes: 8, ..LIMITS };
    let (first, summary) = read(Decoder::new(limits, Encoding::Identity), body.as_bytes());
    assert_eq!(first.0, "{}\n{}\n{\"d\":4}\n");
    assert_eq!(first.1[0].1, 1);
    let decoder = Decoder::for_replay(8, Encoding::Identity, summary.rejected, summary.edition);
    let (second, _) = read(decoder.with_record_limit(1000), body.as_bytes());
    assert_eq!(second.0, first.0);
    assert_eq!(second.1[0].1, 1);
}

/// Bodies with many of the sequences in which editions differ.
fn arbitrary_body() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(&b"{\"a\":1}"[..]),
        Just(&b"{\"b\":[\r]}"[..]),
        Just(&b"{}"[..]),
        Just(&b"\n"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\r"[..]),
        Just(&b","[..]),
        Just(&b" "[..]),
        Just(&b"["[..]),
        Just(&b"]"[..]),
        Just(&b"\xef\xbb\xbf"[..]),
        Just(&b"\"a\",b"[..]),
        Just(&b"\"a"[..]),
        Just(&b"a,b"[..]),
        Just(&b"\xff"[..]),
    ];
    proptest::collection::vec(token, 0..30).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn a_replay_with_the_edition_gives_the_same_records(
        body in arbitrary_body(),
        format in prop::sample::select(vec![Format::Json, Format::Concatenated, CSV, Format::Text]),
        record_bytes in prop_oneof![1_usize..40, Just(1 << 20)],
        chunk in 1_usize..20,
        zipped in any::<bool>(),
    ) {
        let wire = if zipped { gzip(&body) } else { body };
        let limits = Limits { record_bytes, ..LIMITS };
        let (whole, summary) = decode_as(format, limits, &wire, usize::MAX).unwrap();
        prop_assert_eq!(&decode_as(format, limits, &wire, chunk).unwrap(), &(whole.clone(), summary.clone()));
        let Summary { encoding, rejected, edition, .. } = summary;
        let decoder = Decoder::for_replay(record_bytes, encoding, rejected, edition).with_format(format);
        let (replayed, _) = read(decoder, &wire);
        prop_assert_eq!(replayed.0.as_bytes(), &*whole.bytes);
        prop_assert_eq!(replayed.1.len() as u64, rejected);
        // No program finds more lines than records.
        let cr = |byte: &u8| *byte == b'\r';
        prop_assert!(edition == Edition::First && format != Format::Json || !whole.bytes.iter().any(cr));
    }
}
