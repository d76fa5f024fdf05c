//! Tests that the reference of the keys matches the reader and the validation.

use std::fmt::Write as _;

use ::settings::reference::{Chapter, Key, Presence, Takes};

use super::*;
use crate::config::{check_text, reference};

/// A file with every table and its required keys. NAME of the reference is `main` for an endpoint,
/// `archive` for a file sink, and the kind for any other sink. Kinds that are not here need only
/// their required keys.
const SPECIAL_TABLES: &str = r#"
[server]
[server.tls]
cert_file = "fullchain.pem"
key_file = "privkey.pem"
[endpoint.main]
path = "/logpush/{dataset}"
secret_file = "secrets.txt"
[sink.archive.file]
path = "/var/log/{dataset}/%Y.ndjson"
rotate.max_age = "24h"
[sink.stdout.stdout]
[sink.syslog.syslog]
address = "tls://siem.example.com:6514"
[sink.syslog.syslog.tls]
[spool]
[limits]
[quarantine]
[admin]
[log]
"#;

const FILES: &str = "cert_file = \"fullchain.pem\"\nkey_file = \"privkey.pem\"\n";
const ACME: &str = "[server.tls.acme]\ndomains = [\"logs.example.com\"]\n";

/// [`SPECIAL_TABLES`] with the other kinds of sink.
fn every_table() -> String {
    let mut file = SPECIAL_TABLES.to_owned();
    for kind in SinkKind::TABLES {
        let name = kind.name.replace("NAME", kind.name.rsplit('.').next().unwrap());
        if file.contains(&format!(".{}]", kind.name.rsplit('.').next().unwrap())) {
            continue;
        }
        for chapter in kind.chapters() {
            let header = chapter.name.replacen(kind.name, &name, 1);
            writeln!(file, "[{header}]").unwrap();
            for key in chapter.table.required() {
                writeln!(file, "{} = {}", key.name, key.presence.example()).unwrap();
            }
        }
    }
    file
}

/// Keys that require another key (`None`: that exclude it). KIND is any kind.
const BESIDE: &[(&str, &str, Option<&str>)] = &[
    ("endpoint.NAME.dataset", "path", Some("\"/fixed\"")),
    ("endpoint.NAME.auth", "secret_file", None),
    ("endpoint.NAME.delimiter", "format", Some("\"csv\"")),
    ("endpoint.NAME.delimiter", "header", Some("true")),
    ("endpoint.NAME.columns", "format", Some("\"csv\"")),
    ("endpoint.NAME.header", "format", Some("\"csv\"")),
    ("endpoint.NAME.header", "columns", Some("[\"ClientIP\"]")),
    ("sink.NAME.http.url_secret_file", "url", Some("\"https://c.example.com/{secret}\"")),
    ("sink.NAME.syslog.leef_version", "message", Some("\"leef\"")),
    ("sink.NAME.syslog.severity_field", "severity_values", Some("{ block = \"err\" }")),
    ("sink.NAME.syslog.severity_values", "severity_field", Some("\"Action\"")),
    ("sink.NAME.elasticsearch.user", "password_file", Some("\"password.txt\"")),
    ("sink.NAME.elasticsearch.password_file", "user", Some("\"logpushd\"")),
    ("sink.NAME.loki.user", "password_file", Some("\"loki.txt\"")),
    ("sink.NAME.loki.password_file", "user", Some("\"12345\"")),
    ("sink.NAME.KIND.tls.cert_file", "key_file", Some("\"client.key\"")),
    ("sink.NAME.KIND.tls.key_file", "cert_file", Some("\"client.pem\"")),
];

/// A key in one of its tables. A key of `[sink.NAME.KIND]` is tested in every kind.
#[derive(Clone)]
struct TableKey {
    table: String,
    /// The name, with a dot if the key is in a nested table.
    name: String,
    key: &'static Key,
}

