//! Checks what the daemon's user can read and write, by owners and modes. Used when root runs
//! `validate`.
//!
//! Files with an access control list are not reported, because modes do not decide there.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::{fs::getxattr, io::Errno};

use super::{
    directories::{self, TargetKind, WriteTarget},
    secrets,
    service_user::{Ids, ServiceUser},
};
use crate::config::{Diagnostic, Document};

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;
const SEARCH: u32 = 0o1;

/// The directories of credentials. systemd passes them to the daemon, whatever their permissions.
const CREDENTIALS: [&str; 2] = ["/etc/logpushd/credentials", "/run/credentials"];

/// Warns about what `user` cannot write or read.
pub(super) fn of(user: &ServiceUser, document: &Document) -> Vec<Diagnostic> {
    let targets = directories::targets(&document.config);
    let writes = targets.iter().filter_map(|target| {
        let (message, hint) = match user {
            ServiceUser::Named(ids) => unwritable(ids, target)?,
            ServiceUser::Dynamic { writable } => outside(writable, &target.path)?,
        };
        Some(document.warning(&target.key, message).hint(hint))
    });
    let files = secrets::inputs(&document.config);
    let reads = files.iter().filter_map(|(key, path)| {
        let (message, hint) = unreadable(user, path)?;
        Some(document.warning(key, message).hint(hint))
    });
    writes.chain(reads).collect()
}

fn unwritable(ids: &Ids, WriteTarget { path, kind, .. }: &WriteTarget) -> Option<(String, String)> {
    if ids.created.iter().any(|directory| path.starts_with(directory)) {
        return None;
    }
    let (existing, metadata) = directories::nearest(path)?;
    let (user, shown) = (&ids.name, path.display());
    if let Some(directory) = unsearchable(ids, existing) {
        return Some(closed(user, path, &directory));
    }
    let wanted = if metadata.is_dir() { WRITE | SEARCH } else { WRITE };
    if allows(ids, existing, &metadata, wanted) != Some(false) {
        return None;
    }
    let (message, hint) = if existing == *path {
        let message = format!("the daemon's user `{user}` cannot write to `{shown}`");
        (message, format!("chown {user} {shown}"))
    } else {
        let existing = existing.display();
        let message = format!("the daemon's user `{user}` cannot create `{shown}` in `{existing}`");
        let directory =
            if *kind == TargetKind::Directory { Some(path.as_path()) } else { path.parent() };
        let directory = directory.unwrap_or(path).display();
        (message, format!("install -d -o {user} {directory}"))
    };
    Some((message, hint))
}

/// Returns why a unit with a dynamic user cannot write to `path`, and what to do.
fn outside(writable: &[PathBuf], path: &Path) -> Option<(String, String)> {
    if writable.iter().any(|open| path.starts_with(open)) {
        return None;
    }
    let open: Vec<_> = writable.iter().map(|path| path.display().to_string()).collect();
    let message = format!(
        "the daemon cannot write to `{}`: logpushd.service allows only {}",
        path.display(),
        open.join(" and ")
    );
    let hint = "use a directory in one of these, or add ReadWritePaths= with systemctl edit \
                logpushd and a static user (readers.conf)";
    Some((message, hint.to_owned()))
}

fn unreadable(user: &ServiceUser, path: &Path) -> Option<(String, String)> {
    if CREDENTIALS.iter().any(|directory| path.starts_with(directory)) {
        return None;
    }
    let metadata = path.metadata().ok()?;
    let nobody = Ids::nobody();
    let (ids, advice) = match user {
        ServiceUser::Named(ids) => (ids, None),
        ServiceUser::Dynamic { .. } => (
            &nobody,
            Some("put it in /etc/logpushd/credentials, which systemd copies for the daemon"),
        ),
    };
    let (name, shown) = (&ids.name, path.display());
    if let Some(directory) = unsearchable(ids, path) {
        let (message, hint) = closed(name, path, &directory);
        return Some((message, advice.map_or(hint, str::to_owned)));
    }
    if allows(ids, path, &metadata, READ) != Some(false) {
        return None;
    }
    let message = format!("the daemon's user `{name}` cannot read `{shown}`");
    Some((message, advice.map_or(format!("chown {name} {shown}"), str::to_owned)))
}

/// Returns the first parent directory of `path` that cannot be searched.
fn unsearchable(ids: &Ids, path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    let mut closed: Vec<_> = real.ancestors().skip(1).collect();
    closed.retain(|directory| {
        let metadata = directory.metadata();
        metadata.is_ok_and(|metadata| allows(ids, directory, &metadata, SEARCH) == Some(false))
    });
    closed.last().map(|directory| directory.to_path_buf())
}

fn closed(user: &str, path: &Path, directory: &Path) -> (String, String) {
    let (shown, directory) = (path.display(), directory.display());
    let message = format!(
        "the daemon's user `{user}` cannot reach `{shown}`: it cannot search `{directory}`"
    );
    (message, format!("chmod o+x {directory}, or use another directory"))
}

/// Returns whether the user has all permissions in `wanted`. `None` if the file has an access
/// control list.
fn allows(ids: &Ids, path: &Path, file: &Metadata, wanted: u32) -> Option<bool> {
    if ids.user == Some(0) {
        return Some(true);
    }
    let mut value = [0; 1];
    // Any other answer can mean that a list exists.
    match getxattr(path, "system.posix_acl_access", &mut value[..]) {
        Err(Errno::NODATA | Errno::NOTSUP) => {}
        _ => return None,
    }
    let shift = if ids.user == Some(file.uid()) {
        6
    } else if ids.groups.contains(&file.gid()) {
        3
    } else {
        0
    };
    Some(file.mode() >> shift & wanted == wanted)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn owner_group_and_mode_decide() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let metadata = |mode| {
            let permissions =
                <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
            fs::set_permissions(dir.path(), permissions).unwrap();
            dir.path().metadata().unwrap()
        };
        let (own, group) = {
            let it = metadata(0o700);
            (it.uid(), it.gid())
        };
        let ids = |user: u32, groups: &[u32]| Ids {
            name: "x".into(),
            user: Some(user),
            groups: groups.to_vec(),
            created: Vec::new(),
        };
        let other = (own + 1).max(1);
        let owner = if own == 0 { None } else { Some(ids(own, &[])) };
        for (who, mode, expected) in [
            (ids(other, &[]), 0o755, false),
            (ids(other, &[]), 0o757, true),
            (ids(other, &[group]), 0o775, true),
            (ids(other, &[group]), 0o757, false),
            (ids(0, &[]), 0o000, true),
            (Ids::nobody(), 0o700, false),
        ] {
            let allows = allows(&who, dir.path(), &metadata(mode), WRITE | SEARCH);
            assert_eq!(allows, Some(expected), "{mode:o} {who:?}");
        }
        if let Some(owner) = owner {
            assert_eq!(allows(&owner, dir.path(), &metadata(0o577), WRITE), Some(false));
        }
        metadata(0o700);
    }
}
