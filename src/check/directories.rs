//! Checks the permissions of the directories and files that the daemon writes to.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    process::geteuid,
};

use crate::{
    config::{Config, Diagnostic, Document},
    sink::template::PathTemplate,
};

/// A path that the daemon writes to, and its key.
pub(super) struct WriteTarget {
    pub(super) key: String,
    pub(super) path: PathBuf,
    pub(super) kind: TargetKind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TargetKind {
    Directory,
    File,
}

/// Warns about directories and files that cannot be written. As root, this finds only read-only
/// filesystems.
pub(super) fn writable(document: &Document) -> Vec<Diagnostic> {
    targets(&document.config)
        .iter()
        .filter_map(|target| fault(target).map(|fault| (target, fault)))
        .map(|(target, (message, hint))| document.warning(&target.key, message).hint(hint))
        .collect()
}

/// Returns all directories and files that the daemon writes to.
pub(super) fn targets(config: &Config) -> Vec<WriteTarget> {
    let directory = |key: &str, path: &Path| WriteTarget {
        key: key.to_owned(),
        path: path.to_owned(),
        kind: TargetKind::Directory,
    };
    let mut targets = vec![
        directory("spool.dir", &config.spool.dir),
        directory("quarantine.dir", &config.quarantine.dir),
    ];
    if let Some(acme) = &config.server.tls.acme {
        targets.push(directory("server.tls.acme.cache_dir", &acme.cache_dir));
    }
    if let Some(path) = &config.log.audit_file {
        let (key, path) = ("log.audit_file".to_owned(), path.clone());
        targets.push(WriteTarget { key, path, kind: TargetKind::File });
    }
    for sink in &config.sinks {
        let Some(files) = sink.kind.claims().files else { continue };
        let Ok(template) = PathTemplate::parse(files.pattern) else { continue };
        let key = sink.full_name(files.key);
        // A path without placeholders is one file. Otherwise the sink creates directories in the
        // base.
        targets.push(match template.base() {
            Some(path) => WriteTarget { key, path, kind: TargetKind::Directory },
            None => WriteTarget { key, path: template.sample(), kind: TargetKind::File },
        });
    }
    targets
}

/// Returns why a target cannot be written, and what to do.
fn fault(WriteTarget { path, kind, .. }: &WriteTarget) -> Option<(String, String)> {
    let (existing, metadata) = nearest(path)?;
    let shown = path.display();
    let is_whole = existing == *path;
    if is_whole && *kind == TargetKind::File {
        if metadata.is_dir() {
            let message = format!("`{shown}` is a directory, not a file");
            return Some((message, "name a file in it".to_owned()));
        }
    } else if !metadata.is_dir() {
        let message = format!("`{}` is not a directory", existing.display());
        let hint = "remove that file, or choose another directory".to_owned();
        return Some((message, hint));
    }
    let wanted =
        if metadata.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
    let error = accessat(CWD, existing, wanted, AtFlags::EACCESS).err()?;
    let user = user();
    let message = if is_whole {
        format!("{user} cannot write to `{shown}`: {}", io::Error::from(error))
    } else {
        let existing = existing.display();
        format!("{user} cannot create `{shown}` in `{existing}`: {}", io::Error::from(error))
    };
    let hint = if error == rustix::io::Errno::ROFS {
        "mount the file system read-write, or add the directory to ReadWritePaths= in the systemd \
         unit"
            .to_owned()
    } else if is_whole {
        format!("make it writable for the user that runs the daemon: chown USER {shown}")
    } else {
        format!("create it for the user that runs the daemon: install -d -o USER {shown}")
    };
    Some((message, format!("{hint}; if the daemon runs as another user, validate as that user")))
}

/// Returns the existing part of a path.
pub(super) fn nearest(path: &Path) -> Option<(&Path, std::fs::Metadata)> {
    path.ancestors().find_map(|path| match path.metadata() {
        Ok(metadata) => Some((path, metadata)),
        Err(_) => None,
    })
}

/// Returns the user of this process, for which the directories were checked.
pub(super) fn user() -> String {
    let id = geteuid().as_raw();
    if id == 0 { "root".to_owned() } else { format!("user {id}") }
}
