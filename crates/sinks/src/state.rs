//! What a sink remembers in its checkpoint.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tracing::warn;

/// The keys of a checkpoint that belong to delivery.
const RESERVED: [&str; 2] = ["batch", "dead_letters"];

/// What a sink needs to continue from a checkpoint: a JSON object that only its kind understands.
///
/// It is stored in the checkpoint beside the keys of delivery. It may come from an earlier version, or
/// from another kind of sink that had the same name: a kind ignores keys that are not its own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct State(Map<String, Value>);

impl State {
    /// Serializes `value`, which must become a JSON object.
    ///
    /// # Errors
    /// It becomes something else, or has a key that belongs to delivery: `batch` or `dead_letters`.
    pub fn of(value: &impl Serialize) -> io::Result<Self> {
        let state: Self = serde_json::from_value(serde_json::to_value(value)?)?;
        match RESERVED.iter().find(|key| state.0.contains_key(**key)) {
            Some(key) => Err(io::Error::other(format!("the state of a sink has the key `{key}`"))),
            None => Ok(state),
        }
    }

    /// Reads the keys that `T` has. If they cannot be read, that is logged and `T` is its default: the
    /// sink then begins after the last batch of the checkpoint without what it remembered.
    pub fn read<T: DeserializeOwned + Default>(&self) -> T {
        T::deserialize(&Value::Object(self.0.clone())).unwrap_or_else(|error| {
            warn!(%error, "cannot read what the sink remembered: it continues without");
            T::default()
        })
    }

    /// The same with only those elements of the list `key` that `keep` picks.
    pub(super) fn filtered(&self, key: &str, keep: impl FnMut(&Value) -> bool) -> Self {
        let mut state = self.clone();
        if let Some(Value::Array(list)) = state.0.get_mut(key) {
            list.retain(keep);
        }
        state
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
    struct Chunk {
        #[serde(default)]
        next: u64,
    }

    #[test]
    fn a_kind_reads_its_own_keys_and_ignores_others() {
        let state = State::of(&serde_json::json!({ "next": u64::MAX, "files": [1] })).unwrap();
        assert_eq!(state.read::<Chunk>(), Chunk { next: u64::MAX });
        assert_eq!(State::default().read::<Chunk>(), Chunk::default());
        let state = State::of(&serde_json::json!({ "next": "three" })).unwrap();
        assert_eq!(state.read::<Chunk>(), Chunk::default());
    }

    #[test]
    fn what_delivery_could_not_store_is_refused() {
        State::of(&[1]).unwrap_err();
        for key in RESERVED {
            let error = State::of(&Map::from_iter([(key.to_owned(), Value::Null)])).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
