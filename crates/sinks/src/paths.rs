//! Finds out whether two sinks can write to the same file.
//!
//! The files of a sink are a finite automaton over the characters of a path. The result is exact
//! for literals, names and most times. It never misses a common file, but a time such as a year
//! counts as any number of that length.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::{Component, Path, PathBuf},
};

use super::template::{PathTemplate, TemplatePart, times};

/// The maximum length of the name of a dataset or endpoint.
const MAX_NAME: usize = 64;

/// The suffixes of rotated files, without and with a number (for the second and later files of a
/// second).
const ROTATED: [&str; 2] = [".%Y%m%dT%H%M%SZ", ".%Y%m%dT%H%M%SZ_%3f"];

/// The paths that a sink writes to.
#[derive(Clone, Copy, Debug)]
pub struct WrittenPaths<'a> {
    /// The key that sets them.
    pub key: &'static str,
    /// The absolute and valid path template.
    pub pattern: &'a str,
    /// Whether files are renamed when they are finished.
    pub rotates: bool,
    /// The suffix of compressed files without its dot, if finished files are compressed.
    pub compressed: Option<&'static str>,
}

/// The files of one sink.
#[derive(Clone, Debug)]
pub struct SinkFiles {
    /// Its `path`, and the names that can be filled in.
    key: (String, Vec<String>, Vec<String>),
    /// The files that it writes to.
    written: PathSet,
    /// The names that the files get later.
    finished: Vec<PathSet>,
}

impl SinkFiles {
    /// The files of a sink. `datasets` and `endpoints` are the names that can be filled in; an
    /// empty list stands for any name. `resolve` returns the real path of a directory.
    ///
    /// # Errors
    /// The path did not pass validation.
    pub fn of(
        paths: WrittenPaths<'_>,
        datasets: &[String],
        endpoints: &[String],
        resolve: &dyn Fn(&Path) -> PathBuf,
    ) -> Result<Self, String> {
        let names = Names { datasets, endpoints };
        let template = PathTemplate::parse(paths.pattern)?;
        let directory = resolve(&template.directory());
        let parts = template.in_directory(&directory);
        let finished = finished(&parts, paths)?;
        Ok(Self {
            key: (paths.pattern.to_owned(), datasets.to_vec(), endpoints.to_vec()),
            written: PathSet::of(&parts, &names),
            finished: finished.iter().map(|parts| PathSet::of(parts, &names)).collect(),
        })
    }

    /// Whether both have the same `path` and the same names to fill in.
    pub fn is_same(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Returns a file that one sink writes to, and that the other one writes to or has finished.
    pub fn common(&self, other: &Self) -> Option<PathBuf> {
        let of_other = std::iter::once(&other.written).chain(&other.finished);
        let mut found = of_other.filter_map(|paths| self.written.common(paths));
        let path = found.next();
        path.or_else(|| self.finished.iter().find_map(|paths| paths.common(&other.written)))
            .map(PathBuf::from)
    }

    /// Returns a file of this sink that the other sink needs as a directory.
    pub fn in_the_way_of(&self, other: &Self) -> Option<PathBuf> {
        self.written.directory_of(&other.written).map(PathBuf::from)
    }
}

/// The names of finished files, as `file::rotate` and `file::compress` choose them.
pub(super) fn finished(
    parts: &[TemplatePart],
    paths: WrittenPaths<'_>,
) -> Result<Vec<Vec<TemplatePart>>, String> {
    let with = |parts: &[TemplatePart], end: &str| -> Result<Vec<TemplatePart>, String> {
        Ok([parts, &PathTemplate::parse(end)?.into_parts()].concat())
    };
    let has_time = parts.iter().any(|part| matches!(part, TemplatePart::Time(_)));
    let rotates = paths.rotates;
    let later = ROTATED.iter().map(|end| with(parts, end)).collect::<Result<Vec<_>, _>>()?;
    let mut compressed = Vec::new();
    if let Some(end) = paths.compressed {
        // A file whose date has passed keeps its name, unless an earlier compressed file has it.
        let in_place = has_time.then_some(parts);
        let names = later.iter().map(Vec::as_slice).filter(|_| rotates || has_time);
        for parts in in_place.into_iter().chain(names) {
            compressed.push(with(parts, &format!(".{end}"))?);
            compressed.push(with(parts, &format!(".{end}.tmp"))?);
        }
    }
    let plain = if rotates { later } else { Vec::new() };
    Ok([plain, compressed].concat())
}

/// Returns the real path of a directory, with links followed as far as it exists.
pub fn resolve(directory: &Path) -> PathBuf {
    let existing =
        directory.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, real)) = existing else { return lexical(directory) };
    lexical(&real.join(directory.strip_prefix(above).unwrap_or(Path::new(""))))
}

