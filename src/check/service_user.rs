//! Finds the daemon's user in the systemd unit and in /etc/passwd. Reads only these files, and
//! queries neither systemd nor a directory service.

use std::{fs, path::Path, path::PathBuf};

use crate::fatal::Fatal;

/// The user name in the unit and in the documentation.
const NAME: &str = "logpushd";

/// The directories of units, in order of precedence.
const UNITS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// The user of the daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServiceUser {
    /// A user in /etc/passwd.
    Named(Ids),
    /// A dynamic user (`DynamicUser=yes`), which owns only the directories that the unit creates.
    Dynamic {
        /// The directories that the user can write to.
        writable: Vec<PathBuf>,
    },
}

/// The IDs of a user in /etc/passwd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ids {
    /// The name.
    pub name: String,
    /// The user ID. `None` for a user that owns nothing.
    pub(super) user: Option<u32>,
    /// The group IDs, the primary group first.
    pub(super) groups: Vec<u32>,
    /// The directories that the unit creates for the user.
    pub(super) created: Vec<PathBuf>,
}

impl Ids {
    /// Returns a dynamic user, which is neither owner nor in the group of any file.
    pub(super) fn nobody() -> Self {
        Self { name: NAME.to_owned(), user: None, groups: Vec::new(), created: Vec::new() }
    }
}

impl ServiceUser {
    /// Returns the user called `name`.
    ///
    /// # Errors
    /// The user does not exist.
    pub fn named(name: &str) -> Result<Self, Fatal> {
        let none = || Fatal::Usage(format!("--user {name}: no such user in /etc/passwd"));
        ids(Path::new("/"), name).map(Self::Named).ok_or_else(none)
    }

    /// Returns the user in the unit if `config` is the unit's configuration, otherwise the user
    /// `logpushd`. `root` is `/`, except in tests.
    pub fn find(root: &Path, config: &Path) -> Option<Self> {
        let of_unit = || {
            let is_of_unit = config.canonicalize().ok()? == root.join("etc/logpushd/logpushd.toml");
            let unit = Unit::read(root).filter(|_| is_of_unit)?;
            if unit.is("DynamicUser") {
                return Some(Self::Dynamic { writable: unit.writable() });
            }
            ids(root, unit.last("User")?).map(Self::Named)
        };
        of_unit().or_else(|| ids(root, NAME).map(Self::Named))
    }
}

/// Returns the IDs of a user, with the groups that list it.
fn ids(root: &Path, name: &str) -> Option<Ids> {
    let passwd = fs::read_to_string(root.join("etc/passwd")).ok()?;
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let (user, group) = users.find_map(|fields| match fields.as_slice() {
        [own, _, user, group, ..] if *own == name => {
            Some((user.parse().ok()?, group.parse().ok()?))
        }
        _ => None,
    })?;
    let list = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    let others = list.lines().filter_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
        [_, _, group, members] if members.split(',').any(|member| member == name) => {
            group.parse().ok()
        }
        _ => None,
    });
    let groups = [group].into_iter().chain(others).collect();
    let unit = Unit::read(root).filter(|unit| unit.last("User") == Some(name));
    let created = unit.map(|unit| unit.created()).unwrap_or_default();
    Some(Ids { name: name.to_owned(), user: Some(user), groups, created })
}

/// The settings of the unit, followed by those of its drop-ins.
struct Unit(Vec<(String, String)>);

impl Unit {
    fn read(root: &Path) -> Option<Self> {
        let unit = format!("{NAME}.service");
        let mut text =
            UNITS.iter().find_map(|dir| fs::read_to_string(root.join(dir).join(&unit)).ok())?;
        for dir in UNITS.iter().rev() {
            let drop_ins = fs::read_dir(root.join(dir).join(format!("{unit}.d")));
            let files = drop_ins.into_iter().flatten().filter_map(|file| Some(file.ok()?.path()));
            let mut files: Vec<_> = files
                .filter(|file| file.extension().is_some_and(|extension| extension == "conf"))
                .collect();
            files.sort();
            for file in files {
                text.push('\n');
                text.push_str(&fs::read_to_string(file).unwrap_or_default());
            }
        }
        let settings = text.lines().filter(|line| !line.trim_start().starts_with(['#', ';']));
        let settings = settings.filter_map(|line| line.split_once('='));
        Some(Self(settings.map(|(key, value)| (key.trim().into(), value.trim().into())).collect()))
    }

