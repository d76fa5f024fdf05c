//! Tests of which records of a file are sent.

use std::fs;

use super::*;
use crate::{
    cli::{ConfigFile, quarantine::QuarantineFilter},
    commands::replay::tests::Folder,
    decode::{Edition, Encoding, Format},
    select::FieldMask,
    spool::{Header, OnlySink, Origin},
};

fn line(position: u64, rest: &str) -> String {
    format!(
        "{{\"reason\":\"x\",\"endpoint\":\"main\",\"dataset\":\"dns_logs\",\"batch\":1,\
         \"received\":\"2026-01-02T03:04:05Z\",\"position\":{position},\"length\":20,{rest}}}\n"
    )
}

fn replay(filter: &QuarantineFilter, sink: Option<&str>) -> Replay {
    Replay {
        config: ConfigFile { path: "logpushd.toml".into() },
        filter: filter.clone(),
        sink: sink.map(str::to_owned),
        apply_selection: false,
        dry_run: false,
        json: false,
        paths: Vec::new(),
    }
}

/// Returns what is sent of a file, and the skipped lines.
fn sent(
    folder: &Folder,
    text: &str,
    filter: &QuarantineFilter,
    state: FileState,
) -> (String, Vec<Skip>) {
    let path = folder.path("records-2026-01-02.ndjson");
    fs::write(&path, text).unwrap();
    let plan = plan(&folder.config, &path, &replay(filter, None), state, None).unwrap();
    let mut all = Vec::new();
    let mut records = 0;
    let read = read(&folder.config, &path, &plan, &mut |_, batch| {
        records += batch.records;
        all.extend(batch.into_body(Vec::new()));
        Ok(())
    });
    read.unwrap();
    assert_eq!(plan.routes.values().sum::<u64>(), records);
    assert_eq!(plan.sends(), records > 0);
    (String::from_utf8_lossy(&all).into_owned(), plan.skips)
}

fn all(folder: &Folder, text: &str) -> (String, Vec<Skip>) {
    sent(folder, text, &QuarantineFilter::default(), FileState::Complete)
}

#[test]
fn records_are_restored_unchanged() {
    let folder = Folder::new();
    let text = [
        line(1, "\"record\":\"{\\\"a\\\":\""),
        "\n".to_owned(),
        line(2, "\"record_hex\":\"7bc37d\""),
        line(3, "\"record\":\"{}\"").trim_end().to_owned(),
    ];
    let (bodies, skips) = all(&folder, &text.concat());
    assert_eq!(bodies, "{\"a\":\n{\u{fffd}}\n{}\n");
    assert_eq!(skips, []);
}

#[test]
fn truncated_records_are_read_from_their_batch() {
    let folder = Folder::new();
    let header = Header {
        origin: Origin {
            endpoint: "main".into(),
            dataset: "dns_logs".into(),
            received: jiff::Timestamp::UNIX_EPOCH,
            sink: None,
        },
        records: 1,
        rejected: 4,
        record_limit: 10,
        digest: 1,
        encoding: Encoding::Identity,
        format: Format::Json,
        edition: Edition::First,
    };
    let body = Batch { sequence: 1, header }.file_name();
    let long = |c: &str| format!("{{\"a\":\"{}\"}}", c.repeat(100_000));
    let batch = format!("not json\n{}\r\n\n{{\"b\":2}}\n[1]\n{}\n", long("x"), long("y"));
    fs::create_dir_all(folder.path("bodies")).unwrap();
    fs::write(folder.path("bodies").join(&body), batch).unwrap();

    let cut = |position| line(position, &format!("\"record\":\"{{\",\"body\":\"{body}\""));
    let cut = |position| cut(position).replace("\"length\":20", "\"length\":100008");
    let text = [cut(5), line(1, "\"record\":\"not json\""), cut(2)].concat();
    let (got, skips) = all(&folder, &text);
    assert_eq!(got, format!("not json\n{}\n{}\n", long("x"), long("y")));
    assert_eq!(skips, []);

    // A missing record does not stop the others.
    let (got, skips) = all(&folder, &[cut(6), cut(2)].concat());
    assert_eq!(got, format!("{}\n", long("x")));
    assert!(skips[0].first_line == 1 && skips[0].reason.contains("does not contain"), "{skips:?}");
    fs::remove_file(folder.path("bodies").join(&body)).unwrap();
    let (got, skips) = all(&folder, &text);
    assert_eq!(got, "not json\n");
    assert_eq!((skips[0].first_line, skips[0].lines), (1, 2));
    assert!(skips[0].reason.contains("No such file"), "{skips:?}");
}

