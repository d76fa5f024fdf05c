//! The man page of a command.

use std::io;

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Page, file, synopsis};
use crate::cli::sections::{Described, Example, Sections};

const ROOT: &str = "logpushd";

/// Returns the page of `command`, which must have been built, so that it knows its full name.
pub(super) fn page(command: &Command) -> Page {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    let written = write(command, &name, &mut page);
    debug_assert!(written.is_ok(), "writing to a vector does not fail");
    Page { name, section: 1, roff: String::from_utf8_lossy(&page).into_owned() }
}

fn write(command: &Command, name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let titled =
        command.clone().subcommand_help_heading("COMMANDS").subcommand_value_name("command");
    // roff reads `""` as an empty date. Without it, the next argument would be the date.
    let man = Man::new(titled).source(file::SOURCE).manual("logpushd").date("\"\"");
    man.render_title(page)?;
    let mut setting = Roff::new();
    file::disable_hyphenation(&mut setting);
    setting.to_writer(page)?;
    man.render_name_section(page)?;
    synopsis_section(command).to_writer(page)?;
    description_section(command).to_writer(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    rest(command, name).to_writer(page)
}

fn synopsis_section(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    let mut parts = synopsis(command).into_iter();
    let name = bold(parts.next().unwrap_or_default());
    roff.text([name, roman(parts.fold(String::new(), |text, part| text + " " + &part))]);
    roff
}

/// Writes the long help without its first line, which the section NAME has, or that line if it is
/// all.
fn description_section(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<_> = long.split("\n\n").skip(1).collect();
    if paragraphs.is_empty() {
        roff.text([roman(format!("{about}."))]);
    }
    add_paragraphs(&paragraphs, &mut roff);
    roff
}

fn add_paragraphs(paragraphs: &[&str], roff: &mut Roff) {
    for (index, paragraph) in paragraphs.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph.replace('\n', " "))]);
    }
}

/// Writes the sections after the options.
fn rest(command: &Command, name: &str) -> Roff {
    let full_name = command.get_bin_name().unwrap_or(name);
    let sections = Sections::of(command, full_name);
    let mut roff = Roff::new();
    add_list("SIGNALS", &sections.signals, &mut roff);
    let statuses = sections.exit_statuses.iter();
    let statuses: Vec<_> = statuses.map(|(status, text)| (status.to_string(), *text)).collect();
    add_list("EXIT STATUS", &statuses, &mut roff);
    add_list("ENVIRONMENT", &sections.environment, &mut roff);
    add_list("FILES", &sections.files, &mut roff);
    if let Some(notes) = command.get_after_help().filter(|_| name != ROOT) {
        roff.control("SH", ["NOTES"]);
        add_paragraphs(&notes.to_string().split("\n\n").collect::<Vec<_>>(), &mut roff);
    }
    add_examples(&sections.examples, &mut roff);
    roff.control("SH", ["SEE ALSO"]);
    let pages = sections.see_also.iter().map(|page| format!("{page}(1)"));
    let pages: Vec<_> = pages.chain(["logpushd.toml(5)".to_owned()]).collect();
    roff.text([bold(pages.join(", "))]);
    roff
}

fn add_list<T: AsRef<str>>(title: &str, items: &[Described<T>], roff: &mut Roff) {
    if items.is_empty() {
        return;
    }
    roff.control("SH", [title]);
    for (item, text) in items {
        roff.control("TP", []);
        roff.text([bold(item.as_ref())]);
        roff.text([roman(*text)]);
    }
}

fn add_examples(examples: &[Example], roff: &mut Roff) {
    if examples.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (index, Example { purpose, line }) in examples.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(format!("{purpose}:"))]);
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("EX", []);
        for line in line.lines() {
            roff.text([roman(line)]);
        }
        roff.control("EE", []);
        roff.control("RE", []);
    }
}
