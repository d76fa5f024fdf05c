//! Checks the tables of a sink: at the start, beside the first insert into each table, and for
//! `logpushd validate --probe`. No check delays or prevents an insert.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use records::record;
use reqwest::{Method, Request};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::runtime::Handle;
use tracing::{Instrument as _, Span, debug, error_span, warn};

use super::{
    Settings, USER, answer,
    identifier::literal,
    insert::user,
    tables::{Deduplication, TableName, TableRow},
};
use crate::{
    ProbeError,
    network::{HttpRequest, HttpSender},
    upload::{Chunk, Verdict},
};

/// The server's default of the deduplication window. Its table needs a grant of its own.
const DEFAULT_WINDOW: &str = "SELECT value FROM system.merge_tree_settings \
     WHERE name = 'non_replicated_deduplication_window' FORMAT JSONEachRow";

/// The server of one sink, and what is known about its tables.
pub(super) struct Schema {
    pub(super) settings: Settings,
    pub(super) sender: HttpSender,
    /// The name of the sink, for the log.
    sink: String,
    /// The tables whose check has begun.
    checked: Mutex<BTreeSet<TableName>>,
    /// The tables that were reported because they do not recognize repeated inserts.
    reported: Mutex<BTreeSet<TableName>>,
}

/// The queries for the check of one table.
pub(super) struct TableCheck {
    name: TableName,
    engines: EngineQueries,
    columns: HttpRequest,
    /// The fields of the first record.
    fields: BTreeSet<String>,
}

/// The queries for the engines of tables.
struct EngineQueries {
    tables: HttpRequest,
    window: HttpRequest,
}

#[derive(Deserialize)]
struct WindowRow {
    value: String,
}

#[derive(Deserialize)]
struct ColumnRow {
    name: String,
}

impl Schema {
    /// `sink` is the name of the sink, for the log.
    pub(super) fn new(settings: Settings, sink: String) -> Arc<Self> {
        let sender = HttpSender::new(&settings.network, &settings.secrets());
        let (checked, reported) = (Mutex::default(), Mutex::default());
        Arc::new(Self { settings, sender, sink, checked, reported })
    }

    /// Checks the tables that exist at the start, in the background. A server that is down is
    /// checked beside the first insert.
    pub(super) fn check_existing(self: &Arc<Self>, runtime: &Handle) {
        let (schema, runtime, span) = (Arc::clone(self), runtime.clone(), Span::current());
        let check = move || {
            // Reads the files of the sink, which a task must not.
            let Settings { database, table, .. } = &schema.settings;
            let queries = schema.engine_queries(&database.pattern(), &table.pattern());
            let check = async move {
                if let Err(failure) = schema.check_engines(queries).await {
                    debug!(?failure, "the tables of the sink were not checked");
                }
            };
            runtime.spawn(check.instrument(span));
        };
        if let Err(error) = thread::Builder::new().name("table-check".to_owned()).spawn(check) {
            debug!(%error, "the tables of the sink were not checked");
        }
    }

