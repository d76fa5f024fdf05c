//! `logpushd man` and `logpushd completions`, read by groff and by the shells.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use crate::support::{Exit, Finished, finish, logpushd, names_in, require, skipped};

fn run(words: &[&str]) -> Finished {
    finish(logpushd().args(words))
}

fn is_missing(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_err()
}

/// The standard error of a program, and whether it succeeded.
fn read_by(program: &str, words: &[&str], text: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn groff_accepts_every_page() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("man/pages");
    let written = run(&["man", "--dir", dir.to_str().unwrap()]);
    assert_eq!(written.exit, Exit::Code(0), "{}", written.stderr);
    let names = names_in(&dir);
    assert_eq!(written.stdout.lines().count(), names.len());
    assert!(names.contains(&"logpushd.toml.5".to_owned()), "{names:?}");
    for name in &names {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        let printed = run(&["man", name]);
        assert_eq!((printed.exit, printed.stdout), (Exit::Code(0), text), "{name}");
    }
    if !require::has(&[&require::GROFF]) {
        return;
    }
    for name in &names {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        // A destination is longer than a line, and is not split.
        let all_but_breaks = ["-man", "-ww", "-Wbreak", "-Kutf8", "-Tutf8"];
        let (_, warnings) = read_by("groff", &all_but_breaks, &text);
        assert_eq!(warnings, "", "{name}");
    }
}

#[test]
fn a_page_that_does_not_exist_is_an_error() {
    let refused = run(&["man", "logpushd-rum"]);
    assert_eq!(refused.exit, Exit::Code(64));
    assert!(refused.stderr.contains("no page `logpushd-rum`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("logpushd-run, "), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
}

#[test]
fn bash_completes_every_command() {
    let script = run(&["completions", "bash"]);
    assert_eq!(script.exit, Exit::Code(0), "{}", script.stderr);
    let ask = "\nCOMP_WORDS=(logpushd '')\nCOMP_CWORD=1\n_logpushd logpushd '' logpushd\n\
               printf '%s\\n' \"${COMPREPLY[@]}\"\n";
    let completed = finish(Command::new("bash").arg("-c").arg(script.stdout + ask));
    assert_eq!((completed.exit, completed.stderr.as_str()), (Exit::Code(0), ""));
    let words: Vec<_> = completed.stdout.lines().collect();
    let cli = logpushd::cli::definition();
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(words.contains(&command.get_name()), "{} of {words:?}", command.get_name());
    }
}

/// Not required by `.ci/run`: contributors who change these scripts test them with the shells.
#[test]
fn zsh_and_fish_accept_their_completions() {
    for shell in ["zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(script.stdout.contains("quarantine"), "{}", script.stderr);
        if is_missing(shell) {
            skipped(&format!("there is no {shell}"));
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        fs::write(&file, script.stdout).unwrap();
        let read = finish(Command::new(shell).arg("-n").arg(&file));
        assert_eq!((read.exit, read.stderr.as_str()), (Exit::Code(0), ""), "{shell}");
    }
}
