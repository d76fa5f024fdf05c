//! Users and groups, by name or number.

use std::{fs, path::Path};

use settings::{Context, Diagnostic, Spanned, Value, reference::Takes, setting};

setting! {
    /// A user ID.
    pub struct User(u32): Takes::String("user"), read by user;
}

setting! {
    /// A group ID.
    pub struct Group(u32): Takes::String("group"), read by group;
}

fn user(value: &Value<'_>, cx: &mut Context) -> Option<u32> {
    id(&value.string(cx)?, ("user", "/etc/passwd"), cx)
}

fn group(value: &Value<'_>, cx: &mut Context) -> Option<u32> {
    id(&value.string(cx)?, ("group", "/etc/group"), cx)
}

/// Returns the ID of a name, or the ID itself.
///
/// Names are looked up in the local file only: directory services would need a C library, and could
/// make the start wait for the network. If no files are read, every name has ID 0, which is not
/// used.
fn id(text: &Spanned<String>, (kind, file): (&str, &str), cx: &mut Context) -> Option<u32> {
    let name = text.get_ref();
    let number = name.parse::<u32>();
    // To chown(2), the highest number means no change.
    let id = match number {
        Ok(id) => Some(id).filter(|id| *id < u32::MAX && !name.starts_with('+')),
        Err(_) if !cx.reads_files() => return Some(0),
        Err(_) => look_up(name, Path::new(file)),
    };
    if id.is_none() {
        let message = format!("there is no {kind} `{}` in {file}", name.escape_debug());
        cx.push(
            Diagnostic::at(text.span(), message)
                .hint("create it, or write its number if it is in a directory service"),
        );
    }
    id
}

/// Returns the ID of a name. Both files have lines `NAME:PASSWORD:ID:...`.
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
    fn only_whole_names_match() {
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