    /// Returns the last value of a setting, which is the one in effect.
    fn last(&self, key: &str) -> Option<&str> {
        let mut values = self.0.iter().rev().filter(|(own, _)| own == key);
        values.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn is(&self, key: &str) -> bool {
        matches!(self.last(key), Some("yes" | "true" | "on" | "1"))
    }

    /// Returns the words of a list setting. An empty value resets the list.
    fn list(&self, key: &str) -> Vec<&str> {
        let mut words = Vec::new();
        for (_, value) in self.0.iter().filter(|(own, _)| own == key) {
            if value.is_empty() {
                words.clear();
            }
            words.extend(value.split_whitespace());
        }
        words
    }

    /// Returns the directories that the unit creates for its user.
    fn created(&self) -> Vec<PathBuf> {
        let created = [
            ("StateDirectory", "/var/lib"),
            ("LogsDirectory", "/var/log"),
            ("CacheDirectory", "/var/cache"),
            ("RuntimeDirectory", "/run"),
        ];
        let created = created.into_iter().flat_map(|(key, parent)| {
            let names = self.list(key).into_iter();
            names.map(move |name| Path::new(parent).join(name.split(':').next().unwrap_or(name)))
        });
        created.collect()
    }

    /// Returns all directories that the daemon can write to.
    fn writable(&self) -> Vec<PathBuf> {
        let opened = self.list("ReadWritePaths").into_iter();
        let opened = opened.map(|path| PathBuf::from(path.trim_start_matches(['-', '+'])));
        self.created().into_iter().chain(opened).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const CONFIG: &str = "etc/logpushd/logpushd.toml";
    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nlogpushd:x:998:997::/:/bin/false\nalice:x:5:6::/:\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,logpushd\nlogpushd:x:997:\nstaff:x:50:alice\n";

    #[test]
    fn user_of_the_unit_takes_precedence_over_the_default_name() {
        let unit = include_str!("../../pkg/systemd/logpushd.service");
        let readers = include_str!("../../pkg/systemd/examples/readers.conf");
        let files = [
            (CONFIG, ""),
            ("other.toml", ""),
            ("usr/lib/systemd/system/logpushd.service", unit),
            ("etc/passwd", PASSWD),
            ("etc/group", GROUP),
        ];
        let dir = root(&files);
        let find = |name: &str| {
            let root = dir.path().canonicalize().unwrap();
            ServiceUser::find(&root, &root.join(name))
        };
        let named = |created: &[PathBuf]| {
            let (name, groups) = (NAME.into(), vec![997, 4]);
            Some(ServiceUser::Named(Ids {
                name,
                user: Some(998),
                groups,
                created: created.to_vec(),
            }))
        };
        let writable: Vec<PathBuf> = vec!["/var/lib/logpushd".into(), "/var/log/logpushd".into()];
        let created = writable.clone();
        assert_eq!(find(CONFIG), Some(ServiceUser::Dynamic { writable }));
        assert_eq!(find("other.toml"), named(&[]));
        let drop_ins = dir.path().join("etc/systemd/system/logpushd.service.d");
        fs::create_dir_all(&drop_ins).unwrap();
        fs::write(drop_ins.join("a.conf"), "[Service]\nReadWritePaths=/srv -/mnt/logs\n").unwrap();
        let Some(ServiceUser::Dynamic { writable }) = find(CONFIG) else { panic!() };
        assert!(writable.ends_with(&["/srv".into(), "/mnt/logs".into()]), "{writable:?}");
        fs::write(drop_ins.join("readers.conf"), readers).unwrap();
        assert_eq!(find(CONFIG), named(&created));
        fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:/\n").unwrap();
        assert_eq!(find(CONFIG), None);
    }
}
