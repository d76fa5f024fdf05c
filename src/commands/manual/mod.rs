//! Man pages and shell completions, generated from the definition of the command line and from the
//! reference of the configuration keys.

mod command;
mod file;
mod synopsis;

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::Command;
use clap_complete::Shell;

pub use self::synopsis::{option, synopsis, value_names};
use crate::{
    cli,
    durable::{self, error_at},
    fatal::Fatal,
};

/// A man page.
#[derive(Debug)]
pub struct Page {
    /// The name, such as `logpushd-spool-list`.
    pub name: String,
    /// The section of the manual: 1 for commands, 5 for files.
    pub section: u8,
    /// The source, which man(1) reads.
    pub roff: String,
}

impl Page {
    /// Returns the file name, such as `logpushd-spool-list.1`.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// Returns the pages of `logpushd`, of all its subcommands, and of the configuration.
pub fn pages() -> Vec<Page> {
    let root = root();
    let mut pages = Vec::new();
    add_pages(&root, &mut pages);
    pages.push(file::page());
    pages
}

/// Returns the built definition of the command line, without the `help` subcommands.
pub fn root() -> Command {
    let mut root = without_help(cli::definition());
    root.build();
    root
}

fn add_pages(command: &Command, pages: &mut Vec<Page>) {
    pages.push(command::page(command));
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        add_pages(command, pages);
    }
}

/// Removes the `help` subcommands, which need no page.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// Writes the page called `name`.
///
/// # Errors
/// The page does not exist, or writing fails.
pub fn write_page(name: &str, out: &mut dyn Write) -> Result<(), Fatal> {
    let pages = pages();
    let Some(page) = pages.iter().find(|page| page.name == name || page.file_name() == name) else {
        let names = pages.iter().map(|page| page.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Fatal::Usage(format!("no page `{name}`: the pages are {names}")));
    };
    Ok(out.write_all(page.roff.as_bytes())?)
}

/// Writes every page to a file in `dir`, and the paths to `out`. Creates `dir` if it is missing.
pub fn write_all(dir: &Path, out: &mut dyn Write) -> Result<(), Fatal> {
    fs::create_dir_all(dir).map_err(error_at("creating directory", dir))?;
    for page in pages() {
        let path = dir.join(page.file_name());
        durable::replace_with_mode(&path, page.roff.as_bytes(), 0o644)?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

/// Writes the completion script for `shell`.
pub fn write_completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::definition(), "logpushd", &mut script);
    out.write_all(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages();
        let names: Vec<_> = pages.iter().map(Page::file_name).collect();
        for name in ["logpushd.1", "logpushd-run.1", "logpushd-spool-list.1", "logpushd.toml.5"] {
            assert!(names.iter().any(|found| found == name), "{name} of {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        let mut once = names.clone();
        once.dedup();
        assert_eq!(once, names);
        for Page { name, section, roff } in &pages {
            assert!(roff.contains(&format!(".TH {name} {section} ")), "{roff}");
        }
        // Every page in the list of commands exists.
        for referred in pages[0].roff.lines().filter(|line| line.ends_with("(1)")) {
            let name = referred.replace('\\', "").replace("(1)", ".1");
            assert!(names.contains(&name), "{name} of {names:?}");
        }
    }

    #[test]
    fn pages_are_found_by_name_and_by_file_name() {
        let mut out = Vec::new();
        write_page("logpushd.toml", &mut out).unwrap();
        write_page("logpushd-run.1", &mut out).unwrap();
        let error = write_page("logpush", &mut out).unwrap_err().to_string();
        assert!(error.contains("no page `logpush`") && error.contains("logpushd-run"), "{error}");
    }

    #[test]
    fn configuration_page_has_every_key() {
        let pages = pages();
        let page = &pages.last().unwrap().roff;
        for table in crate::config::reference::tables() {
            for (key, _) in table.table.keys() {
                assert!(page.contains(&format!("\n.TP\n\\fB{key}\\fR\n")), "{key}");
            }
        }
    }
}
