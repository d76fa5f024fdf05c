//! Collects the records of each route into batches, one per request.

use std::{collections::BTreeMap, mem};

use crate::{decode, spool::OnlySink};

/// The maximum size of all incomplete batches together.
const MAX_HELD_BYTES: usize = 64 << 20;

/// The destination of a record.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Route {
    pub(super) endpoint: String,
    pub(super) dataset: String,
    /// The only sink that gets the record; otherwise all sinks of the endpoint.
    pub(super) sink: Option<OnlySink>,
}

/// Records for one request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct ReplayBatch {
    /// The number of records.
    pub(super) records: u64,
    /// One record per line.
    pub(super) lines: Vec<u8>,
    /// Records that must not be first, because the decoder would read the body as an array.
    last: Vec<u8>,
}

/// Incomplete batches, one per route.
#[derive(Debug)]
pub(super) struct ReplayBatches {
    max_bytes: usize,
    filling: BTreeMap<Route, ReplayBatch>,
    held: usize,
}

impl ReplayBatches {
    /// Limits each batch to `max_bytes`, except a batch of one record.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, filling: BTreeMap::new(), held: 0 }
    }

    /// Adds a record, and passes full batches to `take`.
    pub(super) fn add<E>(
        &mut self,
        route: &Route,
        record: &[u8],
        take: &mut dyn FnMut(&Route, ReplayBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = record.len() + 1;
        let is_full = |batch: &ReplayBatch| batch.bytes() + bytes > self.max_bytes;
        if self.filling.get(route).is_some_and(is_full)
            && let Some(batch) = self.filling.remove(route)
        {
            self.held -= batch.bytes();
            take(route, batch)?;
        }
        if self.held + bytes > MAX_HELD_BYTES {
            self.finish(take)?;
        }
        self.filling.entry(route.clone()).or_default().add(record);
        self.held += bytes;
        Ok(())
    }

    /// Passes the remaining batches to `take`.
    pub(super) fn finish<E>(
        &mut self,
        take: &mut dyn FnMut(&Route, ReplayBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        self.held = 0;
        for (route, batch) in mem::take(&mut self.filling) {
            take(&route, batch)?;
        }
        Ok(())
    }
}

impl ReplayBatch {
    fn bytes(&self) -> usize {
        self.lines.len() + self.last.len()
    }

    fn add(&mut self, record: &[u8]) {
        self.records += 1;
        let lines = if decode::opens_as_lines(record) { &mut self.lines } else { &mut self.last };
        // The decoder also replaces a line feed between the tokens of a record with a space.
        lines.extend(record.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        lines.push(b'\n');
    }

    /// Returns the body of the request, with `head` as its first line.
    pub(super) fn into_body(self, head: Vec<u8>) -> Vec<u8> {
        [head, self.lines, self.last].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn route(dataset: &str) -> Route {
        Route { endpoint: "e".to_owned(), dataset: dataset.to_owned(), sink: None }
    }

    #[test]
    fn batches_are_filled_up_to_the_limit() {
        let (one, two) = (route("one"), route("two"));
        let mut batches = ReplayBatches::new(12);
        let mut taken = Vec::new();
        let mut take = |Route { dataset, .. }: &Route, batch: ReplayBatch| {
            let records = batch.records;
            let body = String::from_utf8(batch.into_body(b"#".to_vec())).unwrap();
            taken.push((dataset.clone(), records, body));
            Ok::<_, Infallible>(())
        };
        for (route, record) in [
            (&one, "[1]"),
            (&two, "{\n}"),
            (&one, "{\"a\":1}"),
            (&one, "{}"),
            (&two, "longer than a batch"),
            (&two, "{\"events\":["),
            (&two, "x"),
        ] {
            batches.add(route, record.as_bytes(), &mut take).unwrap();
        }
        batches.finish(&mut take).unwrap();
        let taken: Vec<_> = taken.iter().map(|(d, r, b)| (d.as_str(), *r, b.as_str())).collect();
        let want = [
            ("one", 2, "#{\"a\":1}\n[1]\n"),
            ("two", 1, "#{ }\n"),
            ("two", 1, "#longer than a batch\n"),
            ("two", 1, "#{\"events\":[\n"),
            ("one", 1, "#{}\n"),
            ("two", 1, "#x\n"),
        ];
        assert_eq!(taken, want);
    }

    #[test]
    fn record_that_looks_like_an_array_is_not_first() {
        let route = route("d");
        let mut batches = ReplayBatches::new(1000);
        let mut body = Vec::new();
        let mut take = |_: &Route, batch: ReplayBatch| {
            body = batch.into_body(Vec::new());
            Ok::<_, Infallible>(())
        };
        for record in ["[1,2]", "{\"x\":[", "{\"a\":[]}", "no"] {
            batches.add(&route, record.as_bytes(), &mut take).unwrap();
        }
        batches.finish(&mut take).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), "{\"a\":[]}\nno\n[1,2]\n{\"x\":[\n");
    }
}