#[test]
fn line_that_cannot_be_replayed_does_not_stop_the_others() {
    let folder = Folder::new();
    let good = line(1, "\"record\":\"{}\"");
    for (text, want) in [
        (line(1, "\"x\":1"), "no `record`"),
        (line(1, "\"record_hex\":\"0\""), "not hexadecimal"),
        (good.replace("main", "gone"), "no endpoint `gone`"),
        (good.replace("dns_logs", "A/b"), "no dataset `A/b`"),
        (good.replace("main", "rows"), "quarantine delete --endpoint rows"),
        (line(1, "\"body\":\"../x\""), "not the name of a body"),
        ("{\"reason\":\n".to_owned(), "not a JSON object of the quarantine"),
    ] {
        let (bodies, skips) =
            all(&folder, &[&good, &text, &good, &text].map(String::as_str).concat());
        assert_eq!(bodies, "{}\n{}\n", "{want}");
        let [skip] = skips.as_slice() else { panic!("{skips:?}") };
        assert_eq!((skip.lines, skip.first_line), (2, 2));
        assert!(skip.reason.contains(want), "{skip:?}");
    }
    let text = [good, "{\"reason\":".to_owned()].concat();
    let (bodies, skips) = sent(&folder, &text, &QuarantineFilter::default(), FileState::Growing);
    assert_eq!((bodies.as_str(), skips.len()), ("{}\n", 0));
}

#[test]
fn lines_that_are_not_selected_stay() {
    let folder = Folder::new();
    let good = line(1, "\"record\":\"{}\"");
    let other = good.replace("\"x\"", "\"not_json\"").replace("{}", "{\\\"a\\\":1}");
    let text = [good.as_str(), &other, "damaged\n", &good.replace("main", "gone")].concat();
    let reason =
        QuarantineFilter { reason: vec!["not_json".to_owned()], ..QuarantineFilter::default() };
    let (bodies, skips) = sent(&folder, &text, &reason, FileState::Complete);
    assert_eq!((bodies.as_str(), skips.len()), ("{\"a\":1}\n", 0));
    let endpoint =
        QuarantineFilter { endpoint: vec!["gone".to_owned()], ..QuarantineFilter::default() };
    let (bodies, skips) = sent(&folder, &text, &endpoint, FileState::Complete);
    assert_eq!((bodies.as_str(), skips[0].first_line), ("", 4));
}

#[test]
fn record_that_the_named_sink_excludes_is_skipped() {
    let mut folder = Folder::new();
    let path = folder.path("records-2026-01-02.ndjson");
    fs::write(&path, line(1, "\"record\":\"{}\"")).unwrap();
    let everything = QuarantineFilter::default();
    let skips = |folder: &Folder| {
        let options = replay(&everything, Some("archive"));
        plan(&folder.config, &path, &options, FileState::Complete, None).unwrap().skips
    };
    assert_eq!(skips(&folder), []);
    for sink in &mut folder.config.sinks {
        sink.choice.datasets = vec!["http_requests".to_owned()];
    }
    let [skip] = &skips(&folder)[..] else { panic!("one reason") };
    assert_eq!(skip.reason, "sink archive does not take dataset dns_logs of endpoint main");
    for sink in &mut folder.config.sinks {
        sink.choice.datasets.clear();
    }
    for endpoint in &mut folder.config.endpoints {
        endpoint.sinks.clear();
    }
    assert_eq!(skips(&folder).len(), 1);
}

