//! What the file sink remembers in a checkpoint: how far each of its files was durably written.

use serde::{Deserialize, Serialize};

use crate::State;

/// The state of a file sink.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileState {
    /// The files as they were after the last batch of the checkpoint.
    #[serde(default)]
    pub files: Vec<Mark>,
}

/// How far a file was durably written: part of a checkpoint.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mark {
    /// The file, as the config's pattern named it.
    pub path: String,
    /// That pattern: with another one, the file may be another sink's. Empty in one from before this was
    /// kept.
    #[serde(default)]
    pub pattern: String,
    /// Which file that was: another one may have its name now.
    pub inode: u64,
    /// Bytes.
    pub length: u64,
    /// When its first record came, in Unix seconds; not known of a file from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// When the file was made, in nanoseconds, where the filesystem knows: numbers are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u64>,
}

/// The state without the files that a sink does not write to whose `path` is `pattern`; `None` stands for
/// a sink of another kind, or none. Another sink may write to them from now on, and this one, should it
/// return, would take those records for its own.
pub(crate) fn valid_state(pattern: Option<&str>, state: &State) -> State {
    state.filtered("files", |mark| {
        let of = mark.get("pattern").and_then(serde_json::Value::as_str);
        pattern.is_some_and(|pattern| of.unwrap_or_default() == pattern)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_are_read_as_they_were_always_written() {
        let state = State::of(&json!({ "files": [{ "path": "/a", "inode": 7, "length": 8 }] }));
        let FileState { files } = state.unwrap().read();
        let (path, pattern) = (String::from("/a"), String::new());
        assert_eq!(files, [Mark { path, pattern, inode: 7, length: 8, born: None, made: None }]);
    }

    #[test]
    fn files_of_another_pattern_are_forgotten_and_nothing_else_is() {
        let marks = |patterns: &[&str]| {
            let marks: Vec<_> = patterns.iter().map(|of| json!({ "pattern": of })).collect();
            State::of(&json!({ "files": marks, "next": 3 })).unwrap()
        };
        let state = marks(&["/{dataset}", "/{endpoint}", ""]);
        assert_eq!(valid_state(Some("/{dataset}"), &state), marks(&["/{dataset}"]));
        assert_eq!(valid_state(None, &state), marks(&[]));
        assert_eq!(valid_state(None, &State::default()), State::default());
    }
}
