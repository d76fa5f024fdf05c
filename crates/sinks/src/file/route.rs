//! Assigns the lines of a block to files by the time of each record.
//!
//! The result depends on the batch only (the times of the records, the time of receipt, and the
//! order of the records), so that every attempt gives each file the same bytes.

use std::{borrow::Cow, collections::HashMap, ops::Range, path::PathBuf};

use jiff::Timestamp;
use records::record;
use spool::Origin;

use crate::{record_time::EventWindow, template::PathTemplate};

/// The maximum number of files per batch, besides that of the time of receipt. The records for any
/// other file are filed by the time of receipt: records of a month must not open a file for every
/// minute.
const MAX_FILES: usize = 32;

/// The maximum number of cached seconds. Most batches span minutes.
const MAX_SECONDS: usize = 4096;

/// Assigns the records of one batch to files.
pub(super) struct Router {
    origin: Origin,
    window: EventWindow,
    paths: Vec<PathBuf>,
    /// The index in `paths` for each second.
    seconds: HashMap<i64, usize>,
    /// The runs of lines of the current block and their files, in order; `None` between two blocks.
    runs: Option<Vec<(usize, Range<usize>)>>,
}

impl Router {
    pub(super) fn new(origin: &Origin, window: EventWindow) -> Self {
        let (paths, seconds) = (Vec::new(), HashMap::new());
        Self { origin: origin.clone(), window, paths, seconds, runs: None }
    }

