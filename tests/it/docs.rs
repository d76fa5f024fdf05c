//! The configurations in the documentation: whoever copies one gets no error.
//!
//! A block that is fenced as `toml` is a configuration, or as much of one as matters where it stands:
//! tables that every configuration needs are added.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    Exit, Setup, finish, logpushd, repository,
    tls::{Authority, Pair},
};

/// A block, and where it stands.
struct Block {
    place: String,
    text: String,
}

/// What a block may leave out, by what its table's header begins with.
const NEEDED: [(&str, &str); 3] = [
    ("[server.tls", "[server.tls]\nself_signed = true\n"),
    ("[endpoint.", "[endpoint.main]\npath = \"/logpush/{dataset}\"\nauth = \"none\"\n"),
    ("[sink.", "[sink.archive.file]\npath = \"/var/log/logpushd/{dataset}.ndjson\"\n"),
];

fn markdown(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
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
fn every_configuration_in_the_documentation_is_good() {
    let setup = Setup::new();
    let authority = Authority::new();
    let Pair { cert, key } = authority.sign();
    for folder in ["", "credentials/"] {
        fs::create_dir_all(setup.path(folder)).unwrap();
        setup.write(&format!("{folder}fullchain.pem"), format!("{cert}{}", authority.pem()));
        setup.write(&format!("{folder}privkey.pem"), &key);
        setup.write(&format!("{folder}secrets.txt"), "0123456789abcdef\n");
    }
    setup.write("siem-ca.pem", authority.pem());
    for secret in ["tokens.txt", "token.txt"] {
        setup.write(secret, "0123456789abcdef\n");
    }
    let blocks = blocks();
    assert!(blocks.len() >= 4, "{}", blocks.len());
    for Block { place, text } in blocks {
        let has = |header: &str| text.lines().any(|line| line.starts_with(header));
        let needed = NEEDED.iter().filter(|(header, _)| !has(header));
        let config = needed.fold(text.clone(), |config, (_, table)| config + table);
        // Where the configuration is: here, in the folder of this test.
        let config = config.replace("\"/etc/logpushd/", "\"");
        setup.write("logpushd.toml", &config);
        let finished = finish(logpushd().args(["validate", "-c"]).arg(setup.config()));
        assert_eq!(finished.exit, Exit::Code(0), "{place}\n{config}\n{}", finished.stderr);
    }
}

/// Links from one page to another, or to a file beside the documentation.
#[test]
fn links_lead_somewhere() {
    for file in markdown(&repository("docs")) {
        let text = fs::read_to_string(&file).unwrap();
        for behind in text.split("](").skip(1) {
            let target = behind.split(')').next().unwrap();
            let path = target.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") || path.contains(' ') {
                continue;
            }
            let there = file.parent().unwrap().join(path);
            assert!(there.exists(), "{}: {target}", file.display());
        }
    }
}
