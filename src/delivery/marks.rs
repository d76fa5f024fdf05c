//! Drops what is no longer valid from the checkpoints at a start: a sink knows what follows the length
//! that it remembers of a file only if no other sink has had the file since.

use std::{fs, io, path::Path};

use tracing::{info, warn};

use super::checkpoint::CheckpointFile;
use crate::{
    config::Config,
    durable,
    sink::{self, SinkKind},
};

/// Takes the files out of the checkpoints in `cursors` that the sink of that name does not write to
/// as `config` has it. Another one may write to them from now on, and the sink, should it come back,
/// would take those records for its own. Its place in the spool stays.
///
/// Before anything is delivered, and only at a start: until the next one no other sink gets the files.
///
/// # Errors
/// The folder cannot be read, or neither be written to nor removed from.
pub fn forget_files(cursors: &Path, config: &Config) -> io::Result<()> {
    for file in fs::read_dir(cursors).map_err(durable::error_at("reading", cursors))? {
        let path = file.map_err(durable::error_at("reading", cursors))?.path();
        if let Some(name) = sink_name(&path) {
            let described = config.sinks.iter().find(|sink| sink.name == name);
            forget_files_of(name, cursors, described.map(|sink| &sink.kind))?;
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
        info!(sink = name, "forgot how long the files were that the sink no longer writes to");
        return Ok(());
    };
    // A full disk has room for that, and is no reason not to start: what waits may come twice.
    file.remove()?;
    warn!(sink = name, %error, "removed a checkpoint that cannot be written");
    Ok(())
}

/// The sink whose checkpoint a file is. Quarantine's is none: nobody else has its files.
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
        sink::{FileState, Mark, State},
    };

    fn config() -> Config {
        let text = "[server.tls]\nself_signed = true\n[spool]\ndir = \"/s\"\n\
                    [endpoint.main]\npath = \"/l/{dataset}\"\nauth = \"none\"\n\
                    [sink.here.file]\npath = \"/out/{dataset}\"\n[sink.out.stdout]\n";
        config::check_text(Path::new("/etc/logpushd/logpushd.toml"), text).unwrap()
    }

    fn mark(pattern: &str) -> Mark {
        let (path, pattern) = (String::from("/out/a"), pattern.to_owned());
        Mark { path, pattern, inode: 7, length: 8, born: None, made: None }
    }

    #[test]
    fn files_that_a_sink_may_have_lost_to_another_are_forgotten_and_its_place_is_not() {
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
        forget_files(dir.path(), &config()).unwrap();
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
    fn what_is_no_checkpoint_keeps_nobody_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("damaged.json"), "{\"batch\":").unwrap();
        fs::write(at("notes.txt"), "notes").unwrap();
        fs::write(at(".json"), "notes").unwrap();
        fs::write(at("away.new"), "{").unwrap();
        fs::create_dir(at("folder.json")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("dangling.json")).unwrap();
        // To read it would be to wait.
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe.json"), mode).unwrap();
        forget_files(dir.path(), &config()).unwrap();
        assert!(at("damaged.damaged").exists() && !at("damaged.json").exists());
        for name in ["notes.txt", ".json", "away.new", "folder.json", "pipe.json"] {
            assert!(at(name).exists(), "{name}");
        }
        forget_files(&at("nowhere"), &config()).unwrap_err();
    }
}
