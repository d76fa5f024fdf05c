//! The recipes of `docs/recipes` work as printed: their commands and configurations are taken from the
//! pages and run with the real programs.

mod analyzers;
mod logtail;
mod services;
mod shippers;
mod supervisors;
mod wazuh;

use std::{fs, path::Path, process::Command};

use crate::support::{Exit, Finished, finish, repository};

/// The directory of the records in the pages.
const LOGS: &str = "/var/log/logpushd";

/// The directory of the files that a package of logpushd installs from `pkg/`, in the pages.
const EXAMPLES: &str = "/usr/share/doc/logpushd/examples";

/// The code blocks of a page in one language, in their order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(repository("docs/recipes").join(page)).unwrap();
    let fence = format!("```{language}");
    let mut lines = text.lines();
    let mut blocks = Vec::new();
    while lines.by_ref().any(|line| line == fence) {
        let block = lines.by_ref().take_while(|line| *line != "```");
        blocks.push(block.fold(String::new(), |block, line| block + line + "\n"));
    }
    assert!(!blocks.is_empty(), "{page} has no block of {language}");
    blocks
}

/// A block with the paths of this test instead of those of an installation.
fn located(block: &str, logs: &Path) -> String {
    block
        .replace(LOGS, logs.to_str().unwrap())
        .replace(EXAMPLES, repository("pkg").to_str().unwrap())
}

/// Runs a block of shell in a directory and returns what it printed.
#[track_caller]
fn shell(block: &str, directory: &Path) -> String {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", block]).current_dir(directory);
    command.env("HOME", directory);
    let Finished { exit, stdout, stderr } = finish(&mut command);
    assert_eq!(exit, Exit::Code(0), "{block}\n{stdout}{stderr}");
    stdout
}
