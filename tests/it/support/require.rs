//! Programs and files that tests need of the machine, and skipping of tests without them.
//!
//! Each [`Part`] names the Debian package that has it: add a part here, not a check to a test. A
//! part is present when all of it is: a program that can be run, a module that is not empty.

use std::{
    env, fs,
    io::{self, Write as _},
    net::{Ipv6Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use self::Need::{File, Ipv6, Program, Python, Root, Server};

/// A dependency of a test on the machine.
pub(crate) struct Part {
    /// The Debian package, or another way to install it.
    remedy: &'static str,
    needs: &'static [Need],
}

enum Need {
    /// A program, by its name.
    Program(&'static str),
    /// A file in one of these directories; `*` stands for any name.
    File(&'static [&'static str], &'static str),
    /// A module of the Python interpreter that this environment variable names: [`python`].
    Python(&'static str, &'static str),
    /// A program in a Python package: [`server`].
    Server(&'static str),
    Root,
    Ipv6,
}

/// Directories of rsyslog's modules: Debian, Fedora, others.
const RSYSLOG: &[&str] = &["/usr/lib/*/rsyslog", "/usr/lib64/rsyslog", "/usr/lib/rsyslog"];

/// Directories of nginx's modules.
pub(crate) const NGINX_MODULES: &[&str] = &["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"];

/// Directories of libfaketime.
pub(crate) const FAKETIME_DIRECTORIES: &[&str] =
    &["/usr/lib/*/faketime", "/usr/lib64/faketime", "/usr/lib/faketime"];

pub(crate) const CURL: Part = package("curl", &[Program("curl")]);
pub(crate) const GZIP: Part = package("gzip", &[Program("gzip")]);
pub(crate) const H2LOAD: Part = package("nghttp2-client", &[Program("h2load")]);
pub(crate) const OPENSSL: Part = package("openssl", &[Program("openssl")]);
pub(crate) const STRACE: Part = package("strace", &[Program("strace")]);
pub(crate) const LOGROTATE: Part = package("logrotate", &[Program("logrotate")]);
pub(crate) const GROFF: Part = package("groff-base", &[Program("groff")]);
pub(crate) const PEBBLE: Part =
    package("pebble", &[Program("pebble"), Program("pebble-challtestsrv")]);
pub(crate) const LOGNORMALIZER: Part = package("liblognorm-utils", &[Program("lognormalizer")]);
pub(crate) const E2FSPROGS: Part = package("e2fsprogs", &[Program("mkfs.ext4"), Program("e2fsck")]);
pub(crate) const MOUNT: Part =
    package("mount and util-linux", &[Program("mount"), Program("umount"), Program("findmnt")]);
pub(crate) const FSFREEZE: Part = package("util-linux", &[Program("fsfreeze")]);
pub(crate) const SYSTEMD: Part = package("systemd", &[Program("systemd-analyze")]);
pub(crate) const FAIL2BAN: Part = package("fail2ban", &[Program("fail2ban-regex")]);
pub(crate) const JQ: Part = package("jq", &[Program("jq")]);
pub(crate) const PROMTOOL: Part = package("prometheus", &[Program("promtool")]);
pub(crate) const PROMETHEUS: Part = package("prometheus", &[Program("prometheus")]);
pub(crate) const ZSTD: Part = package("zstd", &[Program("zstd")]);
pub(crate) const LNAV: Part = package("lnav", &[Program("lnav")]);
pub(crate) const GOACCESS: Part = package("goaccess", &[Program("goaccess")]);
pub(crate) const LOGTAIL: Part = package("logtail", &[Program("logtail2"), Program("perl")]);
pub(crate) const PROCPS: Part = package("procps", &[Program("pgrep")]);
pub(crate) const SUPERVISOR: Part =
    package("supervisor", &[Program("supervisord"), Program("supervisorctl")]);
pub(crate) const RUNIT: Part = package("runit", &[Program("runsv"), Program("sv")]);
pub(crate) const S6: Part = package("s6", &[Program("s6-supervise"), Program("s6-svstat")]);
pub(crate) const HAPROXY: Part = package("haproxy", &[Program("haproxy")]);
pub(crate) const CADDY: Part = package("caddy", &[Program("caddy")]);
pub(crate) const NGINX: Part = package("nginx", &[Program("nginx")]);
pub(crate) const NGINX_STREAM: Part =
    package("libnginx-mod-stream", &[File(NGINX_MODULES, "ngx_stream_module.so")]);
pub(crate) const LIBFAKETIME: Part =
    package("libfaketime", &[File(FAKETIME_DIRECTORIES, "libfaketimeMT.so.1")]);
pub(crate) const RSYSLOGD: Part = package(
    "rsyslog",
    &[
        Program("rsyslogd"),
        File(RSYSLOG, "imudp.so"),
        File(RSYSLOG, "imtcp.so"),
        File(RSYSLOG, "imptcp.so"),
        File(RSYSLOG, "imuxsock.so"),
        File(RSYSLOG, "imfile.so"),
    ],
);
pub(crate) const RSYSLOG_OPENSSL: Part =
    package("rsyslog-openssl", &[File(RSYSLOG, "lmnsd_ossl.so")]);
pub(crate) const CHDB: Part =
    package("chdb-core for LOGPUSHD_CHDB_PYTHON", &[Python("LOGPUSHD_CHDB_PYTHON", "chdb")]);
pub(crate) const OSMEM: Part =
    package("osmem-server in LOGPUSHD_SERVERS", &[Server("osmem_server/bin/osmem-server")]);
pub(crate) const NOIDA: Part =
    package("noida-db in LOGPUSHD_SERVERS", &[Server("noida_db/noida-db")]);
pub(crate) const ROTEL: Part = package("rotel in LOGPUSHD_SERVERS", &[Server("rotel/rotel-agent")]);
pub(crate) const ROOT: Part = package("sudo", &[Root]);
pub(crate) const IPV6: Part = package("a kernel with IPv6", &[Ipv6]);

const fn package(remedy: &'static str, needs: &'static [Need]) -> Part {
    Part { remedy, needs }
}

/// Whether all parts are present. If not, the test is skipped, or fails where the environment
/// requires the tests with other programs.
#[must_use]
pub(crate) fn has(parts: &[&Part]) -> bool {
    let missing = missing(parts);
    for what in &missing {
        skip(what);
    }
    missing.is_empty()
}

/// The same for parts that cannot be required of a machine: the test is skipped in any case.
#[must_use]
pub(crate) fn happens_to_have(parts: &[&Part]) -> bool {
    let missing = missing(parts);
    for what in &missing {
        skipped(what);
    }
    missing.is_empty()
}

fn missing(parts: &[&Part]) -> Vec<String> {
    let mut missing = Vec::new();
    for part in parts {
        for need in part.needs {
            let remedy = part.remedy;
            match need {
                Program(name) if program(name).is_none() => {
                    missing.push(format!("there is no {name}: install the package {remedy}"));
                }
                File(directories, name) if file_in(directories, name).is_none() => {
                    missing.push(format!("there is no {name}: install the package {remedy}"));
                }
                Python(variable, module) if !has_module(&python(variable), module) => {
                    missing.push(format!("there is no Python with {module}: install {remedy}"));
                }
                Server(name) if server(name).is_none() => {
                    missing.push(format!("there is no {name}: install the package {remedy}"));
                }
                Root if !rustix::process::geteuid().is_root() => {
                    missing.push("only root can do this".to_owned());
                }
                Ipv6 if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() => {
                    missing.push("there is no IPv6 here".to_owned());
                }
                _ => {}
            }
        }
    }
    missing
}

/// The path of an executable program. Daemons are not in every user's `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories =
        env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|path| is_executable(path))
}

/// The path of an executable program in a Python package: below the site-packages of the virtual
/// environment that `LOGPUSHD_SERVERS` names.
pub(crate) fn server(name: &str) -> Option<PathBuf> {
    let pythons = fs::read_dir(Path::new(&env::var_os("LOGPUSHD_SERVERS")?).join("lib")).ok()?;
    let mut programs =
        pythons.flatten().map(|python| python.path().join("site-packages").join(name));
    programs.find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| {
        file.is_file() && file.len() > 0 && file.permissions().mode() & 0o111 != 0
    })
}

/// The Python interpreter that an environment variable names, or `python3`.
pub(crate) fn python(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| "python3".to_owned())
}

