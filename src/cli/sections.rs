//! Sections of the help and of the man pages that clap does not generate: examples, files, signals
//! and exit statuses of each command.
//!
//! The same text is in `logpushd COMMAND --help`, in the man page and in docs/command-line.md.

mod common;
mod local;
mod remote;

use clap::Command;

use self::common::CommandSections;
pub use self::common::SIGNALS;

/// A command line to copy.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// What the command line does, without a final period.
    pub purpose: &'static str,
    /// The command line, as a shell reads it.
    pub line: &'static str,
}

/// A file, a signal, an exit status or an environment variable, and its meaning as a sentence.
pub type Described<T = &'static str> = (T, &'static str);

/// The sections of one command.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    /// What users run most often first.
    pub examples: Vec<Example>,
    /// Files and directories that the command uses, by their default paths.
    pub files: Vec<Described>,
    /// Signals that the command handles.
    pub signals: Vec<Described>,
    /// Exit statuses in ascending order.
    pub exit_statuses: Vec<Described<u8>>,
    /// Environment variables that the command reads.
    pub environment: Vec<Described>,
    /// Names of related man pages, such as `logpushd-spool-verify`.
    pub see_also: Vec<String>,
}

impl Sections {
    /// Returns the sections of `command`, of which `name` is the full name, such as
    /// `logpushd spool list`.
    pub fn of(command: &Command, name: &str) -> Self {
        let own = find(name);
        Self {
            examples: examples(command, name),
            files: own.map(|own| own.files.to_vec()).unwrap_or_default(),
            signals: if name == RUN || name == ROOT { SIGNALS.to_vec() } else { Vec::new() },
            exit_statuses: exit_statuses(command, name),
            environment: environment(command, own),
            see_also: see_also(command, name),
        }
    }

    /// Formats examples and exit statuses as the end of the long help.
    fn help(&self) -> String {
        let examples = self.examples.iter().map(|Example { purpose, line }| {
            format!("  {purpose}:\n    {}\n", line.replace('\n', "\n    "))
        });
        let statuses = self.exit_statuses.iter();
        let statuses = statuses.map(|(status, meaning)| format!("  {status:>2}  {meaning}"));
        let (examples, statuses): (Vec<_>, Vec<_>) = (examples.collect(), statuses.collect());
        format!("Examples:\n{}\nExit status:\n{}", examples.join("\n"), statuses.join("\n"))
    }
}

/// The width of the long help.
const COLUMNS: usize = 80;

/// The indentation of the long help of an option.
const INDENT: usize = 10;

const ROOT: &str = "logpushd";
const RUN: &str = "logpushd run";

/// Adds examples and exit statuses to the long help of all commands.
pub(super) fn add_to(root: Command) -> Command {
    add(root, ROOT)
}

fn add(command: Command, name: &str) -> Command {
    let sections = Sections::of(&command, name).help();
    let before = command.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string);
    command
        .long_about(wrapped(&about.unwrap_or_default(), COLUMNS))
        .after_long_help(before + &sections)
        .mut_args(|arg| {
            let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string);
            arg.long_help(wrapped(&help.unwrap_or_default(), COLUMNS - INDENT))
        })
        .mut_subcommands(|command| {
            let name = format!("{name} {}", command.get_name());
            add(command, &name)
        })
}

/// Wraps each paragraph of a text. clap does so only with a dependency on the terminal's width.
fn wrapped(text: &str, columns: usize) -> String {
    let mut wrapped = String::new();
    for (index, paragraph) in text.split("\n\n").enumerate() {
        wrapped.push_str(if index == 0 { "" } else { "\n\n" });
        let mut column = 0;
        for word in paragraph.split_whitespace() {
            let fits = column + 1 + word.len() <= columns;
            wrapped.push_str(if column == 0 {
                ""
            } else if fits {
                " "
            } else {
                "\n"
            });
            column = if column > 0 && fits { column + 1 + word.len() } else { word.len() };
            wrapped.push_str(word);
        }
    }
    wrapped
}

fn all() -> impl Iterator<Item = &'static CommandSections> {
    local::COMMANDS.iter().chain(remote::COMMANDS)
}

fn find(name: &str) -> Option<&'static CommandSections> {
    all().find(|sections| sections.command == name)
}

/// Returns the examples of a command; of a command with subcommands, the first example of each.
fn examples(command: &Command, name: &str) -> Vec<Example> {
    match find(name).map(|own| own.examples) {
        Some(own) if !own.is_empty() => own.to_vec(),
        _ => {
            let names =
                command.get_subcommands().map(|command| format!("{name} {}", command.get_name()));
            names.filter_map(|name| find(&name)?.examples.first().copied()).collect()
        }
    }
}