    /// Prepares the check of the table of a chunk, if it is the first one for this table.
    pub(super) fn first_check(&self, chunk: &Chunk) -> Option<TableCheck> {
        let origin = &chunk.batch().header.origin;
        let name = self.settings.table_of(&origin.dataset, &origin.endpoint);
        if !lock(&self.checked).insert(name.clone()) {
            return None;
        }
        let (_, first) = chunk.iter().next()?;
        let mut fields = BTreeSet::new();
        let mut add = |name: Cow<'_, str>, _: &str| {
            fields.insert(name.into_owned());
        };
        // The server refuses a record that is no object.
        record::for_each_member(first, &mut add).ok();
        Some(TableCheck {
            engines: self.engine_queries(&exactly(&name.database), &exactly(&name.table)),
            columns: self.query(&columns(&name)),
            fields,
            name,
        })
    }

    /// Runs the check of a table.
    pub(super) async fn run(self: Arc<Self>, check: TableCheck) {
        let span = error_span!("sink", sink = self.sink);
        let name = check.name.clone();
        let result = self.check_table(check).instrument(span).await;
        // It is repeated with a later insert.
        if !matches!(result, Ok(true)) {
            lock(&self.checked).remove(&name);
        }
    }

    /// Returns whether the table exists.
    async fn check_table(&self, check: TableCheck) -> Result<bool, Verdict> {
        if self.check_engines(check.engines).await?.is_empty() {
            return Ok(false);
        }
        if self.settings.skip_unknown_fields {
            let columns: Vec<ColumnRow> = self.rows(check.columns).await?;
            let fields = without_column(check.fields, &columns);
            if !fields.is_empty() {
                let (table, fields) = (check.name, fields.join(", "));
                warn!(%table, fields, "fields without a column are not stored");
            }
        }
        Ok(true)
    }

    /// Warns about tables that do not recognize repeated inserts. Returns all tables.
    async fn check_engines(&self, queries: EngineQueries) -> Result<Vec<TableRow>, Verdict> {
        let (tables, window) = self.engines(queries).await?;
        for table in &tables {
            if let Deduplication::Off { why, action } = table.deduplication(window)
                && lock(&self.reported).insert(table.name.clone())
            {
                warn!(reason = why, action, "records may be stored twice after a failure");
            }
        }
        Ok(tables)
    }

    /// The tables, and the server's default of the deduplication window if the user may read it.
    async fn engines(
        &self,
        EngineQueries { tables, window }: EngineQueries,
    ) -> Result<(Vec<TableRow>, Option<u64>), Verdict> {
        let tables: Vec<TableRow> = self.rows(tables).await?;
        let window: Vec<WindowRow> = self.rows(window).await.unwrap_or_default();
        // The default of ClickHouse itself is 0.
        let window = window.first().map_or(Some(0), |row| row.value.parse().ok());
        Ok((tables, window))
    }

    /// The queries for the tables whose names match regular expressions.
    fn engine_queries(&self, database: &str, table: &str) -> EngineQueries {
        let (database, table) = (literal(database), literal(table));
        let tables = format!(
            "SELECT database, name, engine, engine_full FROM system.tables \
             WHERE match(database, {database}) AND match(name, {table}) FORMAT JSONEachRow"
        );
        EngineQueries { tables: self.query(&tables), window: self.query(DEFAULT_WINDOW) }
    }

    /// Prepares a query. May read files.
    fn query(&self, sql: &str) -> HttpRequest {
        let request = || {
            let mut url = self.settings.url.fill("", "")?;
            url.query_pairs_mut().append_pair("wait_end_of_query", "1");
            let mut request = Request::new(Method::POST, url);
            request.headers_mut().insert(USER, user(&self.settings)?);
            *request.body_mut() = Some(sql.to_owned().into());
            Ok(request)
        };
        self.sender.prepare(request())
    }

    async fn rows<T: DeserializeOwned>(&self, query: HttpRequest) -> Result<Vec<T>, Verdict> {
        let mut answer = self.sender.send(query).await?;
        let body = answer::body(&mut answer, true).await?;
        let rows = serde_json::Deserializer::from_slice(&body).into_iter();
        rows.collect::<Result<_, _>>().map_err(|error| Verdict::Alert {
            why: answer.failure(&format!("with an unexpected result: {error}")),
            action: answer::NOT_CLICKHOUSE.to_owned(),
        })
    }

    /// Checks the server, the credentials, and the tables of `datasets`.
    pub(super) async fn probe(&self, datasets: &[String]) -> Result<Vec<String>, ProbeError> {
        let version = "SELECT version() AS value FORMAT JSONEachRow";
        let version: Vec<WindowRow> = self.rows(self.query(version)).await?;
        let version = version.first().map_or("", |row| row.value.as_str());
        let mut facts =
            vec![format!("ClickHouse {version} accepts the user `{}`", self.settings.user)];
        let Settings { database, table, .. } = &self.settings;
        let has_dataset = database.has_dataset() || table.has_dataset();
        let has_endpoint = database.has_endpoint() || table.has_endpoint();
        if has_endpoint || (has_dataset && datasets.is_empty()) {
            // The names are not known before the first batch.
            let queries = self.engine_queries(&database.pattern(), &table.pattern());
            let (tables, window) = self.engines(queries).await?;
            facts.push(format!("existing tables {database}.{table}: {}", tables.len()));
            facts.extend(tables.iter().map(|table| fact(table, window)));
            return Ok(facts);
        }
        let datasets = if has_dataset { datasets } else { &[String::new()] };
        for dataset in datasets {
            self.probe_table(&self.settings.table_of(dataset, ""), &mut facts).await?;
        }
        Ok(facts)
    }

    async fn probe_table(
        &self,
        name: &TableName,
        facts: &mut Vec<String>,
    ) -> Result<(), ProbeError> {
        let queries = self.engine_queries(&exactly(&name.database), &exactly(&name.table));
        let (tables, window) = self.engines(queries).await?;
        let Some(table) = tables.first() else {
            return Err(ProbeError::new(
                format!("the table {name} does not exist, or the user has no right on it"),
                "create the table and grant the user INSERT; docs/sinks/clickhouse.md has \
                 statements",
            ));
        };
        facts.push(fact(table, window));
        // Servers before 24.11 do not know this statement.
        let check = format!("CHECK GRANT INSERT ON {name} FORMAT JSONEachRow");
        let granted: Result<Vec<BTreeMap<String, u8>>, _> = self.rows(self.query(&check)).await;
        if granted.is_ok_and(|rows| rows.iter().any(|row| row.values().any(|value| *value == 0))) {
            return Err(ProbeError::new(
                format!("the user `{}` may not insert into {name}", self.settings.user),
                format!("run GRANT INSERT ON {name} TO {}", self.settings.user),
            ));
        }
        Ok(())
    }
}

