//! logpushd.toml(5).

use clap_mangen::roff::{Inline, Roff, bold, roman};

use settings::reference::{Chapter, TextPart, text_parts};

use super::Page;
use crate::config::reference;

/// What stands at the foot of a page.
pub(super) const SOURCE: &str = concat!("logpushd ", env!("CARGO_PKG_VERSION"));

pub(super) fn page() -> Page {
    let name = "logpushd.toml";
    let mut roff = Roff::new();
    // An empty date is two quotes: nothing at all would make the next word the date.
    roff.control("TH", [name, "5", "\"\"", SOURCE, "logpushd"]);
    keep_words_whole(&mut roff);
    roff.control("SH", ["NAME"]);
    roff.text([roman("logpushd.toml - configuration of logpushd")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("/etc/logpushd/logpushd.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in reference::FILE {
        roff.control("PP", []);
        roff.text(inlines(paragraph));
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.control("EX", []);
    for line in reference::EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    for table in reference::tables() {
        add_table(&table, &mut roff);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("logpushd(1)")]);
    Page { name: name.to_owned(), section: 5, roff: roff.render() }
}

/// A key that is hyphenated at the end of a line is one that nobody can copy.
pub(super) fn keep_words_whole(roff: &mut Roff) {
    roff.control("nh", []);
    roff.control("ad", ["l"]);
}

fn add_table(chapter: &Chapter, roff: &mut Roff) {
    roff.control("SH", [format!("[{}]", chapter.name).as_str()]);
    for (place, paragraph) in chapter.text.split("\n\n").enumerate() {
        if place > 0 {
            roff.control("PP", []);
        }
        roff.text(inlines(paragraph));
    }
    for (name, key) in chapter.table.keys() {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text(inlines(&format!("{}; {}", key.takes, key.presence)));
        for (place, paragraph) in key.text().split("\n\n").enumerate() {
            roff.control(if place == 0 { "br" } else { "IP" }, []);
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
