//! Compares docs/command-line.md with the definition of the command line.
//!
//! The synopsis and the options of each command are generated: `LOGPUSHD_BLESS=1 cargo test --test it
//! command_line::` writes them. The text from "Example" on is written by hand.

use std::{collections::BTreeMap, env, fmt::Write as _, fs};

use clap::{Arg, Command, Parser as _};
use logpushd::{
    cli::Cli,
    commands::manual::{self, option, synopsis, value_names},
};

use crate::support::{
    repository,
    text::{WIDTH, wrapped},
};

/// The line before the generated list of commands.
const LIST: &str = "| command | purpose |\n|---|---|\n";

/// All commands that do something, each with its full name.
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

/// Help as Markdown.
fn escaped(help: &str) -> String {
    help.replace('|', "\\|").replace('*', "\\*").replace('\n', " ")
}

fn purpose(command: &Command) -> String {
    escaped(&command.get_about().unwrap().to_string())
}

/// The synopsis, with parts that are never split between two lines.
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

/// The generated part of a section: purpose, synopsis, description, options.
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
    parts.join("\n\n")
}

/// The expected page, with the text of `page` that is written by hand.
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
        let by_hand = sections.get(name(command)).and_then(|section| {
            section.find("\nExample").map(|at| section.split_at(at + 1).1.trim_end())
        });
        let by_hand = by_hand.unwrap_or("Example:");
        let generated = generated(command);
        writeln!(expected, "\n## {}\n\n{generated}\n\n{by_hand}", name(command)).unwrap();
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

/// The words of a command as a shell splits them, up to a pipe, a redirection or a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        let is_empty = words.last().unwrap().is_empty();
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '|' | '>' | '#') if is_empty => break,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_has_an_example_that_is_accepted() {
    let page = fs::read_to_string(repository("docs/command-line.md")).unwrap();
    let mut all = Vec::new();
    commands(&manual::root(), &mut all);
    for command in &all {
        let name = name(command);
        let (_, section) = page.split_once(&format!("\n## {name}\n")).unwrap();
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        let (_, by_hand) = section.split_once("\nExample").unwrap();
        let by_hand = by_hand.replace("\\\n", "");
        let lines = by_hand.lines().map(|line| line.trim_start_matches("$ "));
        let examples: Vec<_> = lines.filter(|line| line.starts_with(&format!("{name} "))).collect();
        let examples = if examples.is_empty() && by_hand.contains(&format!("\n{name}\n")) {
            vec![name]
        } else {
            examples
        };
        assert!(!examples.is_empty(), "docs/command-line.md has no example of {name}");
        for example in examples {
            let parsed = Cli::try_parse_from(words(example));
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }
}
