//! Tests of concatenated objects, as in requests of HEC.

use super::{
    super::{
        array::{Array, Wrapping},
        totals::{End, Rules, Totals},
    },
    *,
};

fn events(wire: &str) -> (String, Vec<(RejectReason, u64, String)>) {
    let decoded = |chunk| decode_as(Format::Concatenated, LIMITS, wire.as_bytes(), chunk).unwrap();
    let (block, _) = decoded(7);
    assert_eq!(block, decoded(1).0);
    assert_eq!(block, decoded(usize::MAX).0);
    let rejects = block.rejects.iter().map(|reject| {
        (reject.reason, reject.position, String::from_utf8_lossy(&reject.bytes).into_owned())
    });
    (String::from_utf8(block.bytes).unwrap(), rejects.collect())
}

#[test]
fn objects_become_lines_with_any_separator() {
    let want = "{\"event\":1}\n{\"events\":[{\"a\":\"}{\\\"\"}]}\n{}\n";
    for wire in [
        "{\"event\":1}{\"events\":[{\"a\":\"}{\\\"\"}]}{}",
        "{\"event\":1}\n{\"events\":[{\"a\":\"}{\\\"\"}]}\n{}\n",
        "\r\n{\"event\":1}\r\n\r\n{\"events\":[{\"a\":\"}{\\\"\"}]} \t{}",
        "{\"event\":1},{\"events\":[{\"a\":\"}{\\\"\"}]},\n{}",
        "[{\"event\":1},{\"events\":[{\"a\":\"}{\\\"\"}]},{}]",
        "[{\"event\":1}]\n{\"events\":[{\"a\":\"}{\\\"\"}]}{}",
        "[{\"event\":1}][{\"events\":[{\"a\":\"}{\\\"\"}]},{}]",
        "[][] [{\"event\":1}\n]\n[][{\"events\":[{\"a\":\"}{\\\"\"}]}{}][",
    ] {
        assert_eq!(events(wire), (want.to_owned(), vec![]), "{wire:?}");
    }
    // In this format, an object whose first member is an array is not an envelope.
    assert_eq!(events("{\"events\":[{}]}").0, "{\"events\":[{}]}\n");
    assert_eq!(events(" \r\n\t"), (String::new(), vec![]));
}

#[test]
fn an_object_of_several_lines_becomes_one_line() {
    let wire = "{\n  \"event\": {\r\n    \"a\": \"x\\ny\"\n  }\n}{\"event\":2}";
    let want = "{   \"event\": {      \"a\": \"x\\ny\"   } }\n{\"event\":2}\n";
    assert_eq!(events(wire), (want.to_owned(), vec![]));
}

#[test]
fn only_values_that_are_not_objects_are_rejected() {
    use RejectReason::{NotJson, NotObject};
    let wire = "{\"a\":1}} {\"b\":2}\n17\n\"x\"\nnot json\n[{\"c\":3}]{\"d\":tru}{\"e\":\"unended}\n\
                {\"f\":6}]{\"g\":7}{\"h\":";
    let (good, bad) = events(wire);
    assert_eq!(good, "{\"a\":1}\n{\"b\":2}\n{\"f\":6}\n{\"g\":7}\n");
    let want = [
        (NotJson, 2, "}"),
        (NotObject, 4, "17"),
        (NotObject, 5, "\"x\""),
        (NotJson, 6, "not json"),
        (NotObject, 7, "[{\"c\":3}]"),
        (NotJson, 8, "{\"d\":tru}"),
        (NotJson, 9, "{\"e\":\"unended}"),
        (NotJson, 11, "]"),
        (NotJson, 13, "{\"h\":"),
    ];
    assert_eq!(bad, want.map(|(reason, at, text)| (reason, at, text.to_owned())));
}

/// If the rest of the buffer were moved after each array, 8 KB of gzip would keep a core busy for half a
/// minute.
#[test]
fn a_buffer_of_tiny_values_is_read_without_moving_it() {
    for tiny in ["[]", "[\n]", "{}", "[{}]", "{}[]", "[{},{}]", "}", "]", ",", "1\n", "\"\n", " "] {
        let record_bytes = 1 << 20;
        let (validation, edition) = (Validation::Required, Edition::Second);
        let rules = Rules { record_bytes, validation, edition, split_bytes: record_bytes };
        let mut array = Array::new(rules, Wrapping::Unopened);
        let mut buffer = tiny.repeat(1000).into_bytes();
        let closed = array.frame(&mut buffer, End::More, &mut Totals::default(), &mut |_| {});
        assert!(!closed && buffer.is_empty(), "{tiny:?}");
    }
}

/// A reject needs many times its bytes in memory.
#[test]
fn millions_of_rejects_are_not_collected() {
    for opening in ["", "[", "{\"events\":["] {
        let format = if opening.is_empty() { Format::Concatenated } else { Format::Json };
        for tiny in ["}", "1,", "[]1,", "\"\n"] {
            let wire = format!("{opening}{}", tiny.repeat(4 * BLOCK_BYTES));
            let (mut most, mut all) = (0, 0);
            let mut count = |block: Block| {
                most = block.rejects.len().max(most);
                all += block.rejects.len();
            };
            let mut decoder = Decoder::new(LIMITS, Encoding::Identity).with_format(format);
            decoder.push(wire.as_bytes(), &mut count).unwrap();
            decoder.finish(&mut count).unwrap();
            assert!(most <= BLOCK_BYTES, "{most} of {all} at once: {tiny:?} after {opening:?}");
        }
    }
}

