//! The state of reading a file: the directory for relative paths, and the problems found so far.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::diagnostic::{Diagnostic, Severity};

/// The state of reading a file, which is passed to every function that reads a value.
#[derive(Debug, Default)]
pub struct Context {
    /// The directory of the configuration file: absolute and without symbolic links, so that `..` can be
    /// resolved by name.
    dir: PathBuf,
    /// The directory of the service manager's credentials.
    credentials: Option<PathBuf>,
    /// Whether to check the files that the configuration names.
    files: NamedFiles,
    problems: Vec<(Diagnostic, Basis)>,
    warnings: Vec<Diagnostic>,
}

impl Context {
    /// Creates the context of a file in `dir`, an absolute path. The credentials are in the directory that
    /// the environment variable `CREDENTIALS_DIRECTORY` names.
    pub fn new(dir: &Path) -> Self {
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self { dir: dir.to_owned(), credentials, ..Self::default() }
    }

    /// The directory that relative paths refer to.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the service manager's credentials.
    pub fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }

    /// Splits a relative path into the directory that it refers to and the rest, without leading `..`.
    pub fn base_of<'a>(&self, mut path: &'a str) -> (&Path, &'a str) {
        let mut dir = self.dir.as_path();
        while let Some(rest) = path.strip_prefix("../") {
            dir = dir.parent().unwrap_or(dir);
            path = rest.trim_start_matches('/');
        }
        (dir, path)
    }

    /// Creates a context that does not check the files that the configuration names.
    pub fn without_files(dir: &Path) -> Self {
        Self { files: NamedFiles::Ignored, ..Self::new(dir) }
    }

    /// Whether to check the files that the configuration names.
    pub fn reads_files(&self) -> bool {
        self.files == NamedFiles::Read
    }

    /// Records a problem that does not depend on other parts of the file.
    pub fn push(&mut self, problem: Diagnostic) {
        self.problems.push((problem, Basis::Here));
    }

    /// Records a problem that may depend on a line with a syntax error: a missing key, or two keys that
    /// contradict each other.
    pub fn push_incomplete(&mut self, problem: Diagnostic) {
        self.problems.push((problem, Basis::WholeFile));
    }

    /// Records that something is valid, but will probably not do what the operator expects.
    pub fn warn(&mut self, warning: Diagnostic) {
        self.warnings.push(Diagnostic { severity: Severity::Warning, ..warning });
    }

    /// Takes the warnings so far.
    pub fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }

    /// Whether no problem is recorded.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns all problems, including those of the parser.
    pub fn finish(self, source: &str, syntax: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let is_valid_toml = syntax.is_empty();
        let broken: Vec<usize> = syntax.iter().map(|problem| line(source, problem)).collect();
        let mut problems = syntax;
        problems.extend(
            self.problems
                .into_iter()
                // After a syntax error, values in the same line and missing keys are unreliable.
                .filter(|(problem, basis)| {
                    is_valid_toml
                        || (*basis == Basis::Here && !broken.contains(&line(source, problem)))
                })
                .map(|(problem, _)| problem),
        );
        problems
    }
}

/// How to treat the files that a configuration names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum NamedFiles {
    #[default]
    Read,
    Ignored,
}

/// The part of the file that a problem depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Basis {
    /// Its own line.
    Here,
    WholeFile,
}

/// The number of a problem's first line, from 0.
pub(crate) fn line(source: &str, problem: &Diagnostic) -> usize {
    let start = problem.span.as_ref().map_or(0, |span| span.start);
    source.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count()
}
