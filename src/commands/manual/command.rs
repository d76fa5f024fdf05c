//! The page of a command.

use std::io;

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Page, file, synopsis};

const ROOT: &str = "logpushd";

/// `command` must have been built, so that it knows its full name.
pub(super) fn page(command: &Command) -> Page {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    let written = write(command, &name, &mut page);
    debug_assert!(written.is_ok(), "a vector takes everything");
    Page { name, section: 1, roff: String::from_utf8_lossy(&page).into_owned() }
}

fn write(command: &Command, name: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let titled =
        command.clone().subcommand_help_heading("COMMANDS").subcommand_value_name("command");
    // An empty date is two quotes: nothing at all would make the next word the date.
    let man = Man::new(titled).source(file::SOURCE).manual("logpushd").date("\"\"");
    man.render_title(page)?;
    let mut setting = Roff::new();
    file::keep_words_whole(&mut setting);
    setting.to_writer(page)?;
    man.render_name_section(page)?;
    synopsis_section(command).to_writer(page)?;
    man.render_description_section(page)?;
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

/// What the help ends with, and where to go on.
fn rest(command: &Command, name: &str) -> Roff {
    let mut roff = Roff::new();
    if let Some(text) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        roff.control("SH", ["NOTES"]);
        for (place, line) in text.to_string().lines().enumerate() {
            if line.trim().is_empty() {
                roff.control("PP", []);
                continue;
            }
            if place > 0 {
                roff.control("br", []);
            }
            roff.text([roman(line)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let root = if name == ROOT { "" } else { "logpushd(1), " };
    roff.text([bold(format!("{root}logpushd.toml(5)"))]);
    roff
}
