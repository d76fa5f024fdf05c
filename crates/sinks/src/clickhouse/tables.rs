//! What ClickHouse reports about a table: its engine, and whether it recognizes repeated inserts.

use std::fmt;

use serde::Deserialize;

use super::identifier::quoted;

/// A recommended deduplication window.
const RECOMMENDED_WINDOW: u32 = 10_000;

/// A database and a table.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct TableName {
    pub(super) database: String,
    #[serde(rename = "name")]
    pub(super) table: String,
}

impl fmt::Display for TableName {
    /// Quotes the names, as in a query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.database), quoted(&self.table))
    }
}

/// A row of `system.tables`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TableRow {
    #[serde(flatten)]
    pub(super) name: TableName,
    pub(super) engine: String,
    /// The engine with its parameters and the settings of the table.
    pub(super) engine_full: String,
}

/// Whether a table recognizes an insert that it has already stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Deduplication {
    /// The last inserts are recognized, with the description of the window.
    On(String),
    /// Repeated inserts are stored again: why, and what to do.
    Off { why: String, action: String },
}

impl TableRow {
    /// Whether the table recognizes repeated inserts. `default_window` is the server's default of
    /// `non_replicated_deduplication_window`.
    pub(super) fn deduplication(&self, default_window: Option<u64>) -> Deduplication {
        let engine = self.engine.as_str();
        let off = |why: &str, action: String| Deduplication::Off {
            why: format!("the table {} {why}", self.name),
            action,
        };
        // Only these engines deduplicate: clickhouse.com/docs, "Deduplicating inserts on retries".
        if !engine.ends_with("MergeTree") {
            let why = format!("has the engine {engine}, which does not recognize repeated inserts");
            let action = match engine {
                "Distributed" | "Buffer" | "MaterializedView" => {
                    "deliver into its destination table, with an engine of the MergeTree family"
                }
                _ => "use an engine of the MergeTree family",
            };
            return off(&why, action.to_owned());
        }
        // SharedMergeTree is the replicated engine of ClickHouse Cloud.
        let is_replicated = ["Replicated", "Shared"].iter().any(|kind| engine.starts_with(kind));
        let setting = if is_replicated {
            "replicated_deduplication_window"
        } else {
            "non_replicated_deduplication_window"
        };
        let window = self.setting(setting);
        match window.or(if is_replicated { None } else { default_window }) {
            Some(0) => off(
                &format!("does not recognize repeated inserts: its {setting} is 0"),
                format!(
                    "run ALTER TABLE {} MODIFY SETTING {setting} = {RECOMMENDED_WINDOW}",
                    self.name
                ),
            ),
            Some(window) => Deduplication::On(format!("the last {window} inserts")),
            None => Deduplication::On("the last inserts".to_owned()),
        }
    }

    /// A number in the settings of the table.
    fn setting(&self, name: &str) -> Option<u64> {
        let (_, settings) = self.engine_full.rsplit_once(" SETTINGS ")?;
        settings.split(", ").find_map(|setting| {
            let (key, value) = setting.split_once(" = ")?;
            if key == name { value.parse().ok() } else { None }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(engine: &str, settings: &str) -> TableRow {
        let name = TableName { database: "d".to_owned(), table: "t".to_owned() };
        let engine_full =
            format!("{engine} ORDER BY a SETTINGS index_granularity = 8192{settings}");
        TableRow { name, engine: engine.to_owned(), engine_full }
    }

    #[test]
    fn a_window_recognizes_repeated_inserts() {
        let window = ", non_replicated_deduplication_window = 100, fsync_after_insert = 1";
        for (engine, settings, default, expected) in [
            ("MergeTree", window, Some(0), "the last 100 inserts"),
            ("ReplacingMergeTree", "", Some(50), "the last 50 inserts"),
            ("ReplicatedMergeTree", "", Some(0), "the last inserts"),
            ("SharedMergeTree", "", Some(0), "the last inserts"),
            (
                "ReplicatedMergeTree",
                ", replicated_deduplication_window = 9",
                None,
                "the last 9 inserts",
            ),
        ] {
            let found = row(engine, settings).deduplication(default);
            assert_eq!(found, Deduplication::On(expected.to_owned()), "{engine}{settings}");
        }
    }

    #[test]
    fn a_table_without_a_window_is_reported() {
        let alter = "ALTER TABLE `d`.`t` MODIFY SETTING";
        for (engine, settings, default, expected) in [
            ("MergeTree", "", Some(0), format!("{alter} non_replicated_deduplication_window")),
            (
                "MergeTree",
                ", non_replicated_deduplication_window = 0",
                Some(100),
                format!("{alter} non_replicated_deduplication_window"),
            ),
            (
                "ReplicatedMergeTree",
                ", replicated_deduplication_window = 0",
                Some(100),
                format!("{alter} replicated_deduplication_window"),
            ),
            ("Memory", "", Some(100), "use an engine of the MergeTree family".to_owned()),
            ("Distributed", "", Some(100), "its destination table".to_owned()),
        ] {
            let found = row(engine, settings).deduplication(default);
            let Deduplication::Off { why, action } = found else { panic!("{engine}{settings}") };
            assert!(why.contains("`d`.`t`") && action.contains(&expected), "{why}: {action}");
        }
    }
}