#[test]
fn an_object_over_the_limit_is_rejected() {
    let limits = Limits { record_bytes: 300_000, ..LIMITS };
    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    let exact = sized(300_000);
    for over in [300_001, 600_000, 5_000_000] {
        let over = sized(over);
        for between in ["", "\n", " ,"] {
            let wire = ["{}", &exact, &over, "{}"].join(between);
            for chunk in [1000, usize::MAX] {
                let decoded = decode_as(Format::Concatenated, limits, wire.as_bytes(), chunk);
                let (block, _) = decoded.unwrap();
                assert!(block.bytes == format!("{{}}\n{exact}\n{{}}\n").as_bytes());
                let [reject] = block.rejects.as_slice() else { panic!("{:?}", block.rejects) };
                assert_eq!((reject.reason, reject.position), (RejectReason::TooLong, 3));
                assert_eq!(reject.length, over.len() as u64);
                assert_eq!(*reject.bytes, over.as_bytes()[..64 * 1024]);
            }
        }
    }
}

#[test]
fn a_missing_brace_affects_no_more_than_the_limit() {
    let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(991));
    assert_eq!(line.len(), 1000);
    for (record_bytes, lost) in [(2500, 3_u16), (300_000, 300), (5_000_000, 5000)] {
        let limits = Limits { record_bytes, ..LIMITS };
        let wire = format!("{{\"b\":{line}") + &line.repeat(4999);
        for chunk in [999, usize::MAX] {
            let decoded = decode_as(Format::Concatenated, limits, wire.as_bytes(), chunk);
            let (block, summary) = decoded.unwrap();
            assert_eq!(
                (summary.records, summary.rejected),
                (u64::from(5000 - lost), 1),
                "{record_bytes}"
            );
            assert!(block.bytes == line.repeat(usize::from(5000 - lost)).as_bytes());
        }
    }
    // A long object of several indented lines is one reject.
    let limits = Limits { record_bytes: 2500, ..LIMITS };
    let spread = format!("{{\n \"e\": [\n{}]\n}}\n{{}}", "  {\"f\": 1},\n".repeat(100_000));
    let decoded = decode_as(Format::Concatenated, limits, spread.as_bytes(), usize::MAX);
    let (block, _) = decoded.unwrap();
    assert_eq!((&*block.bytes, block.rejects.len()), (b"{}\n".as_slice(), 1));
}

/// The records of a valid body according to `serde_json`.
fn by_serde_json(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let values = serde_json::Deserializer::from_str(text);
    let mut lines = Vec::new();
    for value in values.into_iter::<Box<serde_json::value::RawValue>>() {
        let value = value.ok().filter(|value| value.get().starts_with('{'))?;
        lines.extend(value.get().bytes().map(|byte| match byte {
            b'\n' | b'\r' => b' ',
            byte => byte,
        }));
        lines.push(b'\n');
    }
    Some(lines)
}

fn arbitrary_object() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        "-?(0|[1-9][0-9]{0,20})".prop_map(|number| number),
        "[ -~\u{80}-\u{ff}\n]{0,30}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let value = leaf.prop_recursive(3, 20, 4, |inner| {
        let member =
            ("[a-z]{1,6}", inner.clone()).prop_map(|(name, value)| format!("\"{name}\":\n{value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
            proptest::collection::vec(member, 0..4)
                .prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    });
    prop_oneof![
        6 => value.prop_map(|value| format!("{{\"time\":1.5,\"event\":{value}}}").into_bytes()),
        1 => arbitrary_line(),
    ]
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_chunks(
        objects in proptest::collection::vec(arbitrary_object(), 0..30),
        between in prop::sample::select(vec!["", "\n", "\r\n", " ", ","]),
        zipped in any::<bool>(),
        chunk in 1_usize..200,
        record_bytes in 1_usize..120,
    ) {
        let body = objects.join(between.as_bytes());
        let wire = if zipped { gzip(&body) } else { body };
        let limits = Limits { record_bytes, ..LIMITS };
        let whole = decode_as(Format::Concatenated, limits, &wire, usize::MAX);
        prop_assert_eq!(&whole, &decode_as(Format::Concatenated, limits, &wire, chunk));
        if let Ok((block, summary)) = whole {
            let mut replayed = Block::default();
            let mut gather = |next: Block| {
                replayed.bytes.extend(next.bytes);
                replayed.rejects.extend(next.rejects);
            };
            let decoder = Decoder::for_replay(record_bytes, summary.encoding, summary.rejected, summary.edition);
            let mut decoder = decoder.with_format(Format::Concatenated);
            decoder.push(&wire, &mut gather).unwrap();
            decoder.finish(&mut gather).unwrap();
            prop_assert_eq!(block.bytes, replayed.bytes);
            prop_assert_eq!(block.rejects, replayed.rejects);
        }
    }

    #[test]
    fn valid_records_are_those_that_serde_json_finds(
        objects in proptest::collection::vec(arbitrary_object(), 0..30),
        between in prop::sample::select(vec!["", "\n", " \r\n"]),
    ) {
        let body = objects.join(between.as_bytes());
        if let Some(want) = by_serde_json(&body) {
            let (block, _) =
                decode_as(Format::Concatenated, LIMITS, &body, usize::MAX).unwrap();
            prop_assert_eq!(block.bytes, want);
            prop_assert!(block.rejects.is_empty());
        }
    }
}