/// Removes `.` and `..` from a path, without following links.
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

/// The names that can be filled in; an empty list stands for any name.
struct Names<'a> {
    datasets: &'a [String],
    endpoints: &'a [String],
}

/// A set of paths as a nondeterministic finite automaton.
#[derive(Clone, Debug, Default)]
struct PathSet {
    steps: Vec<Vec<(CharSet, usize)>>,
    /// Steps without a character.
    skips: Vec<Vec<usize>>,
    end: usize,
}

/// One character, or a set of ASCII characters as a bit set of their codes.
#[derive(Clone, Copy, Debug)]
enum CharSet {
    One(char),
    Ascii(u128),
}

impl CharSet {
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
                // Letters and digits make a more readable example than signs.
                let best = ('a'..='z').chain('0'..='9').find(|c| both >> (*c as u32) & 1 == 1);
                let any = char::from_u32(both.trailing_zeros()).filter(|_| both != 0);
                best.or(any)
            }
        }
    }
}

impl PathSet {
    fn of(parts: &[TemplatePart], names: &Names<'_>) -> Self {
        let mut paths = Self::default();
        paths.end = paths.state();
        let of_dataset = ('a'..='z').chain('0'..='9').chain(['_']);
        let of_endpoint = of_dataset.clone().chain('A'..='Z').chain(['-']);
        for part in parts {
            match part {
                TemplatePart::Literal(text) => paths.literal(text),
                TemplatePart::Dataset => {
                    paths.name(names.datasets, CharSet::of(of_dataset.clone()));
                }
                TemplatePart::Endpoint => {
                    paths.name(names.endpoints, CharSet::of(of_endpoint.clone()));
                }
                TemplatePart::Time(conversion) => match times::of(conversion) {
                    times::Times::OneOf(values) => paths.one_of(values),
                    times::Times::Like { characters, least, most } => {
                        paths.like(CharSet::of(characters), least, most);
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

    fn step(&mut self, set: CharSet) {
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
            self.step(CharSet::One(character));
        }
    }

    fn name(&mut self, names: &[String], any: CharSet) {
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

    fn like(&mut self, set: CharSet, least: usize, most: usize) {
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

    /// Returns a path that is in both sets.
    fn common(&self, other: &Self) -> Option<String> {
        self.shared(other, &|(one, two)| (one, two) == (self.end, other.end))
    }

    /// Returns a path of this set that is a directory of a path in `other`.
    fn directory_of(&self, other: &Self) -> Option<String> {
        let continues = |state: usize| {
            let steps = other.steps.get(state).into_iter().flatten();
            steps.into_iter().any(|(set, _)| set.common(CharSet::One('/')).is_some())
        };
        self.shared(other, &|(one, two)| one == self.end && continues(two))
    }

    /// Returns the shortest text that leads both automata to a pair of states that `is_end`
    /// accepts.
    fn shared(&self, other: &Self, is_end: &dyn Fn(Pair) -> bool) -> Option<String> {
        let mut from = Predecessors::new();
        let mut seen = HashSet::from([(0, 0)]);
        let mut todo = VecDeque::from([(0, 0)]);
        while let Some(pair @ (one, two)) = todo.pop_front() {
            if is_end(pair) {
                return Some(path_to(&from, pair));
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
                    // Breadth first, where steps without a character cost nothing.
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

/// The pair of states before each pair, and the character of the step, if it has one.
type Predecessors = HashMap<Pair, (Pair, Option<char>)>;

/// The characters of the steps to a pair of states.
fn path_to(from: &Predecessors, mut pair: Pair) -> String {
    let mut characters = Vec::new();
    while let Some((before, character)) = from.get(&pair) {
        characters.extend(*character);
        pair = *before;
    }
    characters.iter().rev().collect()
}

#[cfg(test)]
mod tests;