/// Whether a module is installed, without the time to import it.
fn has_module(python: &str, module: &str) -> bool {
    let script = format!("import importlib.util as u; exit(not u.find_spec({module:?}))");
    let output = Command::new(python).args(["-c", &script]).output();
    output.is_ok_and(|output| output.status.success())
}

/// The path of a file that is not empty in one of these directories; `*` stands for any name.
pub(crate) fn file_in(directories: &[&str], name: &str) -> Option<PathBuf> {
    let is_whole = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.len() > 0);
    directories.iter().find_map(|directory| match directory.split_once("/*/") {
        None => Some(Path::new(directory).join(name)).filter(is_whole),
        Some((above, below)) => {
            let entries = fs::read_dir(above).ok()?.flatten();
            entries.map(|entry| entry.path().join(below).join(name)).find(is_whole)
        }
    })
}

/// Reports that a test cannot run. Fails instead when the environment requires the tests with other
/// programs.
pub(crate) fn skip(what: &str) {
    let required = env::var("LOGPUSHD_INTEROP").is_ok_and(|value| value == "required");
    assert!(!required, "LOGPUSHD_INTEROP=required, but {what}");
    skipped(what);
}

/// Reports what was not tested: at once, past the capture of the test's output, and in a file that
/// `.ci/run` prints at the end.
#[expect(clippy::explicit_write, reason = "eprintln! is what is captured")]
pub(crate) fn skipped(what: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {what}\n", thread.name().unwrap_or("a test"));
    write!(io::stderr(), "{line}").unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped.txt");
    // One write, so that lines of several tests do not mix.
    let file = fs::File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).ok();
}

#[test]
fn an_unusable_tool_counts_as_missing() {
    const ABSENT: Part = package("absent", &[Program("no-such-program-here")]);
    const EMPTY: Part = package("empty", &[File(&["/proc"], "no-such-module.so")]);
    assert_eq!(
        missing(&[&ABSENT]),
        ["there is no no-such-program-here: install the package absent"]
    );
    assert_eq!(missing(&[&EMPTY]).len(), 1);
    assert!(program("sh").is_some() && missing(&[]).is_empty());
    // A file that is found but is not executable is missing as well.
    assert_eq!(program("../../etc/passwd"), None);
}
