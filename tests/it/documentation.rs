//! Documents and alert rules name the metrics that the daemon exposes.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::Command,
    time::Duration,
};

use logpushd::{
    metrics::{Arrival, BatchOutcome, Metrics, Names, Process, RefusalReason},
    sink::{RequestErrorClass, RequestOutcome, RequestResult, UploadMetrics as _},
};

use crate::support::{
    Exit, finish, repository,
    require::{PROMTOOL, has},
    text::wrapped,
};

/// One metric, as its exposition has it.
#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: String,
    help: String,
    /// Labels in their order, each with its values.
    labels: Vec<(String, Vec<String>)>,
}

/// All metrics, each with at least one sample.
fn families() -> Vec<Family> {
    let names = Names {
        endpoints: vec!["main".to_owned()],
        sinks: RequestErrorClass::ALL.map(|class| class.label().to_owned()).into(),
        datasets: vec![],
    };
    let metrics = Metrics::new(&names);
    let endpoint = metrics.endpoint("main");
    endpoint.batch(BatchOutcome::Committed);
    metrics.refused(RefusalReason::Malformed);
    let arrival = Arrival { at: std::time::Instant::now(), wall_micros: 1 };
    endpoint.records("http_requests", 1, arrival);
    endpoint.received_bytes("http_requests", 1);
    endpoint.inflated_bytes("http_requests", 1);
    metrics.event_lag("http_requests", Duration::from_secs(1));
    for class in RequestErrorClass::ALL {
        let sink = metrics.sink(class.label());
        sink.succeeded(arrival);
        sink.opened();
        let (outcome, took) = (RequestOutcome::Retried, Duration::from_secs(1));
        sink.sent(1);
        sink.ended(&RequestResult { outcome, error: Some(class), took });
    }
    metrics.process(Process::read());
    metrics.certificate_expiry(1);
    endpoint.secret("new").used(1);
    let mut families: Vec<Family> = Vec::new();
    for line in metrics.render().lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            let (name, help) = (name.to_owned(), help.to_owned());
            families.push(Family { name, help, ..Family::default() });
            continue;
        }
        let family = families.last_mut().unwrap();
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            family.kind = kind.rsplit(' ').next().unwrap().into();
            continue;
        }
        let labels = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap();
            let value = value.trim_matches('"').to_owned();
            match family.labels.iter_mut().find(|(known, _)| known == label) {
                Some((_, values)) if values.contains(&value) => {}
                Some((_, values)) => values.push(value),
                None => family.labels.push((label.to_owned(), vec![value])),
            }
        }
    }
    families
}

/// The first paragraph of an entry.
fn head(family: &Family) -> String {
    let Family { kind, help, labels, .. } = family;
    let names: Vec<_> = labels.iter().map(|(label, _)| format!("`{label}`")).collect();
    let by = if names.is_empty() { String::new() } else { format!(" by {}", names.join(" and ")) };
    let closed = labels.iter().filter(|(label, _)| is_closed(label)).map(|(label, values)| {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        format!(" `{label}` is one of {}.", values.join(", "))
    });
    wrapped(&format!("A {kind}{by}. {help}{}", closed.collect::<String>()))
}

/// The values of other labels are names, versions and bounds.
fn is_closed(label: &str) -> bool {
    !["endpoint", "sink", "dataset", "secret", "version", "le"].contains(&label)
}

#[test]
fn each_metric_has_its_entry() {
    let path = repository("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut entries = text.split("\n### ");
    let preface = entries.next().unwrap();
    let notes: BTreeMap<_, _> = entries
        .map(|entry| {
            let mut parts = entry.splitn(3, "\n\n");
            let name = parts.next().unwrap().trim_matches('`');
            (name, parts.nth(1).unwrap_or_default().trim_end())
        })
        .collect();
    let mut expected = preface.trim_end().to_owned();
    for family in families() {
        assert!(!family.kind.is_empty(), "{family:?} has no sample: count something");
        let note = notes.get(family.name.as_str()).copied().unwrap_or_default();
        expected += &["\n\n### `", &family.name, "`\n\n", &head(&family), "\n\n", note].concat();
        assert!(!note.is_empty() || bless(), "docs/metrics.md does not describe {}", family.name);
    }
    expected = expected.trim_end().to_owned() + "\n";
    if bless() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    for (number, (written, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(written, expected, "docs/metrics.md, line {}", number + 1);
    }
    assert_eq!(text.len(), expected.len());
}

fn bless() -> bool {
    env::var_os("LOGPUSHD_BLESS").is_some()
}

/// Words that start like a metric.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_of_a_name(c))
        .filter(|word| word.starts_with("logpushd_") || word.starts_with("process_"))
        .filter(|word| !word.ends_with('_'))
        .collect()
}

#[test]
fn documents_and_rules_name_only_existing_metrics() {
    let families = families();
    let known = |name: &str| {
        families.iter().any(|family| {
            let parts: &[_] = match family.kind.as_str() {
                "histogram" => &["", "_bucket", "_sum", "_count"],
                _ => &[""],
            };
            parts.iter().any(|part| name.strip_suffix(part) == Some(&family.name))
        })
    };
    for file in ["docs/monitoring.md", "docs/metrics.md", "pkg/prometheus/logpushd.rules.yml"] {
        let text = fs::read_to_string(repository(file)).unwrap();
        let named = metrics_in(&text);
        assert!(named.len() > 10, "{file}: {named:?}");
        for name in named {
            assert!(known(name), "{file}: there is no {name}");
        }
    }
}

const RULES: &str = "pkg/prometheus/logpushd.rules.yml";

#[test]
fn rules_use_existing_labels() {
    let rules = fs::read_to_string(repository(RULES)).unwrap();
    let families = families();
    let mut seen = 0;
    for matcher in
        rules.split(['{', ',', '}']).filter(|part| part.contains("=\"") || part.contains("=~\""))
    {
        let (label, values) = matcher.split_once('=').unwrap();
        let values = values.trim_start_matches('~').trim_matches('"');
        let known: Vec<_> = families
            .iter()
            .flat_map(|family| &family.labels)
            .filter(|(known, _)| known == label.trim() && is_closed(known))
            .flat_map(|(_, values)| values)
            .collect();
        for value in values.split('|').filter(|_| !known.is_empty()) {
            seen += 1;
            assert!(known.iter().any(|known| *known == value), "{label}: {value}");
        }
    }
    assert!(seen > 5, "only {seen} values were compared");
}

#[test]
fn each_alert_has_instructions_and_a_test() {
    let rules = fs::read_to_string(repository(RULES)).unwrap();
    let tests = fs::read_to_string(repository(&RULES.replace(".yml", ".test.yml"))).unwrap();
    let alerts: Vec<_> = rules.split("\n      - alert: ").skip(1).collect();
    assert!(alerts.len() > 15);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for part in ["expr:", "severity:", "summary:", "description:", "runbook:"] {
            assert!(alert.contains(&format!(" {part} ")), "{name} has no {part}");
        }
        assert!(tests.contains(&format!("'{{alertname=\"{name}\"}}'")), "{name} is not tried");
    }
    if !has(&[&PROMTOOL]) {
        return;
    }
    for (what, file) in [("check", RULES.to_owned()), ("test", RULES.replace(".yml", ".test.yml"))]
    {
        let mut promtool = Command::new("promtool");
        let done = finish(promtool.args([what, "rules"]).arg(repository(&file)));
        assert_eq!(done.exit, Exit::Code(0), "{}{}", done.stdout, done.stderr);
    }
}