/// Returns the exit statuses of a command: those in its table, and those of all commands. A command
/// with subcommands has those of its subcommands, with the meanings in the table of `logpushd`.
fn exit_statuses(command: &Command, name: &str) -> Vec<Described<u8>> {
    let own = find(name).map(|own| own.exit_statuses).unwrap_or_default();
    let mut statuses = own.to_vec();
    if own.is_empty() && command.has_subcommands() {
        let names =
            command.get_subcommands().map(|command| format!("{name} {}", command.get_name()));
        let used: Vec<_> =
            names.filter_map(|name| find(&name)).flat_map(|own| own.exit_statuses).collect();
        let root = find(ROOT).map(|root| root.exit_statuses).unwrap_or_default();
        let is_used = |status: u8| used.iter().any(|(known, _)| *known == status);
        statuses.extend(root.iter().filter(|(status, _)| is_used(*status)));
    }
    let common =
        common::EXIT_STATUSES.iter().filter(|(status, _)| *status != 78 || reads_config(command));
    for (status, meaning) in common {
        if !statuses.iter().any(|(known, _)| known == status) {
            statuses.push((*status, meaning));
        }
    }
    statuses.sort_unstable_by_key(|(status, _)| *status);
    statuses
}

fn environment(command: &Command, own: Option<&CommandSections>) -> Vec<Described> {
    let own = own.map(|own| own.environment).unwrap_or_default();
    let is_common = reads_config(command) && !own.contains(&common::CONFIG_VARIABLE);
    is_common.then_some(common::CONFIG_VARIABLE).into_iter().chain(own.iter().copied()).collect()
}

fn reads_config(command: &Command) -> bool {
    let has_option = command.get_arguments().any(|arg| arg.get_long() == Some("config"));
    has_option || command.get_subcommands().any(reads_config)
}

/// Returns the parent, the subcommands or siblings, and logpushd.toml for a command that reads it.
fn see_also(command: &Command, name: &str) -> Vec<String> {
    let page = |name: &str| name.replace(' ', "-");
    let mut pages = Vec::new();
    if let Some((parent, _)) = name.rsplit_once(' ') {
        pages.push(page(parent));
        if parent != ROOT {
            pages.push(ROOT.to_owned());
        }
    }
    let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set());
    pages.extend(subcommands.map(|command| page(&format!("{name} {}", command.get_name()))));
    pages.extend(find(name).into_iter().flat_map(|own| own.see_also).map(|name| page(name)));
    pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn each(command: &Command, name: &str, check: &mut dyn FnMut(&Command, &str)) {
        check(command, name);
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            each(command, &format!("{name} {}", command.get_name()), check);
        }
    }

    /// Splits a command line as a shell does, into the commands of a pipeline.
    fn pipeline(line: &str) -> Vec<Vec<String>> {
        let mut commands = vec![vec![String::new()]];
        let mut quote = None;
        for c in line.replace("\\\n", "").chars() {
            let words = commands.last_mut().unwrap();
            match (quote, c) {
                (Some(end), _) if c == end => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None, '|' | '&' | '>' | '<' | '(' | ')') => commands.push(vec![String::new()]),
                (None, ' ') => words.push(String::new()),
                _ => words.last_mut().unwrap().push(c),
            }
        }
        for words in &mut commands {
            words.retain(|word| !word.is_empty());
        }
        commands.retain(|words| !words.is_empty());
        commands
    }

    #[test]
    fn every_command_has_examples_that_are_accepted() {
        each(&cli::definition(), ROOT, &mut |command, name| {
            let sections = Sections::of(command, name);
            assert!(!sections.examples.is_empty(), "{name} has no example");
            for Example { line, purpose } in sections.examples {
                assert!(line.contains(name), "{line} is not an example of {name}");
                assert!(!purpose.ends_with(['.', ':']), "{purpose}");
                assert!(line.lines().all(|line| line.len() <= 96), "{line}");
                for words in pipeline(line).iter().filter(|words| words[0] == ROOT) {
                    let parsed = cli::parse(words);
                    assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                }
            }
        });
    }

    #[test]
    fn every_entry_of_the_table_is_a_command() {
        let mut names = Vec::new();
        each(&cli::definition(), ROOT, &mut |_, name| names.push(name.to_owned()));
        for CommandSections { command, see_also, .. } in all() {
            assert!(names.iter().any(|name| name == command), "{command}");
            for name in *see_also {
                assert!(names.iter().any(|known| known == name), "{command}: {name}");
            }
        }
    }

    #[test]
    fn long_help_has_examples_and_exit_statuses() {
        let help = cli::parse(["logpushd", "spool", "verify", "--help"]).unwrap_err().to_string();
        for part in ["\nExamples:\n", "    logpushd spool verify\n", "\nExit status:\n", "\n  74  "]
        {
            assert!(help.contains(part), "{part} in {help}");
        }
        let help = cli::parse(["logpushd", "spool", "verify", "-h"]).unwrap_err().to_string();
        assert!(!help.contains("Examples:"), "{help}");
    }
}
