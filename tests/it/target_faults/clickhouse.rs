//! The `clickhouse` sink, into tables whose columns are the fields of the records, as text.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde_json::value::RawValue;

use super::{Promise, Target, record, run};
use crate::support::{Random, clickhouse::ClickHouse, samples::all_datasets};

/// A column of numbers: it refuses a text.
const NUMBER: &str = "EdgeResponseStatus";

struct Tables {
    server: ClickHouse,
    datasets: BTreeSet<String>,
}

impl Tables {
    /// Creates a table for each dataset.
    fn create(server: ClickHouse) -> Self {
        let mut datasets = stored();
        datasets.push(("http_requests".to_owned(), record(&mut Random::new(1), 1).into_bytes()));
        let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (dataset, lines) in datasets {
            let lines = String::from_utf8(lines).unwrap();
            let fields = fields.entry(dataset).or_default();
            fields.extend(lines.lines().flat_map(|line| members(line).into_keys()));
        }
        for (dataset, fields) in &fields {
            let column = |field: &String| {
                let kind = if field == NUMBER { "UInt16" } else { "String" };
                format!("`{field}` Nullable({kind})")
            };
            let columns = fields.iter().map(column).collect::<Vec<_>>().join(", ");
            server.query(&format!(
                "CREATE TABLE logpush_{dataset} ({columns}) ENGINE = MergeTree ORDER BY tuple() \
                 SETTINGS non_replicated_deduplication_window = 10000"
            ));
        }
        Self { server, datasets: fields.into_keys().collect() }
    }
}

/// The records that a table can store: a name of a column is valid Unicode.
fn stored() -> Vec<(String, Vec<u8>)> {
    let datasets = all_datasets().into_iter();
    datasets.filter(|(dataset, _)| dataset != "somebodys_own").collect()
}

/// The members of a record, without nulls: a string as its text, another value as JSON.
fn members(record: &str) -> BTreeMap<String, String> {
    if record.trim().is_empty() {
        return BTreeMap::new();
    }
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(record).unwrap();
    let text = |raw: &str| serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned());
    let members = members.into_iter().filter(|(_, raw)| raw.get() != "null");
    members.map(|(name, raw)| (name, text(raw.get()))).collect()
}

impl Target for Tables {
    const KIND: &'static str = "clickhouse";
    const PROMISE: Promise = Promise::ExactlyOnce;

    fn keys(&self, proxy: SocketAddr) -> String {
        format!("url = \"http://{proxy}\"\nskip_unknown_fields = false")
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn kill(&mut self) {
        self.server.kill();
    }

    fn start(&mut self) {
        self.server.restart();
    }

    fn read(&mut self) -> Vec<String> {
        let rows = |dataset: &String| {
            let table = format!("SELECT * FROM logpush_{dataset} FORMAT JSONEachRow");
            let rows = self.server.query(&table);
            rows.lines().map(|row| self.expected(dataset, row)).collect::<Vec<_>>()
        };
        self.datasets.iter().flat_map(rows).collect()
    }

    fn expected(&self, dataset: &str, record: &str) -> String {
        format!("{dataset} {:?}", members(record))
    }

    fn others(&self) -> Vec<(String, Vec<u8>)> {
        stored()
    }

    fn refused(&self, record: &str) -> Option<String> {
        let (before, status) = record.split_once("\"EdgeResponseStatus\":")?;
        let (status, after) = status.split_once(',')?;
        Some(format!("{before}\"EdgeResponseStatus\":\"no number: {status}\",{after}"))
    }

    fn accept_refused(&mut self) -> bool {
        let change = format!("MODIFY COLUMN {NUMBER} Nullable(String)");
        self.server.query(&format!("ALTER TABLE logpush_http_requests {change}"));
        true
    }
}

#[test]
fn clickhouse() {
    if let Some(server) = ClickHouse::start() {
        run(Tables::create(server));
    }
}
