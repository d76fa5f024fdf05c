//! The man page logpushd.toml(5).

use clap_mangen::roff::{Inline, Roff, bold, roman};

use settings::reference::{Chapter, TextPart, text_parts};

use super::Page;
use crate::{cli::sections::Described, config::reference};

/// The footer of each page.
pub(super) const SOURCE: &str = concat!("logpushd ", env!("CARGO_PKG_VERSION"));

pub(super) fn page() -> Page {
    let name = "logpushd.toml";
    let mut roff = Roff::new();
    // roff reads `""` as an empty date. Without it, the next argument would be the date.
    roff.control("TH", [name, "5", "\"\"", SOURCE, "logpushd"]);
    disable_hyphenation(&mut roff);
    roff.control("SH", ["NAME"]);
    roff.text([roman("logpushd.toml - configuration of logpushd")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("/etc/logpushd/logpushd.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in reference::FILE {
        roff.control("PP", []);
        roff.text(inlines(paragraph));
    }
    roff.control("SH", ["EXAMPLES"]);
    roff.control("EX", []);
    for line in reference::EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    for table in reference::tables() {
        add_table(&table, &mut roff);
    }
    roff.control("SH", ["FILES"]);
    for (path, text) in FILES {
        roff.control("TP", []);
        roff.text([bold(*path)]);
        roff.text([roman(*text)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("logpushd(1), logpushd-run(1), logpushd-validate(1)")]);
    Page { name: name.to_owned(), section: 5, roff: roff.render() }
}

const FILES: &[Described] = &[
    ("/etc/logpushd/logpushd.toml", "The configuration that logpushd reads by default."),
    ("/etc/logpushd", "The directory of certificates, keys and secret files, by convention."),
];

/// Disables hyphenation, so that users can copy keys and paths.
pub(super) fn disable_hyphenation(roff: &mut Roff) {
    roff.control("nh", []);
    // groff applies this register again in each section.
    roff.control("nr", ["HY", "0"]);
    roff.control("ad", ["l"]);
}

fn add_table(chapter: &Chapter, roff: &mut Roff) {
    roff.control("SH", [format!("[{}]", chapter.name).as_str()]);
    for (index, paragraph) in chapter.text.split("\n\n").enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text(inlines(paragraph));
    }
    for (name, key) in chapter.table.keys() {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text(inlines(&format!("{}; {}", key.takes, key.presence)));
        for (index, paragraph) in key.text().split("\n\n").enumerate() {
            roff.control(if index == 0 { "br" } else { "IP" }, []);
            roff.text(inlines(paragraph));
        }
    }
}

fn inlines(text: &str) -> Vec<Inline> {
    let inline = |stretch| match stretch {
        TextPart::Plain(words) => roman(words),
        TextPart::Literal(words) => bold(words),
    };
    text_parts(text).map(inline).collect()
}
