//! Gathers records of one endpoint and dataset into bodies worth a request.

use std::{collections::BTreeMap, mem};

use crate::decode;

/// What all parcels that are being filled may hold together.
const MAX_HELD_BYTES: usize = 64 << 20;

/// Where a record is sent.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Route {
    pub(super) endpoint: String,
    pub(super) dataset: String,
    /// The only sink that is to get it; else all that take it.
    pub(super) sink: Option<String>,
}

/// Records for one request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Parcel {
    /// How many.
    pub(super) records: u64,
    /// One a line.
    pub(super) lines: Vec<u8>,
    /// Those of them that would make a body be read as an array if they came first.
    last: Vec<u8>,
}

/// Parcels being filled.
#[derive(Debug)]
pub(super) struct Parcels {
    max_bytes: usize,
    filling: BTreeMap<Route, Parcel>,
    held: usize,
}

impl Parcels {
    /// A parcel has at most `max_bytes`, or one record.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, filling: BTreeMap::new(), held: 0 }
    }

    /// Adds a record and hands over the parcels that are full.
    pub(super) fn add<E>(
        &mut self,
        place: &Route,
        record: &[u8],
        take: &mut dyn FnMut(&Route, Parcel) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = record.len() + 1;
        let is_full = |parcel: &Parcel| parcel.bytes() + bytes > self.max_bytes;
        if self.filling.get(place).is_some_and(is_full)
            && let Some(parcel) = self.filling.remove(place)
        {
            self.held -= parcel.bytes();
            take(place, parcel)?;
        }
        if self.held + bytes > MAX_HELD_BYTES {
            self.finish(take)?;
        }
        self.filling.entry(place.clone()).or_default().add(record);
        self.held += bytes;
        Ok(())
    }

    /// Hands over all that is left.
    pub(super) fn finish<E>(
        &mut self,
        take: &mut dyn FnMut(&Route, Parcel) -> Result<(), E>,
    ) -> Result<(), E> {
        self.held = 0;
        for (place, parcel) in mem::take(&mut self.filling) {
            take(&place, parcel)?;
        }
        Ok(())
    }
}

impl Parcel {
    fn bytes(&self) -> usize {
        self.lines.len() + self.last.len()
    }

    fn add(&mut self, record: &[u8]) {
        self.records += 1;
        let lines = if decode::opens_as_lines(record) { &mut self.lines } else { &mut self.last };
        // As the decoder does it: a line end between the tokens of a record is a space.
        lines.extend(record.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        lines.push(b'\n');
    }

    /// The body, behind `head`.
    pub(super) fn into_body(self, head: Vec<u8>) -> Vec<u8> {
        [head, self.lines, self.last].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn place(dataset: &str) -> Route {
        Route { endpoint: "e".to_owned(), dataset: dataset.to_owned(), sink: None }
    }

    #[test]
    fn parcels_are_full_but_not_fuller() {
        let (one, two) = (place("one"), place("two"));
        let mut parcels = Parcels::new(12);
        let mut taken = Vec::new();
        let mut take = |Route { dataset, .. }: &Route, parcel: Parcel| {
            let records = parcel.records;
            let body = String::from_utf8(parcel.into_body(b"#".to_vec())).unwrap();
            taken.push((dataset.clone(), records, body));
            Ok::<_, Infallible>(())
        };
        for (place, record) in [
            (&one, "[1]"),
            (&two, "{\n}"),
            (&one, "{\"a\":1}"),
            (&one, "{}"),
            (&two, "longer than a parcel"),
            (&two, "{\"events\":["),
            (&two, "x"),
        ] {
            parcels.add(place, record.as_bytes(), &mut take).unwrap();
        }
        parcels.finish(&mut take).unwrap();
        let taken: Vec<_> = taken.iter().map(|(d, r, b)| (d.as_str(), *r, b.as_str())).collect();
        let want = [
            ("one", 2, "#{\"a\":1}\n[1]\n"),
            ("two", 1, "#{ }\n"),
            ("two", 1, "#longer than a parcel\n"),
            ("two", 1, "#{\"events\":[\n"),
            ("one", 1, "#{}\n"),
            ("two", 1, "#x\n"),
        ];
        assert_eq!(taken, want);
    }

    #[test]
    fn what_looks_like_an_array_does_not_come_first() {
        let place = place("d");
        let mut parcels = Parcels::new(1000);
        let mut body = Vec::new();
        let mut take = |_: &Route, parcel: Parcel| {
            body = parcel.into_body(Vec::new());
            Ok::<_, Infallible>(())
        };
        for record in ["[1,2]", "{\"x\":[", "{\"a\":[]}", "no"] {
            parcels.add(&place, record.as_bytes(), &mut take).unwrap();
        }
        parcels.finish(&mut take).unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), "{\"a\":[]}\nno\n[1,2]\n{\"x\":[\n");
    }
}
