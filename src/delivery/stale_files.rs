//! Drops stale file positions from checkpoints at startup.
//!
//! A sink assumes that it wrote everything after the length that it remembers of a file. That is
//! true only if no other sink has written to the file since.

use std::{fs, io, path::Path};

use tracing::{info, warn};

use super::checkpoint::CheckpointFile;
use crate::{
    config::Config,
    durable,
    sink::{self, SinkKind},
};

/// Removes the files that a sink no longer writes to with `config` from the checkpoints in
/// `cursors`. Another sink may write to them from now on, and the first sink, if it is configured
/// again, would take those records for its own. Its position in the spool stays.
///
/// Must run at startup before any delivery. Until the next startup, no other sink gets these files.
///
/// # Errors
/// The directory cannot be read, or a stale checkpoint can neither be written nor removed.
pub fn forget_stale_files(cursors: &Path, config: &Config) -> io::Result<()> {
    for file in fs::read_dir(cursors).map_err(durable::error_at("reading", cursors))? {
        let path = file.map_err(durable::error_at("reading", cursors))?.path();
        if let Some(name) = sink_name(&path) {
            let configured = config.sinks.iter().find(|sink| sink.name == name);
            forget_files_of(name, cursors, configured.map(|sink| &sink.kind))?;
        }
    }
    Ok(())
}

fn forget_files_of(name: &str, cursors: &Path, kind: Option<&SinkKind>) -> io::Result<()> {
    let file = CheckpointFile::new(cursors, name);
    let mut checkpoint = file.load();
    let valid = sink::valid_state(kind, &checkpoint.state);
    if checkpoint.state == valid {
        return Ok(());
    }
    checkpoint.state = valid;
    let Err(error) = file.store(&checkpoint) else {
        info!(sink = name, "stale file positions removed from a checkpoint");
        return Ok(());
    };
    // Removing works on a full disk, which must not prevent a start. Records may be delivered
    // twice.
    file.remove()?;
    warn!(sink = name, %error, "removed a checkpoint that cannot be written");
    Ok(())
}

/// Returns the name of the sink whose checkpoint a file is. Returns `None` for the quarantine,
/// whose files no sink writes to.
fn sink_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
    // The list of the files that a sink has made is called NAME.files.json.
    let is_name = !name.is_empty() && !name.contains(['.', '@']);
    (is_name && path.is_file()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        delivery::checkpoint::Checkpoint,
        sink::{FilePosition, FileState, State},
    };

    fn config() -> Config {
        let text = "[server.tls]\nself_signed = true\n[spool]\ndir = \"/s\"\n\
                    [endpoint.main]\npath = \"/l/{dataset}\"\nauth = \"none\"\n\
                    [sink.here.file]\npath = \"/out/{dataset}\"\n[sink.out.stdout]\n";
        config::check_text(Path::new("/etc/logpushd/logpushd.toml"), text).unwrap()
    }

    fn mark(pattern: &str) -> FilePosition {
        let (path, pattern) = (String::from("/out/a"), pattern.to_owned());
        FilePosition { path, pattern, inode: 7, length: 8, born: None, made: None }
    }

    #[test]
    fn stale_files_are_removed_and_the_position_in_the_spool_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = |name: &str, patterns: &[&str]| {
            let files = patterns.iter().map(|pattern| mark(pattern)).collect();
            let state = State::of(&FileState { files }).unwrap();
            let checkpoint = Checkpoint { batch: 42, state, ..Checkpoint::default() };
            CheckpointFile::new(dir.path(), name).store(&checkpoint).unwrap();
        };
        store("here", &["/out/{dataset}", "/out/{endpoint}", ""]);
        for name in ["out", "away", "@quarantine", "away.files"] {
            store(name, &["/out/{dataset}"]);
        }
        forget_stale_files(dir.path(), &config()).unwrap();
        let left = |name: &str| {
            let checkpoint = CheckpointFile::new(dir.path(), name).load();
            assert_eq!(checkpoint.batch, 42, "{name}");
            checkpoint.state.read::<FileState>().files
        };
        assert_eq!(left("here"), [mark("/out/{dataset}")]);
        for name in ["out", "away"] {
            assert_eq!(left(name), [], "{name}");
        }
        for name in ["@quarantine", "away.files"] {
            assert_eq!(left(name).len(), 1, "{name}");
        }
    }

    #[test]
    fn files_that_are_not_checkpoints_do_not_prevent_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("damaged.json"), "{\"batch\":").unwrap();
        fs::write(at("notes.txt"), "notes").unwrap();
        fs::write(at(".json"), "notes").unwrap();
        fs::write(at("away.new"), "{").unwrap();
        fs::create_dir(at("directory.json")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling.json")).unwrap();
        // Opening it for reading would block.
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe.json"), mode).unwrap();
        forget_stale_files(dir.path(), &config()).unwrap();
        assert!(at("damaged.damaged").exists() && !at("damaged.json").exists());
        for name in ["notes.txt", ".json", "away.new", "directory.json", "pipe.json"] {
            assert!(at(name).exists(), "{name}");
        }
        forget_stale_files(&at("nowhere"), &config()).unwrap_err();
    }
}
