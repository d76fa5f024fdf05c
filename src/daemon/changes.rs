//! Compares the old and the new configuration for a reload: the changed keys, those that need a
//! restart, and the changes of the sinks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use super::{parts, sinks::Plan};
use crate::{
    config::{Acme, Config, Endpoint, SinkConfig},
    delivery::{self, Delivery},
    metrics::Metrics,
    sink::{
        SinkEnvironment,
        paths::{self, SinkFiles},
    },
    spool::Spool,
    tls,
};

/// The files that each sink may have written to since startup, by the sink's name.
pub(super) type Writers = Vec<(String, SinkFiles)>;

/// Returns the keys that were changed, added or removed.
pub(super) fn differences(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

/// Returns the new configuration with the old values of the keys that need a restart, and the names
/// of those keys that have changed.
pub(super) fn without_restart(old: &Config, mut new: Config) -> (Config, Vec<&'static str>) {
    let mut keys = Vec::new();
    let mut keep = |key, differs: bool| {
        if differs {
            keys.push(key);
        }
    };
    keep("server.address", new.server.addresses != old.server.addresses);
    keep("admin.address", new.admin.address != old.admin.address);
    keep("admin.allowed_hosts", new.admin.allowed_hosts != old.admin.allowed_hosts);
    keep("spool.dir", new.spool.dir != old.spool.dir);
    keep("quarantine.dir", new.quarantine.dir != old.quarantine.dir);
    keep("log.format", new.log.format != old.log.format);
    keep("log.audit_file", new.log.audit_file != old.log.audit_file);
    new.server.addresses.clone_from(&old.server.addresses);
    new.admin.clone_from(&old.admin);
    keep_cache(&mut new, &old.spool.dir);
    new.spool.dir.clone_from(&old.spool.dir);
    new.quarantine.dir.clone_from(&old.quarantine.dir);
    new.log.format = old.log.format;
    new.log.audit_file.clone_from(&old.log.audit_file);
    (new, keys)
}

/// Keeps the default cache directory of ACME below the old `spool.dir`. With another directory, the
/// daemon would order a certificate that is used only after a restart.
fn keep_cache(new: &mut Config, old_spool: &Path) {
    let tls = &mut new.server.tls;
    let Some(acme) = &mut tls.acme else { return };
    if acme.cache_dir == Acme::default_cache_dir(&new.spool.dir) {
        acme.cache_dir = Acme::default_cache_dir(old_spool);
        tls.cert_file = acme.certificate_file();
        tls.key_file = acme.certificate_file();
    }
}

/// Checks new and changed sinks for problems that would otherwise show only after the old ones have
/// ended.
pub(super) fn check_sinks(
    path: &Path,
    old: &Config,
    new: &Config,
    lingering: &BTreeSet<String>,
) -> Result<(), String> {
    let path = path.display();
    for sink in new.sinks.iter().filter(|sink| !old.sinks.contains(sink)) {
        let name = &sink.name;
        if lingering.contains(name) {
            return Err(format!(
                "{path}: sink.{name}: a removed sink of this name is still busy with a batch; reload \
                 later, use another name, or restart"
            ));
        }
        if let Some(claim) = sink.kind.claims().tls.filter(|tls| tls.is_used)
            && let Err(error) = tls::client(claim.files)
        {
            return Err(format!("{path}: {}: {error}", sink.full_name("tls")));
        }
    }
    Ok(())
}

/// Adds the file sinks of a configuration.
///
/// A sink assumes that it wrote everything after the length that it remembers of a file. If another
/// sink wrote there meanwhile, it would skip records that are equal. Also, a sink that did not end
/// in time may still be writing.
///
/// # Errors
/// Two sinks may write to the same file.
pub(super) fn with_writers(mut writers: Writers, config: &Config) -> Result<Writers, String> {
    let endpoints: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    for sink in &config.sinks {
        let Some(files) = sink.files(&endpoints, &paths::resolve)? else { continue };
        let mut of_others = writers.iter().filter(|(name, _)| *name != sink.name);
        let shared = of_others.find_map(|(name, other)| Some((name, files.common(other)?)));
        if let Some((other, path)) = shared {
            return Err(format!(
                "sink.{}.file.path: sink {other} has written to these files since the start: use \
                 another path, or restart; both can write to {}",
                sink.name,
                path.display()
            ));
        }
        if !writers.iter().any(|(name, known)| *name == sink.name && known.is_same(&files)) {
            writers.push((sink.name.clone(), files));
        }
    }
    Ok(writers)
}

/// Adds removed endpoints to a configuration, to route the batches that they received.
pub(super) fn with_departed(config: &Config, departed: &[Endpoint]) -> Config {
    let mut config = config.clone();
    config.endpoints.extend(departed.iter().cloned());
    config
}

/// Returns the endpoints that were removed since `before` and still name a configured sink.
pub(super) fn still_departed(before: &Config, config: &Config) -> Vec<Endpoint> {
    let is_configured = |name: &String| config.sinks.iter().any(|sink| sink.name == *name);
    let removed = before.endpoints.iter().filter(|endpoint| {
        config.endpoints.iter().all(|other| other.name != endpoint.name)
            && endpoint.sinks.iter().any(is_configured)
    });
    removed.cloned().collect()
}

fn find<'a>(config: &'a Config, name: &str) -> Option<&'a SinkConfig> {
    config.sinks.iter().find(|sink| sink.name == name)
}

