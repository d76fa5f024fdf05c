//! Users and groups, by name or by number.

use std::{fs, path::Path};

use settings::{Context, Diagnostic, Spanned, Value, reference::Takes, setting};

setting! {
    /// The number of a user.
    pub struct User(u32): Takes::String("user"), read by user;
}

setting! {
    /// The number of a group, likewise.
    pub struct Group(u32): Takes::String("group"), read by group;
}

fn user(value: &Value<'_>, cx: &mut Context) -> Option<u32> {
    id(&value.string(cx)?, ("user", "/etc/passwd"), cx)
}

fn group(value: &Value<'_>, cx: &mut Context) -> Option<u32> {
    id(&value.string(cx)?, ("group", "/etc/group"), cx)
}

/// The id that a name stands for, or that is written as a number.
///
/// Names are looked up in the system's own file: to ask every directory service that a machine may
/// have takes a C library, and would make the start of the daemon wait for a network. Where no file is read, any
/// number stands for a name: nothing is done with it.
fn id(text: &Spanned<String>, (kind, file): (&str, &str), cx: &mut Context) -> Option<u32> {
    let name = text.get_ref();
    let number = name.parse::<u32>();
    // The highest stands for "leave it as it is".
    let id = match number {
        Ok(id) => Some(id).filter(|id| *id < u32::MAX && !name.starts_with('+')),
        Err(_) if !cx.reads_files() => return Some(0),
        Err(_) => look_up(name, Path::new(file)),
    };
    if id.is_none() {
        let message = format!("there is no {kind} `{}` in {file}", name.escape_debug());
        cx.push(
            Diagnostic::at(text.span(), message)
                .hint("make it, or write its number if a directory service knows it"),
        );
    }
    id
}

/// Both files have lines NAME:PASSWORD:ID:...
fn look_up(name: &str, file: &Path) -> Option<u32> {
    let text = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        fs::write(&file, "root:x:0:0:root:/root:/bin/bash\n\nbroken\nlog:x:12:13:Log:/:\n")
            .unwrap();
        assert_eq!(look_up("root", &file), Some(0));
        assert_eq!(look_up("log", &file), Some(12));
        for name in ["", "lo", "logs", "broken", "x"] {
            assert_eq!(look_up(name, &file), None, "{name}");
        }
        assert_eq!(look_up("root", &dir.path().join("none")), None);
    }
}