/// Describes a table.
fn fact(table: &TableRow, window: Option<u64>) -> String {
    match table.deduplication(window) {
        Deduplication::On(window) => {
            format!("the table {} ({}) recognizes {window}", table.name, table.engine)
        }
        Deduplication::Off { why, action } => {
            format!("warning: records may be stored twice after a failure: {why}; {action}")
        }
    }
}

/// A regular expression that matches only `name`.
fn exactly(name: &str) -> String {
    let escape = |c: char| if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() };
    format!("^{}$", name.chars().map(escape).collect::<String>())
}

/// The query for the columns that an insert can fill.
fn columns(TableName { database, table }: &TableName) -> String {
    let (database, table) = (literal(database), literal(table));
    format!(
        "SELECT name FROM system.columns WHERE database = {database} AND table = {table} \
         AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') FORMAT JSONEachRow"
    )
}

/// The fields without a column. A field with an object fills the columns of a nested structure.
fn without_column(fields: BTreeSet<String>, columns: &[ColumnRow]) -> Vec<String> {
    let has_column = |field: &String| {
        columns.iter().any(|column| {
            let rest = column.name.strip_prefix(field.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    fields.into_iter().filter(|field| !has_column(field)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_without_a_column_are_found() {
        let columns = ["RayID", "Subrequests.RayID", "ClientIPClass"]
            .map(|name| ColumnRow { name: name.to_owned() });
        let fields = ["RayID", "Subrequests", "ClientIP", "rayid"].map(str::to_owned);
        let found = without_column(fields.into_iter().collect(), &columns);
        assert_eq!(found, ["ClientIP", "rayid"]);
    }

    #[test]
    fn an_exact_name_is_escaped() {
        assert_eq!(exactly("a_b.c\u{e9}"), r"^a\_b\.c\u{e9}$".replace(r"\u{e9}", "\u{e9}"));
    }
}
