//! What later editions of the rules take, and that a batch reads the same under the edition that its name
//! holds.

use super::*;

type Lines = (String, Vec<(RejectReason, u64, String)>);

/// What a decoder makes of a body.
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

fn arriving(format: Format, body: &[u8]) -> (Lines, Summary) {
    read(Decoder::new(LIMITS, Encoding::Identity).of(format), body)
}

/// The body as it arrives; and from the spool under the edition that was noted, plain and zipped, the same.
fn edition(format: Format, body: &str) -> (Lines, Edition) {
    let (lines, summary) = arriving(format, body.as_bytes());
    let Summary { rejected, edition, .. } = summary;
    for (encoding, wire) in
        [(Encoding::Identity, body.as_bytes().to_vec()), (Encoding::Gzip, gzip(body.as_bytes()))]
    {
        let decoder = Decoder::again(LIMITS.record_bytes, encoding, rejected, edition).of(format);
        let (again, second) = read(decoder, &wire);
        assert_eq!(again, lines, "{body:?} {encoding:?}");
        assert_eq!(second.edition, edition, "{body:?}");
        assert_eq!((second.records, second.rejected), (summary.records, rejected));
    }
    (lines, edition)
}

const CSV: Format = Format::Csv(Delimiter::Comma);

#[test]
fn a_carriage_return_in_a_record_is_no_line_end_to_any_reader() {
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

/// Only white space of JSON becomes a space: all else that some reader takes for a line end is no JSON
/// between tokens, and a CR is none in a string.
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
fn a_line_that_holds_anything_else_is_one_reject() {
    for line in
        ["{\"a\":1} x", "{\"a\":1}[2]", "{\"a\":1},,{\"b\":2}", "{\"a\":1}{\"b\":", ",{\"a\":1}"]
    {
        let (lines, noted) = edition(Format::Json, &format!("{{}}\n{line}\n{{}}"));
        let reject = (RejectReason::NotJson, 2, line.to_owned());
        assert_eq!(lines, ("{}\n{}\n".to_owned(), vec![reject]), "{line:?}");
        assert_eq!(noted, Edition::First);
    }
}

/// A job whose `record_suffix` has no line end: the body is one line, longer than any record may be.
#[test]
fn a_body_of_one_endless_line_is_read() {
    let record = format!("{{\"a\":\"{}\"}}", "x".repeat(50_000));
    let (lines, _) = edition(Format::Json, &record.repeat(100));
    assert_eq!(lines.0, format!("{record}\n").repeat(100));
    assert_eq!(lines.1, []);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_record() {
    for (body, want) in [
        ("\u{feff}{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}\n{\"b\":2}\n"),
        ("\u{feff}[{\"a\":1},{\"b\":2}]", "{\"a\":1}\n{\"b\":2}\n"),
        ("\u{feff}{\"events\":[{\"a\":1}]}", "{\"a\":1}\n"),
        // Files one behind the other.
        ("\u{feff}{\"a\":1}\n\u{feff}{\"b\":2}\n", "{\"a\":1}\n{\"b\":2}\n"),
        ("\u{feff}{\"a\":1}{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n"),
    ] {
        let (lines, noted) = edition(Format::Json, body);
        assert_eq!((lines, noted), ((want.to_owned(), vec![]), Edition::Second), "{body:?}");
        let wire = gzip(body.as_bytes());
        assert_eq!(arriving(Format::Json, &wire).0.0, want);
    }
    let (lines, _) = edition(Format::Concatenated, "\u{feff}{\"event\":1}{\"event\":2}");
    assert_eq!(lines.0, "{\"event\":1}\n{\"event\":2}\n");
    let (_, summary) = arriving(Format::Json, "\u{feff}{\"content\":\"test\"}".as_bytes());
    assert!(summary.destination_check);
    // Said to be gzip, but text.
    let decoder = Decoder::new(LIMITS, Encoding::Gzip);
    assert_eq!(read(decoder, "\u{feff}{\"a\":1}".as_bytes()).0.0, "{\"a\":1}\n");
}

#[test]
fn a_row_that_repeats_the_names_is_no_record() {
    let want = ("{\"a\":1,\"b,c\":\"x\"}\n".to_owned(), vec![]);
    for row in
        ["a,\"b,c\"\n", "\"a\",\"b,c\"\r\n", "\n\u{feff}a,\"b,c\"\n", "\u{feff}\"a\",\"b,c\"\n"]
    {
        let (lines, noted) = edition(CSV, &format!("\"a\",\"b,c\"\n{row}1,\"x\"\n"));
        assert_eq!((lines, noted), (want.clone(), Edition::Second), "{row:?}");
    }
    // Once, and only behind the names.
    let (lines, noted) = edition(CSV, "a,b\n1,2\na,b\n");
    assert_eq!(lines.0, "{\"a\":1,\"b\":2}\n{\"a\":\"a\",\"b\":\"b\"}\n");
    assert_eq!(noted, Edition::First);
    let (lines, _) = edition(CSV, "a,b\n\u{feff}\"1,1\",2\n");
    assert_eq!(lines, ("{\"a\":\"1,1\",\"b\":2}\n".to_owned(), vec![]));
}

/// A batch of an earlier version, whose name holds the first edition, has the records that it had.
#[test]
fn under_the_first_edition_bodies_read_as_they_did() {
    let forged = "{\"x\":[\r{}\r]}\n";
    for (format, body, good, bad) in [
        (Format::Json, forged, forged, 0),
        (Format::Json, "{}{}\n{}\n", "{}\n", 1),
        (Format::Json, "{}{}", "", 1),
        (Format::Json, "\u{feff}{}\n{}\n", "{}\n", 1),
        (CSV, "a\na\n1\n", "{\"a\":\"a\"}\n{\"a\":1}\n", 0),
        (CSV, "a\n\u{feff}a\n", "{\"a\":\"\u{feff}a\"}\n", 0),
    ] {
        let decoder = Decoder::again(LIMITS.record_bytes, Encoding::Identity, bad, Edition::First);
        let (lines, summary) = read(decoder.of(format), body.as_bytes());
        assert_eq!((lines.0.as_str(), lines.1.len() as u64), (good, bad), "{body:?}");
        assert_eq!(summary.edition, Edition::First);
        let verified = Decoder::new(LIMITS, Encoding::Identity).under(Edition::First).of(format);
        assert_eq!(read(verified, body.as_bytes()).0, lines);
    }
}

/// Replay looks for a record by its position in a batch, and reads what was too long.
#[test]
fn a_higher_limit_moves_no_record() {
    let body = "{\"a\":1}{\"b\":2}{\"c\":3}\n{}{}\n{\"d\":4}";
    let limits = Limits { record_bytes: 8, ..LIMITS };
    let (first, summary) = read(Decoder::new(limits, Encoding::Identity), body.as_bytes());
    assert_eq!(first.0, "{}\n{}\n{\"d\":4}\n");
    assert_eq!(first.1[0].1, 1);
    let again = Decoder::again(8, Encoding::Identity, summary.rejected, summary.edition);
    let (second, _) = read(again.taking(1000), body.as_bytes());
    assert_eq!(second.0, first.0);
    assert_eq!(second.1[0].1, 1);
}

/// Bytes in which all that editions differ in is frequent.
fn arbitrary_body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
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
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_batch_reads_the_same_under_the_edition_that_was_noted(
        body in arbitrary_body(),
        format in prop::sample::select(vec![Format::Json, Format::Concatenated, CSV, Format::Text]),
        record_bytes in prop_oneof![1_usize..40, Just(1 << 20)],
        piece in 1_usize..20,
        zipped in any::<bool>(),
    ) {
        let wire = if zipped { gzip(&body) } else { body };
        let limits = Limits { record_bytes, ..LIMITS };
        let (whole, summary) = decode_as(format, limits, &wire, usize::MAX).unwrap();
        prop_assert_eq!(&decode_as(format, limits, &wire, piece).unwrap(), &(whole.clone(), summary.clone()));
        let Summary { encoding, rejected, edition, .. } = summary;
        let decoder = Decoder::again(record_bytes, encoding, rejected, edition).of(format);
        let (again, _) = read(decoder, &wire);
        prop_assert_eq!(again.0.as_bytes(), &*whole.bytes);
        prop_assert_eq!(again.1.len() as u64, rejected);
        // And no reader sees more lines than there are records.
        let cr = |byte: &u8| *byte == b'\r';
        prop_assert!(edition == Edition::First && format != Format::Json || !whole.bytes.iter().any(cr));
    }
}
