//! The pages of the manual, and the completions of shells: made of the definition of the command
//! line and of the reference of the keys, so that nothing is said twice.

mod command;
mod file;
mod synopsis;

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

pub use self::synopsis::{option, synopsis, value_names};
use crate::{
    cli::Cli,
    durable::{self, error_at},
    fatal::Fatal,
};

/// A page.
#[derive(Debug)]
pub struct Page {
    /// `logpushd-spool-list`
    pub name: String,
    /// 1: commands; 5: files.
    pub section: u8,
    /// As man(1) reads it.
    pub roff: String,
}

impl Page {
    /// `logpushd-spool-list.1`
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// All pages: the command, each of its subcommands, and the configuration.
pub fn pages() -> Vec<Page> {
    let root = root();
    let mut pages = Vec::new();
    add_pages(&root, &mut pages);
    pages.push(file::page());
    pages
}

/// The definition of the command line as the manual describes it.
pub fn root() -> Command {
    let mut root = without_help(Cli::command());
    root.build();
    root
}

fn add_pages(command: &Command, pages: &mut Vec<Page>) {
    pages.push(command::page(command));
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        add_pages(command, pages);
    }
}

/// `logpushd help run` is the page of `run`, and needs none of its own.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// Writes one page.
///
/// # Errors
/// There is no such page: the names of those that there are. Or what writing it ended with.
pub fn write_page(name: &str, out: &mut dyn Write) -> Result<(), Fatal> {
    let pages = pages();
    let Some(page) = pages.iter().find(|page| page.name == name || page.file_name() == name) else {
        let names = pages.iter().map(|page| page.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Fatal::Usage(format!("there is no page `{name}`; the pages are {names}")));
    };
    Ok(out.write_all(page.roff.as_bytes())?)
}

/// Writes every page to a file in `dir`, which is made if it is missing, and its path to `out`.
pub fn write_all(dir: &Path, out: &mut dyn Write) -> Result<(), Fatal> {
    fs::create_dir_all(dir).map_err(error_at("making folder", dir))?;
    for page in pages() {
        let path = dir.join(page.file_name());
        durable::replace_with_mode(&path, page.roff.as_bytes(), 0o644)?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

/// Writes the script that completes the commands in `shell`.
pub fn write_completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "logpushd", &mut script);
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
        // What the list of commands refers to is there.
        for referred in pages[0].roff.lines().filter(|line| line.ends_with("(1)")) {
            let name = referred.replace('\\', "").replace("(1)", ".1");
            assert!(names.contains(&name), "{name} of {names:?}");
        }
    }

    #[test]
    fn a_page_goes_by_its_name() {
        let mut out = Vec::new();
        write_page("logpushd.toml", &mut out).unwrap();
        write_page("logpushd-run.1", &mut out).unwrap();
        let error = write_page("logpush", &mut out).unwrap_err().to_string();
        assert!(error.contains("no page `logpush`") && error.contains("logpushd-run"), "{error}");
    }

    #[test]
    fn the_page_of_the_configuration_has_every_key() {
        let pages = pages();
        let page = &pages.last().unwrap().roff;
        for table in crate::config::reference::tables() {
            for (key, _) in table.table.keys() {
                assert!(page.contains(&format!("\n.TP\n\\fB{key}\\fR\n")), "{key}");
            }
        }
    }
}