/// Returns the sinks that were changed, with their new settings, and those that were removed,
/// without.
pub(super) fn plans(before: &Config, after: &Config) -> Vec<(String, Option<Plan>)> {
    let mut plans = Vec::new();
    for sink in &before.sinks {
        let name = &sink.name;
        let route = |config| delivery::endpoints_without(config, name);
        match find(after, name) {
            None => plans.push((name.clone(), None)),
            Some(next) if next != sink || route(before) != route(after) => {
                plans.push((name.clone(), Some(Plan::new(after, next))));
            }
            Some(_) => {}
        }
    }
    plans
}

/// Creates the sinks that `after` adds, and registers them with the spool.
pub(super) fn added(
    before: &Config,
    after: &Config,
    spool: &Arc<Spool>,
    metrics: &Arc<Metrics>,
    environment: &SinkEnvironment,
) -> Result<Vec<Delivery>, String> {
    let mut added = Vec::new();
    for sink in after.sinks.iter().filter(|sink| find(before, &sink.name).is_none()) {
        match parts::delivery(after, sink, spool, metrics, environment) {
            Ok(delivery) => added.push(delivery),
            Err(error) => {
                for delivery in added {
                    // Retried on the next release.
                    spool.unregister(delivery.id()).ok();
                }
                return Err(format!("sink.{}: {error}", sink.name));
            }
        }
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config(spool: &str, more: &str) -> Config {
        let text = format!(
            "[server.tls.acme]\ndomains = \"a.example\"\n{more}\n[spool]\ndir = \"{spool}\"\n\
             [endpoint.main]\npath = \"/l/{{dataset}}\"\nauth = \"none\"\n[sink.out.stdout]\n"
        );
        config::check_text(Path::new("/etc/logpushd/logpushd.toml"), &text).unwrap()
    }

    #[test]
    fn the_acme_cache_stays_below_the_spool_directory_in_use() {
        let old = config("/old", "");
        let (kept, keys) = without_restart(&old, config("/new", ""));
        assert_eq!(keys, ["spool.dir", "quarantine.dir"]);
        assert_eq!(kept.server.tls, old.server.tls);
        assert!(kept.server.tls.cert_file.starts_with("/old/acme"));

        let (kept, _) = without_restart(&old, config("/new", "cache_dir = \"/elsewhere\""));
        assert!(kept.server.tls.cert_file.starts_with("/elsewhere"));
    }

    #[test]
    fn files_that_another_sink_may_have_written_since_the_start_are_refused() {
        let config = |name: &str, path: &str| {
            let text = format!(
                "[server.tls]\nself_signed = true\n[spool]\ndir = \"/s\"\n\
                 [endpoint.main]\npath = \"/l/{{dataset}}\"\nauth = \"none\"\n\
                 [sink.{name}.file]\npath = \"{path}\"\n"
            );
            config::check_text(Path::new("/etc/logpushd/logpushd.toml"), &text).unwrap()
        };
        let writers = with_writers(Writers::new(), &config("a", "/nowhere/{dataset}/%F")).unwrap();
        let next = |name: &str, path: &str| with_writers(writers.clone(), &config(name, path));
        let refused = next("b", "/nowhere/dns_logs/%Y-%m-%d").err().unwrap();
        assert!(refused.contains("sink a has written to these files"), "{refused}");
        assert!(refused.contains("/nowhere/dns_logs/"), "{refused}");
        next("b", "/nowhere/{dataset}/%H").unwrap();
        let mut writers = next("a", "/nowhere/dns_logs/%Y-%m-%d").unwrap();
        assert_eq!(writers.len(), 2);
        writers = with_writers(writers, &config("a", "/nowhere/{dataset}/%F")).unwrap();
        assert_eq!(writers.len(), 2);
    }
}
