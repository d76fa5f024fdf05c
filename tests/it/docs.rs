//! The pages of the documentation: their configurations are valid, their links lead somewhere, and the
//! table of contents lists each of them.
//!
//! A block that is fenced as `toml` is a configuration or a part of one: required tables that it
//! leaves out are added.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::support::{
    Exit, Setup, finish, logpushd, repository,
    tls::{Authority, Pair},
};

/// A block, and its position.
struct Block {
    place: String,
    text: String,
}

/// The tables that a block may leave out, by the start of their headers.
const NEEDED: [(&str, &str); 3] = [
    ("[server.tls", "[server.tls]\nself_signed = true\n"),
    ("[endpoint.", "[endpoint.main]\npath = \"/logpush/{dataset}\"\nauth = \"none\"\n"),
    ("[sink.", "[sink.archive.file]\npath = \"/var/log/logpushd/{dataset}.ndjson\"\n"),
];

fn markdown(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .flat_map(|path| if path.is_dir() { markdown(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    files.sort();
    files
}

fn blocks() -> Vec<Block> {
    let mut files = markdown(&repository("docs"));
    files.push(repository("README.md"));
    let mut blocks = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut lines = text.lines().enumerate();
        while let Some((line, text)) = lines.next() {
            if text.trim() != "```toml" {
                continue;
            }
            let block =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
            let text = block.fold(String::new(), |text, line| text + line.trim_end() + "\n");
            blocks.push(Block { place: format!("{}:{}", file.display(), line + 1), text });
        }
    }
    blocks
}

#[test]
fn every_configuration_in_the_documentation_is_valid() {
    let setup = Setup::new();
    let authority = Authority::new();
    let Pair { cert, key } = authority.sign();
    for directory in ["", "credentials/"] {
        fs::create_dir_all(setup.path(directory)).unwrap();
        setup.write(&format!("{directory}fullchain.pem"), format!("{cert}{}", authority.pem()));
        setup.write(&format!("{directory}privkey.pem"), &key);
        setup.write(&format!("{directory}secrets.txt"), "0123456789abcdef\n");
    }
    setup.write("siem-ca.pem", authority.pem());
    let secrets = [
        "clickhouse.txt",
        "hec.txt",
        "es.txt",
        "loki.txt",
        "tokens.txt",
        "token.txt",
        "credentials/mask.key",
    ];
    for secret in secrets {
        setup.write(secret, "0123456789abcdef\n");
    }
    let blocks = blocks();
    assert!(blocks.len() >= 4, "{}", blocks.len());
    for Block { place, text } in blocks {
        let has = |header: &str| text.lines().any(|line| line.starts_with(header));
        let needed = NEEDED.iter().filter(|(header, _)| !has(header));
        let config = needed.fold(text.clone(), |config, (_, table)| config + table);
        // Where the configuration is: here, in the directory of this test.
        let config = config.replace("\"/etc/logpushd/", "\"");
        setup.write("logpushd.toml", &config);
        let finished = finish(logpushd().args(["validate", "-c"]).arg(setup.config()));
        assert_eq!(finished.exit, Exit::Code(0), "{place}\n{config}\n{}", finished.stderr);
    }
}

/// The pages at the root of the repository.
const ROOT: [&str; 4] = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

/// The lines of a page that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fence = None;
    text.lines().filter(move |line| {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (mark, fence) {
            (Some(_), None) => fence = mark,
            (Some(mark), Some(open)) if mark == open => fence = None,
            _ => return fence.is_none(),
        }
        false
    })
}

/// The targets of a page's links, also of its pictures.
fn links(text: &str) -> Vec<&str> {
    let targets = prose(text).flat_map(|line| line.split("](").skip(1));
    let mut links: Vec<_> = targets.map(|rest| rest.split(')').next().unwrap()).collect();
    // `[name]: target` below a page.
    links
        .extend(prose(text).filter_map(|line| line.strip_prefix('[')?.split_once("]: ")?.1.into()));
    links.retain(|target| !target.contains("://") && !target.starts_with("mailto:"));
    links
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in prose(text).filter(|line| line.starts_with('#')) {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let slug: String = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let repeated = (1..).map(|count| format!("{slug}-{count}"));
        let mut candidates = [slug.clone()].into_iter().chain(repeated);
        anchors.extend(candidates.find(|candidate| !anchors.contains(candidate)));
    }
    anchors
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => _ = path.pop(),
            Component::CurDir => {}
            part => path.push(part),
        }
        path
    })
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = ROOT.iter().map(|page| repository(page)).chain(markdown(&repository("docs")));
    let mut broken = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for target in links(&text) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => page.clone(),
                path => normal(&page.parent().unwrap().join(path)),
            };
            let is_page = file.extension().is_some_and(|extension| extension == "md");
            let found = match (anchor, is_page && file.exists()) {
                ("", _) | (_, false) => file.exists(),
                _ => anchors(&fs::read_to_string(&file).unwrap()).contains(anchor),
            };
            if !found {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_summary_lists_every_page_once() {
    let docs = repository("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let mut listed: Vec<_> = links(&summary).into_iter().map(|page| docs.join(page)).collect();
    listed.sort();
    let mut pages = markdown(&docs);
    pages.retain(|page| !page.ends_with("SUMMARY.md"));
    let missing: Vec<_> = pages.iter().filter(|page| !listed.contains(page)).collect();
    assert!(missing.is_empty(), "pages that docs/SUMMARY.md does not list: {missing:#?}");
    assert_eq!(listed, pages, "docs/SUMMARY.md lists a page twice, or one that does not exist");
}