impl TableKey {
    fn name(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    fn name_in_any_kind(&self) -> String {
        let mut parts: Vec<_> = self.table.split('.').collect();
        if let ["sink", _, kind, ..] = parts.as_mut_slice() {
            *kind = "KIND";
        }
        format!("{}.{}", parts.join("."), self.name)
    }

    /// [`every_table`] with the key, or without it.
    fn file(&self, value: Option<&str>) -> String {
        let mut keys = vec![(self.name.as_str(), value)];
        keys.extend(
            BESIDE
                .iter()
                .filter(|(name, ..)| {
                    [self.name(), self.name_in_any_kind()].contains(&(*name).to_owned())
                })
                .map(|(_, key, value)| (*key, *value)),
        );
        let header = match self.table.split('.').collect::<Vec<_>>().as_slice() {
            ["sink", _, "file"] => String::from("[sink.archive.file]"),
            ["sink", _, kind, rest @ ..] => {
                [&["[sink", kind, kind][..], rest].concat().join(".") + "]"
            }
            _ => format!("[{}]", self.table.replace("NAME", "main")),
        };
        let every_table = match self.table.as_str() {
            // It replaces the files.
            "server.tls.acme" => every_table().replace(FILES, ACME),
            _ => every_table(),
        };
        let mut is_here = false;
        let mut lines = Vec::new();
        for line in every_table.lines() {
            if line.starts_with('[') {
                is_here = line == header;
            }
            let is_replaced = keys.iter().any(|(key, _)| line.starts_with(&format!("{key} =")));
            if !(is_here && is_replaced) {
                lines.push(line.to_owned());
            }
            if line == header {
                let stated = keys.iter().filter_map(|(key, value)| Some((key, (*value)?)));
                lines.extend(stated.map(|(key, value)| format!("{key} = {value}")));
            }
        }
        let file = lines.join("\n");
        assert!(file.contains(&header), "{header} is not in every_table");
        file
    }

    fn load(&self, value: Option<&str>) -> Result<Config, String> {
        let file = self.file(value);
        let config = check_text(Path::new("/etc/logpushd/logpushd.toml"), &file);
        config.map_err(|problems| problems.to_string())
    }
}

/// The names of the tables that a table of the reference stands for.
fn names(table: &Chapter) -> Vec<String> {
    match table.name.strip_suffix("KIND") {
        Some(prefix) => SinkKind::names().map(|kind| format!("{prefix}{kind}")).collect(),
        None => vec![table.name.clone()],
    }
}

fn table_keys() -> Vec<TableKey> {
    let of_table = |chapter: Chapter| {
        let of_name = |table: String| {
            let keys = chapter.table.keys().into_iter();
            keys.map(move |(name, key)| TableKey { table: table.clone(), name, key })
        };
        names(&chapter).into_iter().flat_map(of_name).collect::<Vec<_>>()
    };
    reference::tables().into_iter().flat_map(of_table).collect()
}

/// The names of all tables and keys, with `*` for names that the operator chooses.
pub(super) fn every_key() -> BTreeSet<String> {
    let tables = reference::tables();
    let keys = table_keys().into_iter().map(|key| key.name());
    let mut known = BTreeSet::new();
    for name in tables.iter().flat_map(names).chain(keys) {
        let parts: Vec<_> = name.split('.').collect();
        // Every table in the name is a key of its parent, except a chosen name.
        for end in (1..=parts.len()).filter(|end| parts[end - 1] != "NAME") {
            known.insert(parts[..end].join(".").replace("NAME", "*"));
        }
    }
    known
}

#[test]
fn every_default_and_example_can_be_read() {
    for key in table_keys() {
        key.key.check().unwrap_or_else(|problem| panic!("{}: {problem}", key.name()));
    }
}

#[test]
fn its_defaults_are_those_of_validation() {
    for key in table_keys() {
        let (name, without) = (key.name(), key.load(None));
        let stated =
            |value| key.load(Some(value)).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        match key.key.presence {
            Presence::Default(value) => {
                let mut stated = stated(value);
                // An address that is set must be available: the only difference.
                stated.admin.asked_for = false;
                assert_eq!(stated, without.unwrap(), "{name}");
            }
            Presence::Optional { example, .. } => {
                let stated = stated(example);
                // Without a required key the file is refused. The example of the directory is its
                // default, and owners of files depend on the machine.
                let is_same = ["quarantine.dir", "sink.NAME.file.owner", "sink.NAME.file.group"];
                if let Ok(without) = without
                    && !is_same.contains(&name.as_str())
                {
                    assert_ne!(stated, without, "{name}");
                }
            }
            Presence::Required { example } => {
                stated(example);
                let problems = without.unwrap_err();
                assert!(problems.contains(&key.name), "{name}: {problems}");
            }
        }
    }
}

#[test]
fn its_kinds_are_those_of_the_reader() {
    for key in table_keys() {
        let name = key.name();
        // No key takes a date.
        let problems = key.load(Some("1979-05-27")).unwrap_err();
        let expected = match key.key.takes {
            Takes::String(_) | Takes::OneOf(_) => "a string for",
            Takes::StringOrList(_) => "a string or a list of strings",
            Takes::List(_) => "a list of strings",
            Takes::Flag => "true or false",
            Takes::Count => "a whole number",
            Takes::Size { .. } => "a size such as",
            Takes::Duration { .. } => "a duration such as",
            Takes::Names(_) => "a table",
        };
        assert!(problems.contains(&format!("expected {expected}")), "{name}: {problems}");
        let Takes::OneOf(words) = key.key.takes else { continue };
        let problems = key.load(Some("\"no-such-word\"")).unwrap_err();
        let (_, hint) = problems.split_once("no-such-word\"\n").unwrap();
        let listed: Vec<_> = hint.split('"').skip(1).step_by(2).collect();
        let words: Vec<_> = words.iter().map(|word| word.escape_debug().to_string()).collect();
        assert_eq!(listed, words, "{name}: {problems}");
    }
}

#[test]
fn its_example_is_a_configuration() {
    check_text(Path::new("/etc/logpushd/logpushd.toml"), reference::EXAMPLE).unwrap();
}

#[test]
fn its_texts_are_whole() {
    for table in reference::tables() {
        let keys = table.table.keys().into_iter().map(|(_, key)| key.text());
        let of_file = reference::FILE.iter().map(|text| (*text).to_owned());
        for text in keys.chain([table.text]).chain(of_file) {
            assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            assert_eq!(text.matches('`').count() % 2, 0, "{text}");
            for part in text.split("docs/").skip(1) {
                let (document, _) = part.split_once(".md").unwrap();
                let document = repository("docs").join(format!("{document}.md"));
                assert!(document.exists(), "{} of {text}", document.display());
            }
        }
    }
}

#[test]
fn the_document_is_made_of_it() {
    compare("docs/reference.md", &reference::document());
}

#[test]
fn the_sample_is_made_of_it() {
    compare("config/logpushd.toml", &reference::sample());
}

/// Compares a file of the repository with this text, or writes it with `LOGPUSHD_BLESS`.
fn compare(name: &str, text: &str) {
    let hint = "to regenerate it: LOGPUSHD_BLESS=1 cargo test --lib reference";
    let path = repository(name);
    if env::var_os("LOGPUSHD_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    for (number, (written, expected)) in written.lines().zip(text.lines()).enumerate() {
        assert_eq!(written, expected, "{name}, line {}; {hint}", number + 1);
    }
    assert_eq!(written.len(), text.len(), "{name}; {hint}");
}