    /// The files of the batch so far, in the order of their first records.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Assigns the lines of a block to files. Does nothing if that is done.
    pub(super) fn route(&mut self, bytes: &[u8], template: &PathTemplate) {
        if self.runs.is_some() {
            return;
        }
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        let mut begin = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let index = self.index(line, template);
            let end = begin + line.len();
            match runs.last_mut() {
                Some((last, run)) if *last == index => run.end = end,
                _ => runs.push((index, begin..end)),
            }
            begin = end;
        }
        self.runs = Some(runs);
    }

    /// Returns the bytes for each file, with the file's index in [`Self::paths`]. `None` without an
    /// earlier call of [`Self::route`].
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> Option<Vec<(usize, Cow<'a, [u8]>)>> {
        let mut parts: Vec<(usize, Cow<'a, [u8]>)> = Vec::new();
        for (index, run) in self.runs.take()? {
            let bytes = bytes.get(run).unwrap_or_default();
            match parts.iter_mut().find(|(of, _)| *of == index) {
                Some((_, part)) => part.to_mut().extend_from_slice(bytes),
                None => parts.push((index, bytes.into())),
            }
        }
        Some(parts)
    }

    fn index(&mut self, line: &[u8], template: &PathTemplate) -> usize {
        let received = self.origin.received;
        let time = record::time_of(&self.origin.dataset, line);
        let time = time.filter(|time| self.window.contains(*time, received));
        let second = time.unwrap_or(received).as_second();
        if let Some(index) = self.seconds.get(&second) {
            return *index;
        }
        let time = Timestamp::from_second(second).unwrap_or(received);
        let path = self.path(template, time);
        let index = match self.paths.iter().position(|known| *known == path) {
            Some(index) => index,
            None if self.paths.len() < MAX_FILES => self.add(path),
            None => {
                let path = self.path(template, received);
                let index = self.paths.iter().position(|known| *known == path);
                index.unwrap_or_else(|| self.add(path))
            }
        };
        if self.seconds.len() >= MAX_SECONDS {
            self.seconds.clear();
        }
        self.seconds.insert(second, index);
        index
    }

    fn path(&self, template: &PathTemplate, time: Timestamp) -> PathBuf {
        template.render(&self.origin.endpoint, &self.origin.dataset, time)
    }

    fn add(&mut self, path: PathBuf) -> usize {
        self.paths.push(path);
        self.paths.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use settings::Settings as _;

    use super::*;

    fn origin() -> Origin {
        Origin {
            endpoint: "push".into(),
            dataset: "dns_logs".into(),
            received: "2026-11-21T00:00:30Z".parse().unwrap(),
            sink: None,
        }
    }

    /// The names of the files and their lines.
    fn routed(template: &str, lines: &[String]) -> Vec<(String, String)> {
        routed_within(EventWindow::sample().unwrap(), template, lines)
    }

    fn routed_within(
        window: EventWindow,
        template: &str,
        lines: &[String],
    ) -> Vec<(String, String)> {
        let template = PathTemplate::parse(template).unwrap();
        let text = lines.concat();
        let mut whole = Router::new(&origin(), window);
        whole.route(text.as_bytes(), &template);
        let parts = whole.take(text.as_bytes()).unwrap();
        let mut all: Vec<(String, String)> = Vec::new();
        for (index, part) in &parts {
            let name = whole.paths()[*index].to_str().unwrap().to_owned();
            all.push((name, String::from_utf8(part.to_vec()).unwrap()));
        }
        // Block by block, the result is the same.
        let mut parts_by_block: Vec<String> = vec![String::new(); all.len()];
        let mut router = Router::new(&origin(), window);
        for line in lines {
            router.route(line.as_bytes(), &template);
            for (index, part) in router.take(line.as_bytes()).unwrap() {
                parts_by_block[index].push_str(std::str::from_utf8(&part).unwrap());
            }
        }
        assert_eq!(router.paths(), whole.paths());
        for (index, part) in parts {
            assert_eq!(parts_by_block[index].as_bytes(), &part[..]);
        }
        all
    }

    fn line(time: &str, number: usize) -> String {
        format!("{{\"Timestamp\":\"{time}\",\"n\":{number}}}\n")
    }

    #[test]
    fn a_batch_that_crosses_midnight_goes_to_both_days_in_order() {
        let times = ["20T23:59:59.9Z", "21T00:00:00Z", "20T23:00:00Z", "21T00:00:01Z"];
        let lines: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(number, time)| line(&format!("2026-11-{time}"), number))
            .collect();
        let got = routed("/l/{dataset}/%F", &lines);
        assert_eq!(got[0], ("/l/dns_logs/2026-11-20".into(), [&*lines[0], &lines[2]].concat()));
        assert_eq!(got[1], ("/l/dns_logs/2026-11-21".into(), [&*lines[1], &lines[3]].concat()));
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn a_record_with_an_implausible_time_is_filed_by_its_receipt() {
        let absurd = ["1970-01-02T00:00:00Z", "9999-01-01T00:00:00Z", "2026-10-20T00:00:00Z", "x"];
        let mut lines: Vec<_> = absurd.iter().map(|time| line(time, 0)).collect();
        lines.push("{\"no\":1}\n".into());
        assert_eq!(routed("/%F", &lines), [("/2026-11-21".into(), lines.concat())]);
        // The limits of the window.
        let near = [line("2026-10-22T00:00:00Z", 0), line("2026-11-22T00:00:00Z", 1)];
        let names = routed("/%F", &near).into_iter().map(|(name, _)| name);
        assert_eq!(names.collect::<Vec<_>>(), ["/2026-10-22", "/2026-11-22"]);
    }

    #[test]
    fn the_window_decides_which_times_are_used() {
        let times = ["1970-01-02", "2020-02-29", "2026-11-14", "2026-11-22", "2026-11-23"];
        let lines: Vec<_> = times.iter().map(|day| line(&format!("{day}T00:00:00Z"), 0)).collect();
        let days = |window: EventWindow| {
            let names = routed_within(window, "/%F", &lines).into_iter().map(|(name, _)| name);
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        let day = Duration::from_secs(24 * 3600);
        let all = EventWindow { past: Duration::MAX, future: day };
        let want = ["/1970-01-02", "/2020-02-29", "/2026-11-14", "/2026-11-21", "/2026-11-22"];
        assert_eq!(days(all), want);
        let narrow = EventWindow { past: 7 * day, future: Duration::ZERO };
        assert_eq!(days(narrow), ["/2026-11-21"]);
        let late = EventWindow { past: 8 * day, future: 3 * day };
        assert_eq!(days(late), ["/2026-11-14", "/2026-11-21", "/2026-11-22", "/2026-11-23"]);
    }

    #[test]
    fn records_beyond_the_maximum_number_of_files_are_filed_by_their_receipt() {
        let times = (0..59).map(|second| format!("2026-11-20T12:00:{second:02}Z"));
        let lines: Vec<_> = times.map(|time| line(&time, 0)).collect();
        let got = routed("/%s", &lines);
        assert_eq!(got.len(), MAX_FILES + 1);
        let (name, text) = &got[MAX_FILES];
        assert_eq!(*name, format!("/{}", origin().received.as_second()));
        assert_eq!(*text, lines[MAX_FILES..].concat());
    }
}
