//! The synopsis of a command: its options with their values.

use std::collections::HashSet;

use clap::{Arg, ArgAction, ArgGroup, Command, Id};

/// Returns the synopsis of a command in parts between which a line may break, such as
/// `logpushd validate`, `[-c FILE]` and `[--strict]`.
///
/// `command` must have been built, so that it knows its full name.
pub fn synopsis(command: &Command) -> Vec<String> {
    let mut parts = vec![command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned()];
    if command.has_subcommands() {
        parts.push("COMMAND".to_owned());
        return parts;
    }
    let is_shown = |arg: &&Arg| !arg.is_hide_set() && !is_help(arg);
    let options: Vec<_> = command.get_opts().chain(flags(command)).filter(is_shown).collect();
    let mut done = HashSet::new();
    for group in command.get_groups().filter(|group| is_exclusive(group)) {
        let members: HashSet<&Id> = group.get_args().collect();
        let members: Vec<_> = options.iter().filter(|arg| members.contains(arg.get_id())).collect();
        if members.len() > 1 {
            let texts: Vec<_> = members.iter().map(|arg| option(arg)).collect();
            let texts = texts.join(" | ");
            let is_required = group.is_required_set();
            parts.push(if is_required { format!("({texts})") } else { format!("[{texts}]") });
            done.extend(members.iter().map(|arg| arg.get_id().clone()));
        }
    }
    for arg in options.iter().filter(|arg| !done.contains(arg.get_id())) {
        let text = option(arg);
        let text = if arg.is_required_set() { text } else { format!("[{text}]") };
        parts.push(text + repeated(arg));
    }
    for arg in command.get_positionals().filter(is_shown) {
        let name = value_names(arg);
        let name = if arg.is_required_set() { name } else { format!("[{name}]") };
        parts.push(name + repeated(arg));
    }
    parts
}

/// Returns an option with its value, such as `-c FILE`.
pub fn option(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let name = short.or(long).unwrap_or_default();
    let value = value_names(arg);
    if !arg.get_action().takes_values() {
        name
    } else if arg.get_num_args().is_some_and(|count| count.min_values() == 0) {
        format!("{name}[={value}]")
    } else {
        format!("{name} {value}")
    }
}

/// Returns the names of the values that an argument takes.
pub fn value_names(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(clap::builder::Str::as_str).collect::<Vec<_>>().join(" ")
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_flag = |arg: &&Arg| !arg.is_positional() && !arg.get_action().takes_values();
    command.get_arguments().filter(is_flag)
}

fn is_help(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

fn is_exclusive(group: &ArgGroup) -> bool {
    // clap asks for a mutable group to answer this.
    !group.clone().is_multiple()
}

fn repeated(arg: &Arg) -> &'static str {
    if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    fn synopsis_of(path: &[&str]) -> String {
        let mut root = cli::definition();
        root.build();
        let command =
            path.iter().fold(&root, |command, name| command.find_subcommand(name).unwrap());
        synopsis(command).join(" ")
    }

    #[test]
    fn options_have_their_values() {
        let validate = synopsis_of(&["validate"]);
        assert_eq!(
            validate,
            "logpushd validate [-c FILE] [--user NAME] [--strict] [--probe] [--json] [FILE]"
        );
        assert_eq!(synopsis_of(&["spool"]), "logpushd spool COMMAND");
        assert_eq!(synopsis_of(&["completions"]), "logpushd completions SHELL");
    }

    #[test]
    fn required_exclusive_and_repeated_arguments_are_marked() {
        let create = synopsis_of(&["job", "create"]);
        for part in [
            "(--zone ID | --account ID)",
            " --dataset NAME ",
            "[--destination URL|@FILE|- | --endpoint NAME]",
            "[--cve-2021-44228[=BOOL]]",
        ] {
            assert!(create.contains(part), "{part} in {create}");
        }
        let push = synopsis_of(&["push"]);
        assert!(push.contains("[--header HEADER|@FILE|-]..."), "{push}");
        assert!(push.ends_with(" URL|@FILE|- FILE..."), "{push}");
        assert!(!push.contains("--help") && !push.contains("--header-file"), "{push}");
    }
}
