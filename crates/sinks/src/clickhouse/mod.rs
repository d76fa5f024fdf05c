//! The `clickhouse` sink: inserts records into tables of a ClickHouse server over HTTP.
//!
//! Each chunk is one `INSERT ... FORMAT JSONEachRow` with the chunk's identity as the
//! deduplication token, so a table with a deduplication window stores each record exactly once.

mod answer;
mod identifier;
mod insert;
mod schema;
mod tables;

use reqwest::header::{HeaderName, HeaderValue};
use settings::{Context, Table, Value, reference::Takes, setting, settings, types::Flag};

use self::{identifier::Identifier, insert::Inserter, schema::Schema};
use super::{
    Probe, Sink, SinkContext,
    kinds::{Claims, Kind, TlsClaim},
    network::{NetworkSettings, SecretFile, SecretHeader, UrlTemplate},
    upload::Uploader,
};

/// The header with the user name. These headers have precedence over the query.
const USER: HeaderName = HeaderName::from_static("x-clickhouse-user");

/// The header with the password.
const KEY: HeaderName = HeaderName::from_static("x-clickhouse-key");

/// Parameters of a request that the sink sets, or that must not be in the configuration.
const RESERVED: [(&str, &str); 4] = [
    ("query", "remove it: the sink sets it"),
    ("database", "set the key `database` instead"),
    ("user", "set the key `user` instead"),
    ("password", "write the password into a file, and name the file in `password_file`"),
];

settings! {
    /// Tables of a ClickHouse server. Each record is stored exactly once if the table has a
    /// deduplication window, at least once otherwise. See docs/sinks/clickhouse.md for
    /// `CREATE TABLE` statements.
    pub struct Settings in "sink.NAME.clickhouse", checked by check {
        /// The URL of ClickHouse's HTTP interface, `https://` or `http://`.
        ///
        /// Its query may contain settings of ClickHouse, as in
        /// `https://clickhouse.example.com:8443/?insert_quorum=2`. They do not replace those that
        /// the sink needs for its guarantee.
        pub url: UrlTemplate as "https://clickhouse.example.com:8443",
        /// The database. `{dataset}` and `{endpoint}` are filled in.
        pub database: Identifier = "default",
        /// The table, which must exist. `{dataset}` and `{endpoint}` are filled in.
        pub table: Identifier = "logpush_{dataset}",
        /// The user, who needs `INSERT` on the tables.
        pub user: UserName = "default",
        /// A file whose first line is the password of the user.
        ///
        /// The file is read again when ClickHouse refuses the password, or when a connection
        /// fails.
        pub password_file: Option<SecretFile> as "clickhouse.txt" else "no password",
        /// Whether to ignore fields without a column in the table. They are named in the log once.
        /// With `false`, such a field stops the sink until the table has the column.
        pub skip_unknown_fields: Flag = true,
        /// The keys of every sink that sends requests.
        pub network "": NetworkSettings,
    }
}

setting! {
    /// The name of a ClickHouse user.
    pub struct UserName(String): Takes::String("name"), read by user_name;
}

fn user_name(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let user = value.string(cx)?.into_inner();
    if user.is_empty() || HeaderValue::from_str(&user).is_err() {
        let message = format!("`{}` is not a name in printable ASCII", value.name());
        cx.push(value.problem(message).hint("write the name of a ClickHouse user"));
        return None;
    }
    Some(user)
}

impl Settings {
    fn secrets(&self) -> Vec<SecretHeader> {
        let password = self.password_file.clone();
        password.map(|file| SecretHeader::whole("password_file", KEY, file)).into_iter().collect()
    }

    /// The database and the table for a dataset and an endpoint.
    fn table_of(&self, dataset: &str, endpoint: &str) -> tables::TableName {
        tables::TableName {
            database: self.database.fill(dataset, endpoint),
            table: self.table.fill(dataset, endpoint),
        }
    }
}

impl Kind for Settings {
    fn target(&self) -> String {
        format!("{}: {}.{}", self.url, self.database, self.table)
    }

    fn claims(&self) -> Claims<'_> {
        let tls = TlsClaim { files: &self.network.tls, is_used: self.url.is_https() };
        Claims {
            tls: Some(tls),
            secrets: self
                .password_file
                .iter()
                .map(|file| super::kinds::SecretClaim { key: "password_file", file })
                .collect(),
            // One more for the check of the tables.
            descriptors: self.network.in_flight.saturating_add(1),
            ..Claims::default()
        }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let options = self.network.upload_options();
        let schema = Schema::new(self.clone(), context.name.clone());
        schema.check_existing(&context.runtime);
        Ok(Box::new(Uploader::new(Inserter::new(schema), &options, context)))
    }

    fn probe(&self, datasets: &[String]) -> Option<Probe<'_>> {
        let schema = Schema::new(self.clone(), String::new());
        let datasets = datasets.to_vec();
        Some(Box::pin(async move { schema.probe(&datasets).await }))
    }
}

fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    if !table.is_valid("url") {
        return;
    }
    if settings.url.to_string().contains(['{', '}']) {
        let message = format!("`{}` contains a placeholder", table.full_name("url"));
        let hint = "use {dataset} and {endpoint} in `database` and `table`";
        cx.push(table.problem_at("url", message).hint(hint));
        return;
    }
    let set = settings.url.fill("", "").ok();
    for (name, hint) in RESERVED {
        let sets = |url: &reqwest::Url| url.query_pairs().any(|(key, _)| key == name);
        if set.as_ref().is_some_and(sets) {
            let message = format!("`{}` contains the parameter `{name}`", table.full_name("url"));
            cx.push(table.problem_at("url", message).hint(hint));
        }
    }
    let secrets = settings.password_file.is_some().then_some("password_file");
    settings.network.check_url(&settings.url, secrets, table, cx);
}
