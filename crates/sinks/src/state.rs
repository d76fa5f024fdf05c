//! The state of a sink in its checkpoint.

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tracing::warn;

/// The keys of a checkpoint that are reserved for delivery.
const RESERVED: [&str; 2] = ["batch", "dead_letters"];

/// The state from which a sink continues after a checkpoint: a JSON object that only its kind
/// interprets.
///
/// It is stored in the checkpoint, next to the keys of delivery. It may be from an earlier version,
/// or from a sink of another kind that had the same name: a kind ignores keys that are not its own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct State(Map<String, Value>);

impl State {
    /// Serializes `value` into a JSON object.
    ///
    /// # Errors
    /// The result is not an object, or has a key that is reserved for delivery: `batch` or
    /// `dead_letters`.
    pub fn of(value: &impl Serialize) -> io::Result<Self> {
        let state: Self = serde_json::from_value(serde_json::to_value(value)?)?;
        match RESERVED.iter().find(|key| state.0.contains_key(**key)) {
            Some(key) => Err(io::Error::other(format!("the state of a sink has the key `{key}`"))),
            None => Ok(state),
        }
    }

    /// Reads the keys that `T` has. If they cannot be read, logs that and returns the default: the
    /// sink then continues after the last batch of the checkpoint without its state.
    pub fn read<T: DeserializeOwned + Default>(&self) -> T {
        T::deserialize(&Value::Object(self.0.clone())).unwrap_or_else(|error| {
            warn!(%error, "cannot read the sink's state in its checkpoint: continuing without it");
            T::default()
        })
    }

    /// Returns the state with only those elements of the list `key` that `keep` accepts.
    pub(super) fn filtered(&self, key: &str, keep: impl FnMut(&Value) -> bool) -> Self {
        let mut state = self.clone();
        if let Some(Value::Array(list)) = state.0.get_mut(key) {
            list.retain(keep);
        }
        state
    }

    /// Whether the state has no keys.
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
    fn a_state_that_delivery_cannot_store_is_refused() {
        State::of(&[1]).unwrap_err();
        for key in RESERVED {
            let error = State::of(&Map::from_iter([(key.to_owned(), Value::Null)])).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
