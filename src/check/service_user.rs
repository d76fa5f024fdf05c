//! The user that runs the daemon, where it is not the one that runs `validate`: from /etc/passwd and the
//! systemd unit, as files. Nothing is asked of systemd or of a directory service.

use std::{fs, path::Path, path::PathBuf};

use crate::fatal::Fatal;

/// The name that the unit and the documents use.
const NAME: &str = "logpushd";

/// Where units are, the one that counts first.
const UNITS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// Who runs the daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServiceUser {
    /// A user of /etc/passwd.
    Named(Ids),
    /// The unit has `DynamicUser=yes`: nothing belongs to the user but what the unit makes for it.
    Dynamic {
        /// The directories that it may write to.
        writable: Vec<PathBuf>,
    },
}

/// A user of /etc/passwd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ids {
    /// The user's name.
    pub name: String,
    /// `None` for one that owns nothing.
    pub(super) user: Option<u32>,
    /// The primary group first.
    pub(super) groups: Vec<u32>,
    /// What the unit makes for the user at each start.
    pub(super) made: Vec<PathBuf>,
}

impl Ids {
    /// The user of a unit with `DynamicUser=yes`: to files it is one of the others.
    pub(super) fn nobody() -> Self {
        Self { name: NAME.to_owned(), user: None, groups: Vec::new(), made: Vec::new() }
    }
}

impl ServiceUser {
    /// The user called `name`.
    ///
    /// # Errors
    /// There is no such user.
    pub fn named(name: &str) -> Result<Self, Fatal> {
        let none = || Fatal::Usage(format!("--user {name}: there is no such user in /etc/passwd"));
        ids(Path::new("/"), name).map(Self::Named).ok_or_else(none)
    }

    /// Who runs the daemon according to `root`, which is `/`: the user of the unit, if `config` is the
    /// unit's configuration, else the user `logpushd`.
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

/// A user's ids, with the groups that list it.
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
    let made = unit.map(|unit| unit.made()).unwrap_or_default();
    Some(Ids { name: name.to_owned(), user: Some(user), groups, made })
}

/// The settings of the unit, with those of its drop-ins behind it.
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

    /// The setting that counts, of one that has a single value.
    fn last(&self, key: &str) -> Option<&str> {
        let mut values = self.0.iter().rev().filter(|(own, _)| own == key);
        values.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn is(&self, key: &str) -> bool {
        matches!(self.last(key), Some("yes" | "true" | "on" | "1"))
    }

    /// The words of a setting that is a list: an empty value resets it.
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

    /// What the unit makes for its user.
    fn made(&self) -> Vec<PathBuf> {
        let made = [
            ("StateDirectory", "/var/lib"),
            ("LogsDirectory", "/var/log"),
            ("CacheDirectory", "/var/cache"),
            ("RuntimeDirectory", "/run"),
        ];
        let made = made.into_iter().flat_map(|(key, parent)| {
            let names = self.list(key).into_iter();
            names.map(move |name| Path::new(parent).join(name.split(':').next().unwrap_or(name)))
        });
        made.collect()
    }

    /// All that the daemon may write to.
    fn writable(&self) -> Vec<PathBuf> {
        let opened = self.list("ReadWritePaths").into_iter();
        let opened = opened.map(|path| PathBuf::from(path.trim_start_matches(['-', '+'])));
        self.made().into_iter().chain(opened).collect()
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
    fn the_user_of_the_unit_comes_before_that_of_the_name() {
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
        let named = |made: &[PathBuf]| {
            let (name, groups) = (NAME.into(), vec![997, 4]);
            Some(ServiceUser::Named(Ids { name, user: Some(998), groups, made: made.to_vec() }))
        };
        let writable: Vec<PathBuf> = vec!["/var/lib/logpushd".into(), "/var/log/logpushd".into()];
        let made = writable.clone();
        assert_eq!(find(CONFIG), Some(ServiceUser::Dynamic { writable }));
        assert_eq!(find("other.toml"), named(&[]));
        let drop_ins = dir.path().join("etc/systemd/system/logpushd.service.d");
        fs::create_dir_all(&drop_ins).unwrap();
        fs::write(drop_ins.join("a.conf"), "[Service]\nReadWritePaths=/srv -/mnt/logs\n").unwrap();
        let Some(ServiceUser::Dynamic { writable }) = find(CONFIG) else { panic!() };
        assert!(writable.ends_with(&["/srv".into(), "/mnt/logs".into()]), "{writable:?}");
        fs::write(drop_ins.join("readers.conf"), readers).unwrap();
        assert_eq!(find(CONFIG), named(&made));
        fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:/\n").unwrap();
        assert_eq!(find(CONFIG), None);
    }
}
