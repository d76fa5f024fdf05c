//! The state of a file sink in a checkpoint: the durable length of each of its files.

use serde::{Deserialize, Serialize};

use crate::State;

/// The state of a file sink.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileState {
    /// The files as they were after the last batch of the checkpoint.
    #[serde(default)]
    pub files: Vec<FilePosition>,
}

/// The durable length of one file, as a checkpoint contains it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FilePosition {
    /// The path of the file, rendered from `pattern`.
    pub path: String,
    /// The `path` of the sink in the configuration: after a change of it, another sink may write to
    /// the file. Empty in checkpoints of early versions.
    #[serde(default)]
    pub pattern: String,
    /// Its inode: the path may lead to another file by now.
    pub inode: u64,
    /// The length in bytes.
    pub length: u64,
    /// When its first record was written, in Unix seconds. `None` in checkpoints of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// Its time of birth in nanoseconds, if the filesystem has it: inode numbers are reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u64>,
}

/// Removes the files from a state that were written with another `path` than `pattern`; all files,
/// if `pattern` is `None`, for a sink that was removed or is of another kind. Another sink may
/// write to these files from now on, and this sink, if it returns, would take those records for its
/// own.
pub(crate) fn valid_state(pattern: Option<&str>, state: &State) -> State {
    state.filtered("files", |position| {
        let of = position.get("pattern").and_then(serde_json::Value::as_str);
        pattern.is_some_and(|pattern| of.unwrap_or_default() == pattern)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn positions_of_early_versions_are_read() {
        let state = State::of(&json!({ "files": [{ "path": "/a", "inode": 7, "length": 8 }] }));
        let FileState { files } = state.unwrap().read();
        let (path, pattern) = (String::from("/a"), String::new());
        assert_eq!(
            files,
            [FilePosition { path, pattern, inode: 7, length: 8, born: None, made: None }]
        );
    }

    #[test]
    fn only_files_of_another_pattern_are_removed() {
        let positions = |patterns: &[&str]| {
            let positions: Vec<_> = patterns.iter().map(|of| json!({ "pattern": of })).collect();
            State::of(&json!({ "files": positions, "next": 3 })).unwrap()
        };
        let state = positions(&["/{dataset}", "/{endpoint}", ""]);
        assert_eq!(valid_state(Some("/{dataset}"), &state), positions(&["/{dataset}"]));
        assert_eq!(valid_state(None, &state), positions(&[]));
        assert_eq!(valid_state(None, &State::default()), State::default());
    }
}