#[test]
fn record_that_a_target_refused_goes_only_to_that_sink() {
    let folder = Folder::new();
    let refused = line(2, "\"record\":\"{}\"")
        .replace("\"reason\":\"x\"", "\"reason\":\"400: [a] is no date\",\"sink\":\"archive\"");
    let rejected = line(2, "\"record\":\"{\"").replace("\"x\"", "\"not_json\"");
    let path = folder.path("records-archive-2026-01-02.ndjson");
    fs::write(&path, [refused.as_str(), &rejected].concat()).unwrap();
    let only = |reason: &str| QuarantineFilter {
        reason: vec![reason.into()],
        ..QuarantineFilter::default()
    };
    let sinks = |filter: &QuarantineFilter, sink: Option<&str>| {
        let options = replay(filter, sink);
        let mut keys = HashSet::new();
        let plan = plan(&folder.config, &path, &options, FileState::Complete, Some(&mut keys));
        let plan = plan.unwrap();
        assert_eq!((plan.routes.len(), &*plan.skips), (keys.len(), &[][..]));
        let sinks = plan.routes.into_keys().map(|route| route.sink);
        sinks.map(|sink| sink.map(|sink| sink.name)).collect::<Vec<_>>()
    };
    let archive = Some("archive".to_owned());
    assert_eq!(sinks(&QuarantineFilter::default(), None), [None, archive.clone()], "two records");
    assert_eq!(sinks(&only("refused"), None), [archive]);
    assert_eq!(sinks(&only("not_json"), None), [None]);

    let options = replay(&QuarantineFilter::default(), Some("other"));
    let plan = plan(&folder.config, &path, &options, FileState::Complete, None).unwrap();
    assert_eq!((plan.action(1), plan.action(2)), (LineAction::Leave, LineAction::Skip));
}

#[test]
fn a_dead_letter_goes_through_a_selection_once() {
    let mut folder = Folder::new();
    let path = folder.path("records-archive-2026-01-02.ndjson");
    let mut planned = |mask: Option<FieldMask>, selection: Option<&str>, apply_selection| {
        for sink in &mut folder.config.sinks {
            sink.choice.masks = mask.iter().map(|mask| ("a".to_owned(), mask.clone())).collect();
        }
        let selection = selection.map(|text| format!(",\"selection\":\"{text}\""));
        let refused = format!("\"sink\":\"archive\"{}", selection.unwrap_or_default());
        fs::write(&path, line(2, &format!("\"record\":\"{{}}\",{refused}"))).unwrap();
        let options = Replay { apply_selection, ..replay(&QuarantineFilter::default(), None) };
        let plan = plan(&folder.config, &path, &options, FileState::Complete, None).unwrap();
        let sinks = plan.routes.into_keys().filter_map(|route| route.sink);
        let current = folder.config.sinks.iter().find(|sink| sink.name == "archive").unwrap();
        (sinks.collect::<Vec<_>>(), plan.skips.len(), current.choice.fingerprint())
    };
    let archive = |selection| vec![OnlySink { name: "archive".to_owned(), selection }];
    let redact = Some(FieldMask::Redact);
    let (_, _, fingerprint) = planned(redact.clone(), None, false);
    let text = quarantine::selection_text(fingerprint.unwrap());
    for (mask, selection, applies, expected, skipped) in [
        (redact.clone(), Some(&*text), false, archive(fingerprint), 0),
        (redact.clone(), Some(&*text), true, archive(fingerprint), 0),
        // From an earlier version, or from the time before the sink had a selection.
        (redact.clone(), None, false, archive(None), 0),
        (redact.clone(), Some("00000000"), false, vec![], 1),
        (redact.clone(), Some(""), false, vec![], 1),
        (redact, Some("00000000"), true, archive(None), 0),
        (Some(FieldMask::Truncate), Some(&*text), false, vec![], 1),
        (None, Some(&*text), false, archive(None), 0),
    ] {
        let (sinks, skips, _) = planned(mask.clone(), selection, applies);
        assert_eq!((sinks, skips), (expected, skipped), "{mask:?} {selection:?} {applies}");
    }
}
