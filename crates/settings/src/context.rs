//! What is known while a file is read: where relative paths begin, and the problems so far.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::diagnostic::Diagnostic;

/// What every reading function is handed.
#[derive(Debug, Default)]
pub struct Context {
    /// The folder of the configuration file, absolute and without links, so that `..` can be cut off
    /// it by name.
    folder: PathBuf,
    /// The folder of the credentials that the service manager gives.
    credentials: Option<PathBuf>,
    /// Whether the files that the configuration names are looked at.
    files: NamedFiles,
    problems: Vec<(Diagnostic, Basis)>,
}

impl Context {
    /// For a file in this directory, which is absolute. Credentials are where `CREDENTIALS_DIRECTORY` says.
    pub fn new(folder: &Path) -> Self {
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self { folder: folder.to_owned(), credentials, ..Self::default() }
    }

    /// The directory where relative paths begin.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The directory of the credentials that the service manager gives.
    pub fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }

    /// Where a relative path begins, and what is left of it: its leading `..` are gone.
    pub fn begin<'a>(&self, mut path: &'a str) -> (&Path, &'a str) {
        let mut folder = self.folder.as_path();
        while let Some(rest) = path.strip_prefix("../") {
            folder = folder.parent().unwrap_or(folder);
            path = rest.trim_start_matches('/');
        }
        (folder, path)
    }

    /// For text alone: whatever files it names, nothing on the disk is opened.
    pub fn of_text(folder: &Path) -> Self {
        Self { files: NamedFiles::Trusted, ..Self::new(folder) }
    }

    /// Whether the files that the configuration names are to be read.
    pub fn reads_files(&self) -> bool {
        self.files == NamedFiles::Read
    }

    /// Records a problem that is one whatever else the file says.
    pub fn push(&mut self, problem: Diagnostic) {
        self.problems.push((problem, Basis::Here));
    }

    /// Records a problem that may vanish once the whole file can be read: something is missing, or
    /// one place does not fit another.
    pub fn push_incomplete(&mut self, problem: Diagnostic) {
        self.problems.push((problem, Basis::WholeFile));
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// All problems, together with what the parser found.
    pub fn finish(self, source: &str, syntax: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let is_sound = syntax.is_empty();
        let broken: Vec<usize> = syntax.iter().map(|problem| line(source, problem)).collect();
        let mut problems = syntax;
        problems.extend(
            self.problems
                .into_iter()
                // What the parser made of a broken line is a guess, and so is what seems missing.
                .filter(|(problem, basis)| {
                    is_sound || (*basis == Basis::Here && !broken.contains(&line(source, problem)))
                })
                .map(|(problem, _)| problem),
        );
        problems
    }
}

/// What becomes of the files that a configuration names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum NamedFiles {
    #[default]
    Read,
    Trusted,
}

/// What a problem depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Basis {
    Here,
    WholeFile,
}

/// The line where a problem begins, from 0.
pub(crate) fn line(source: &str, problem: &Diagnostic) -> usize {
    let start = problem.span.as_ref().map_or(0, |span| span.start);
    source.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count()
}
