//! Which files a sink can write, and whether two sinks can write the same one.
//!
//! Each sink's files are a small automaton over the characters of a path, so the answer is exact for
//! literals, names and most times, and never misses a file that both can write: a number such as a year
//! stands for every number of its length.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::{Component, Path, PathBuf},
};

use super::template::{PathTemplate, Piece, times};

/// How long the name of a dataset or an endpoint can be.
const MAX_NAME: usize = 64;

/// What a rotation adds to a name: the second file of a second has a number, of three digits.
const ROTATED: [&str; 2] = [".%Y%m%dT%H%M%SZ", ".%Y%m%dT%H%M%SZ_%3f"];

/// The paths that a sink writes to.
#[derive(Clone, Copy, Debug)]
pub struct WrittenPaths<'a> {
    /// The key that names them.
    pub key: &'static str,
    /// Absolute, with placeholders and times; validation has filled it in once.
    pub pattern: &'a str,
    /// Whether a file is given another name when it is finished.
    pub rotates: bool,
    /// What compression adds to the name of a finished file, if it is compressed.
    pub packed: Option<&'static str>,
}

/// The files of one sink.
#[derive(Clone, Debug)]
pub struct SinkFiles {
    /// Its `path`, and what is filled in.
    key: (String, Vec<String>, Vec<String>),
    /// Those that it writes to.
    written: Paths,
    /// The names that they get later.
    finished: Vec<Paths>,
}

impl SinkFiles {
    /// The files of a sink. `datasets` and `endpoints` are the names that can be filled in, where no
    /// dataset stands for any; `resolve` says where a directory really is.
    ///
    /// # Errors
    /// The path is not one that passed validation.
    pub fn of(
        paths: WrittenPaths<'_>,
        datasets: &[String],
        endpoints: &[String],
        resolve: &dyn Fn(&Path) -> PathBuf,
    ) -> Result<Self, String> {
        let names = Names { datasets, endpoints };
        let template = PathTemplate::parse(paths.pattern)?;
        let directory = resolve(&template.directory());
        let pieces = template.in_directory(&directory);
        let finished = finished(&pieces, paths)?;
        Ok(Self {
            key: (paths.pattern.to_owned(), datasets.to_vec(), endpoints.to_vec()),
            written: Paths::of(&pieces, &names),
            finished: finished.iter().map(|pieces| Paths::of(pieces, &names)).collect(),
        })
    }

    /// Whether both are the files of the same `path`, filled in by the same names.
    pub fn is_same(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// A file that one of the two writes to, and the other one writes to or has finished.
    pub fn common(&self, other: &Self) -> Option<PathBuf> {
        let of_other = std::iter::once(&other.written).chain(&other.finished);
        let mut found = of_other.filter_map(|paths| self.written.common(paths));
        let path = found.next();
        path.or_else(|| self.finished.iter().find_map(|paths| paths.common(&other.written)))
            .map(PathBuf::from)
    }

    /// A file of this sink that is a directory for files of the other.
    pub fn in_the_way_of(&self, other: &Self) -> Option<PathBuf> {
        self.written.directory_of(&other.written).map(PathBuf::from)
    }
}

/// The names that rotation and compression give, as `file::rotate` makes them.
pub(super) fn finished(
    pieces: &[Piece],
    paths: WrittenPaths<'_>,
) -> Result<Vec<Vec<Piece>>, String> {
    let with = |pieces: &[Piece], end: &str| -> Result<Vec<Piece>, String> {
        Ok([pieces, &PathTemplate::parse(end)?.into_pieces()].concat())
    };
    let has_time = pieces.iter().any(|piece| matches!(piece, Piece::Time(_)));
    let rotates = paths.rotates;
    let later = ROTATED.iter().map(|end| with(pieces, end)).collect::<Result<Vec<_>, _>>()?;
    let mut packed = Vec::new();
    if let Some(end) = paths.packed {
        // A file whose date has passed keeps its name, unless an earlier one was compressed under it.
        let in_place = has_time.then_some(pieces);
        let names = later.iter().map(Vec::as_slice).filter(|_| rotates || has_time);
        for pieces in in_place.into_iter().chain(names) {
            packed.push(with(pieces, &format!(".{end}"))?);
            packed.push(with(pieces, &format!(".{end}.tmp"))?);
        }
    }
    let plain = if rotates { later } else { Vec::new() };
    Ok([plain, packed].concat())
}

/// Where a directory is when the links in the part of it that exists are followed.
pub fn resolve(directory: &Path) -> PathBuf {
    let there = directory.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, real)) = there else { return lexical(directory) };
    lexical(&real.join(directory.strip_prefix(above).unwrap_or(Path::new(""))))
}

/// The path without `.` and `..`, as it is if no part of it is a link.
pub fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            component => clean.push(component),
        }
    }
    clean
}

/// What placeholders can stand for; empty means any name.
struct Names<'a> {
    datasets: &'a [String],
    endpoints: &'a [String],
}

/// A set of paths: states, and the characters that lead from one to the next.
#[derive(Clone, Debug, Default)]
struct Paths {
    steps: Vec<Vec<(Set, usize)>>,
    /// Steps for which no character is needed.
    skips: Vec<Vec<usize>>,
    end: usize,
}

/// One character, or several of ASCII, by their codes.
#[derive(Clone, Copy, Debug)]
enum Set {
    One(char),
    Ascii(u128),
}

impl Set {
    fn of(characters: impl IntoIterator<Item = char>) -> Self {
        let bit = |c: char| if c.is_ascii() { 1 << (c as u32) } else { 0 };
        Self::Ascii(characters.into_iter().map(bit).fold(0, |all, bit| all | bit))
    }

