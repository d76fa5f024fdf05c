//! Compares docs/command-line.md with the definition of the command line.
//!
//! The section of each command is generated: `LOGPUSHD_BLESS=1 cargo test --test it command_line::`
//! writes it. Text after [`BY_HAND`] is written by hand.

use std::{collections::BTreeMap, env, fmt::Write as _, fs};

use clap::{Arg, Command};
use logpushd::{
    cli::sections::{Example, SIGNALS, Sections},
    commands::manual::{self, option, synopsis, value_names},
};

use crate::support::{
    repository,
    text::{WIDTH, wrapped},
};

/// The line between the generated part of a section and the text written by hand.
const BY_HAND: &str = "<!-- Written by hand: -->";

/// The line before the generated list of commands.
const LIST: &str = "| command | purpose |\n|---|---|\n";

/// Collects the commands without subcommands, each with its full name.
fn commands(command: &Command, commands: &mut Vec<Command>) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        if command.has_subcommands() {
            self::commands(command, commands);
        } else {
            commands.push(command.clone());
        }
    }
}

fn name(command: &Command) -> &str {
    command.get_bin_name().unwrap()
}

/// Escapes help as Markdown.
fn escaped(help: &str) -> String {
    help.replace('|', "\\|").replace('*', "\\*").replace('\n', " ")
}

fn purpose(command: &Command) -> String {
    escaped(&command.get_about().unwrap().to_string())
}

/// Returns the synopsis in lines. A part is never split between two lines.
fn synopsis_lines(command: &Command) -> String {
    let mut lines = vec![String::from("   ")];
    for part in synopsis(command) {
        let line = lines.last_mut().unwrap();
        if line.len() + 1 + part.len() <= WIDTH {
            write!(line, " {part}").unwrap();
        } else {
            lines.push(format!("        {part}"));
        }
    }
    lines.join("\n")
}

fn row(arg: &Arg) -> String {
    let name = if arg.is_positional() { value_names(arg) } else { option(arg) };
    let mut names = format!("`{}`", escaped(&name));
    if let (Some(_), Some(long)) = (arg.get_short(), arg.get_long()) {
        write!(names, ", `--{long}`").unwrap();
    }
    let help = arg.get_long_help().or_else(|| arg.get_help()).unwrap().to_string();
    let mut text = help.split("\n\n").map(escaped).collect::<Vec<_>>().join(". ");
    let values = arg.get_possible_values();
    if !values.is_empty() && arg.get_action().takes_values() {
        let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        write!(text, " (one of {})", values.join(", ")).unwrap();
    }
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults = defaults.collect::<Vec<_>>().join(" ");
    if arg.get_action().takes_values() && !defaults.is_empty() {
        write!(text, " \\[default: `{defaults}`\\]").unwrap();
    }
    if let Some(variable) = arg.get_env() {
        write!(text, " \\[environment: `{}`\\]", variable.to_string_lossy()).unwrap();
    }
    format!("| {names} | {text} |")
}

/// Returns the generated part of a section: purpose, synopsis, description, options, examples, exit
/// codes.
fn generated(command: &Command) -> String {
    let mut parts = vec![format!("{}.", purpose(command)), synopsis_lines(command)];
    if let Some(long) = command.get_long_about() {
        let long = long.to_string();
        let paragraphs = long.split("\n\n").skip(1);
        parts.extend(paragraphs.map(|paragraph| wrapped(&escaped(paragraph))));
    }
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let args = args.filter(|arg| arg.get_id() != "help" && arg.get_id() != "version");
    let rows: Vec<_> = args.map(row).collect();
    if !rows.is_empty() {
        parts.push(format!("| option | effect |\n|---|---|\n{}", rows.join("\n")));
    }
    let sections = Sections::of(command, name(command));
    let examples = sections.examples.iter();
    let examples = examples.map(|Example { purpose, line }| format!("# {purpose}\n{line}"));
    let examples = examples.collect::<Vec<_>>().join("\n\n");
    parts.push(format!("```sh\n{examples}\n```"));
    let statuses = sections.exit_statuses.iter();
    let statuses = statuses.map(|(status, meaning)| format!("| {status} | {meaning} |"));
    let statuses = statuses.collect::<Vec<_>>().join("\n");
    parts.push(format!("| exit code | meaning |\n|---|---|\n{statuses}"));
    parts.join("\n\n")
}

/// Returns the expected page, with the text by hand of `page`.
fn expected(page: &str) -> String {
    let mut all = Vec::new();
    commands(&manual::root(), &mut all);
    let (preface, sections) = page.split_once("\n## ").unwrap();
    let (preface, _) = preface.split_once(LIST).unwrap();
    let mut expected = format!("{preface}{LIST}");
    for command in &all {
        let anchor = name(command).replace(' ', "-");
        let (name, purpose) = (name(command), purpose(command));
        writeln!(expected, "| [`{name}`](#{anchor}) | {purpose} |").unwrap();
    }
    let sections: BTreeMap<_, _> =
        sections.split("\n## ").map(|section| section.split_once('\n').unwrap()).collect();
    for command in &all {
        let section = sections.get(name(command)).copied().unwrap_or_default();
        let (name, generated) = (name(command), generated(command));
        writeln!(expected, "\n## {name}\n\n{generated}").unwrap();
        if let Some((_, by_hand)) = section.split_once(BY_HAND) {
            writeln!(expected, "\n{BY_HAND}\n\n{}", by_hand.trim()).unwrap();
        }
    }
    let names: Vec<_> = all.iter().map(name).collect();
    for section in page.split("\n## ").skip(1) {
        let (heading, text) = section.split_once('\n').unwrap();
        if !names.contains(&heading) && !heading.starts_with("logpushd") {
            writeln!(expected, "\n## {heading}\n{}", text.trim_end()).unwrap();
        }
    }
    expected
}

#[test]
fn every_command_has_its_section() {
    let path = repository("docs/command-line.md");
    let page = fs::read_to_string(&path).unwrap();
    let expected = expected(&page);
    if env::var_os("LOGPUSHD_BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    for (number, (written, expected)) in page.lines().zip(expected.lines()).enumerate() {
        assert_eq!(written, expected, "docs/command-line.md, line {}", number + 1);
    }
    assert_eq!(page.len(), expected.len());
}

/// A row of the page can continue with a link.
#[test]
fn signals_and_exit_codes_of_the_daemon_are_those_of_the_page() {
    let page = fs::read_to_string(repository("docs/signals.md")).unwrap();
    let has_row = |row: &str| page.lines().any(|line| line.starts_with(row));
    for (signal, effect) in SIGNALS {
        assert!(has_row(&format!("| {signal} | {effect}")), "docs/signals.md: {signal}: {effect}");
    }
    let root = manual::root();
    let run = root.find_subcommand("run").unwrap();
    for (status, meaning) in Sections::of(run, "logpushd run").exit_statuses {
        assert!(
            has_row(&format!("| {status} | {meaning} |")),
            "docs/signals.md: {status}: {meaning}"
        );
    }
}
