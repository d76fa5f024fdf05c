//! Records of many datasets.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::{repository, require::skipped};

/// Samples of many datasets, if they are on this machine: in `LOGPUSHD_SAMPLES` or beside the
/// repository. Each is a dataset and its lines.
pub(crate) fn samples() -> impl Iterator<Item = (String, Vec<u8>)> {
    let directory = env::var_os("LOGPUSHD_SAMPLES")
        .map_or_else(|| repository("../shared/samples"), PathBuf::from);
    let samples = datasets_in(&directory).unwrap_or_else(|| {
        skipped(&format!(
            "no samples in {}: set LOGPUSHD_SAMPLES to their directory",
            directory.display()
        ));
        Vec::new()
    });
    samples.into_iter()
}

/// The records of this repository, and the samples.
pub(crate) fn all_datasets() -> Vec<(String, Vec<u8>)> {
    let mut datasets = datasets_in(&repository("tests/data/message")).unwrap();
    datasets.extend(samples());
    datasets
}

/// The files of a directory: the dataset that each is named after, and its lines.
fn datasets_in(directory: &Path) -> Option<Vec<(String, Vec<u8>)>> {
    let paths = fs::read_dir(directory).ok()?.map(|file| file.unwrap().path());
    let is_sample = |path: &PathBuf| path.extension().is_some_and(|name| name == "ndjson");
    let mut datasets: Vec<_> = paths.filter(is_sample).map(|path| named(&path)).collect();
    assert!(!datasets.is_empty(), "no samples in {}", directory.display());
    datasets.sort();
    Some(datasets)
}

fn named(path: &Path) -> (String, Vec<u8>) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    (name.to_owned(), fs::read(path).unwrap())
}