    fn common(self, other: Self) -> Option<char> {
        match (self, other) {
            (Self::One(one), Self::One(other)) => (one == other).then_some(one),
            (Self::One(one), Self::Ascii(bits)) | (Self::Ascii(bits), Self::One(one)) => {
                (one.is_ascii() && bits >> (one as u32) & 1 == 1).then_some(one)
            }
            (Self::Ascii(one), Self::Ascii(other)) => {
                let both = one & other;
                // In an example, letters and digits read better than signs.
                let best = ('a'..='z').chain('0'..='9').find(|c| both >> (*c as u32) & 1 == 1);
                let any = char::from_u32(both.trailing_zeros()).filter(|_| both != 0);
                best.or(any)
            }
        }
    }
}

impl Paths {
    fn of(pieces: &[Piece], names: &Names<'_>) -> Self {
        let mut paths = Self::default();
        paths.end = paths.state();
        let of_dataset = ('a'..='z').chain('0'..='9').chain(['_']);
        let of_endpoint = of_dataset.clone().chain('A'..='Z').chain(['-']);
        for piece in pieces {
            match piece {
                Piece::Literal(text) => paths.literal(text),
                Piece::Dataset => paths.name(names.datasets, Set::of(of_dataset.clone())),
                Piece::Endpoint => paths.name(names.endpoints, Set::of(of_endpoint.clone())),
                Piece::Time(conversion) => match times::of(conversion) {
                    times::Times::OneOf(values) => paths.one_of(values),
                    times::Times::Like { characters, least, most } => {
                        paths.like(Set::of(characters), least, most);
                    }
                },
            }
        }
        paths
    }

    fn state(&mut self) -> usize {
        self.steps.push(Vec::new());
        self.skips.push(Vec::new());
        self.steps.len() - 1
    }

    fn step(&mut self, set: Set) {
        let next = self.state();
        if let Some(steps) = self.steps.get_mut(self.end) {
            steps.push((set, next));
        }
        self.end = next;
    }

    fn skip(&mut self, from: usize, to: usize) {
        if let Some(skips) = self.skips.get_mut(from) {
            skips.push(to);
        }
    }

    fn literal(&mut self, text: &str) {
        for character in text.chars() {
            self.step(Set::One(character));
        }
    }

    fn name(&mut self, names: &[String], any: Set) {
        if names.is_empty() {
            self.like(any, 1, MAX_NAME);
        } else {
            self.one_of(names);
        }
    }

    fn one_of(&mut self, values: impl IntoIterator<Item = impl AsRef<str>>) {
        let (begin, end) = (self.end, self.state());
        for value in values {
            self.end = begin;
            self.literal(value.as_ref());
            self.skip(self.end, end);
        }
        self.end = end;
    }

    fn like(&mut self, set: Set, least: usize, most: usize) {
        (0..least).for_each(|_| self.step(set));
        let mut ends = Vec::new();
        for _ in least..most {
            ends.push(self.end);
            self.step(set);
        }
        for end in ends {
            self.skip(end, self.end);
        }
    }

    /// A path that is in both.
    fn common(&self, other: &Self) -> Option<String> {
        self.shared(other, &|(one, two)| (one, two) == (self.end, other.end))
    }

    /// A path that is a directory in the other.
    fn directory_of(&self, other: &Self) -> Option<String> {
        let goes_on = |state: usize| {
            let steps = other.steps.get(state).into_iter().flatten();
            steps.into_iter().any(|(set, _)| set.common(Set::One('/')).is_some())
        };
        self.shared(other, &|(one, two)| one == self.end && goes_on(two))
    }

    /// The shortest text that leads both to states of which `is_end` holds.
    fn shared(&self, other: &Self, is_end: &dyn Fn(Pair) -> bool) -> Option<String> {
        let mut from = Ways::new();
        let mut seen = HashSet::from([(0, 0)]);
        let mut todo = VecDeque::from([(0, 0)]);
        while let Some(pair @ (one, two)) = todo.pop_front() {
            if is_end(pair) {
                return Some(way(&from, pair));
            }
            let none = Vec::new();
            let skips_of = |paths: &Self, at| paths.skips.get(at).cloned().unwrap_or_default();
            let alone = skips_of(self, one).into_iter().map(|next| ((next, two), None));
            let mut next: Vec<_> = alone.collect();
            next.extend(skips_of(other, two).into_iter().map(|next| ((one, next), None)));
            for (set, to) in self.steps.get(one).unwrap_or(&none) {
                for (set_of_other, to_of_other) in other.steps.get(two).unwrap_or(&none) {
                    if let Some(character) = set.common(*set_of_other) {
                        next.push(((*to, *to_of_other), Some(character)));
                    }
                }
            }
            for (to, character) in next {
                if seen.insert(to) {
                    from.insert(to, (pair, character));
                    // The shortest path is the one to show.
                    match character {
                        None => todo.push_front(to),
                        Some(_) => todo.push_back(to),
                    }
                }
            }
        }
        None
    }
}

/// A state of each of two automata.
type Pair = (usize, usize);

/// From where a pair was reached, and by which character, if one was needed.
type Ways = HashMap<Pair, (Pair, Option<char>)>;

/// The characters on the way to a pair of states.
fn way(from: &Ways, mut pair: Pair) -> String {
    let mut characters = Vec::new();
    while let Some((before, character)) = from.get(&pair) {
        characters.extend(*character);
        pair = *before;
    }
    characters.iter().rev().collect()
}

#[cfg(test)]
mod tests;
