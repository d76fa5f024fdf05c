//! `logpushd validate --probe`: checks whether the sinks can deliver, without writing a record.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Builder;

use super::validate;
use crate::{
    config::{Config, Endpoint, SinkConfig},
    fatal::Fatal,
    sink::ProbeError,
};

/// The deadline of all probes, which run at the same time.
const DEADLINE: Duration = Duration::from_secs(30);

/// What to do if the probe does not know it. The daemon itself retries until the target answers.
const CHECK: &str = "check the address, the server, and the firewalls between";

/// The facts that a probe has found, or why the sink cannot deliver.
type Outcome = Result<Vec<String>, ProbeError>;

/// Probes all network sinks, and prints a block for each.
///
/// # Errors
/// A sink cannot deliver, or writing fails.
pub fn run(config: &Config, out: &mut dyn Write) -> Result<(), Fatal> {
    let mut probed = Vec::new();
    for sink in &config.sinks {
        let datasets = datasets(config, sink);
        if sink.kind.probe(&datasets).is_some() {
            probed.push((sink, datasets));
        }
    }
    if probed.is_empty() {
        writeln!(out, "no sink uses a network: nothing to probe")?;
        return Ok(());
    }
    let count = probed.len();
    let mut outcomes = outcomes(&probed, DEADLINE)?;
    let mut failed = Vec::new();
    for (index, (sink, _)) in probed.iter().enumerate() {
        let outcome = outcomes.remove(&index).unwrap_or_else(|| Err(late(DEADLINE)));
        if outcome.is_err() {
            failed.push(sink.name.as_str());
        }
        report(sink, &outcome, out)?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    let names = failed.join(", ");
    Err(Fatal::Unavailable(format!(
        "{} of {count} probed sinks cannot deliver: {names}",
        failed.len()
    )))
}

fn late(deadline: Duration) -> ProbeError {
    let why = format!("no answer within {} s", deadline.as_secs());
    ProbeError { why, action: None }
}

/// Returns the datasets that a sink can get, as far as the configuration names them.
fn datasets(config: &Config, sink: &SinkConfig) -> Vec<String> {
    let choice = &sink.choice;
    if !choice.datasets.is_empty() {
        return choice.datasets.clone();
    }
    let feeds = |endpoint: &&Endpoint| {
        let is_chosen = choice.endpoints.is_empty() || choice.endpoints.contains(&endpoint.name);
        is_chosen && endpoint.sinks.contains(&sink.name)
    };
    let names: BTreeSet<&str> = config
        .endpoints
        .iter()
        .filter(feeds)
        .flat_map(|endpoint| {
            let listed = endpoint.datasets.iter().map(String::as_str);
            validate::fixed_dataset(endpoint).into_iter().chain(listed)
        })
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Runs the probes, each on a thread of its own: a probe may block, and one that hangs delays no
/// other. Returns the outcomes until the deadline, by the index of the sink.
fn outcomes(
    probed: &[(&SinkConfig, Vec<String>)],
    deadline: Duration,
) -> io::Result<BTreeMap<usize, Outcome>> {
    let (sender, receiver) = sync_channel(probed.len());
    for (index, (sink, datasets)) in probed.iter().enumerate() {
        let (datasets, sender) = (datasets.clone(), sender.clone());
        let sink = SinkConfig::clone(sink);
        let name = format!("probe {}", sink.name);
        thread::Builder::new().name(name).spawn(move || probe(index, &sink, &datasets, &sender))?;
    }
    drop(sender);
    let begun = Instant::now();
    let mut outcomes = BTreeMap::new();
    while let Ok((index, outcome)) = receiver.recv_timeout(deadline.saturating_sub(begun.elapsed()))
    {
        outcomes.insert(index, outcome);
    }
    Ok(outcomes)
}

fn probe(
    index: usize,
    sink: &SinkConfig,
    datasets: &[String],
    outcomes: &SyncSender<(usize, Outcome)>,
) {
    let Some(probe) = sink.kind.probe(datasets) else { return };
    let outcome = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(probe),
        Err(error) => Err(ProbeError { why: format!("cannot start: {error}"), action: None }),
    };
    // The receiver does not wait after the deadline.
    outcomes.send((index, outcome)).ok();
}

fn report(sink: &SinkConfig, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let (name, kind, target) = (&sink.name, sink.kind.name(), sink.kind.target());
    match outcome {
        Ok(facts) => {
            writeln!(out, "sink {name} ({kind}, {target}): ok")?;
            facts.iter().try_for_each(|fact| writeln!(out, "  {fact}"))
        }
        Err(ProbeError { why, action }) => {
            writeln!(out, "sink {name} ({kind}, {target}): failed")?;
            writeln!(out, "  {why}")?;
            writeln!(out, "  help: {}", action.as_deref().unwrap_or(CHECK))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config;

    fn read(sinks: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logpushd.toml");
        let tables = "[server.tls]\nself_signed = true\n\
            [endpoint.open]\npath = \"/open/{dataset}\"\nauth = \"none\"\n\
            [endpoint.list]\npath = \"/list/{dataset}\"\nauth = \"none\"\n\
            datasets = [\"dns_logs\", \"audit_logs\"]\n\
            [endpoint.fixed]\npath = \"/fixed\"\nauth = \"none\"\ndataset = \"http_requests\"\n\
            sinks = [\"a\"]\n";
        fs::write(&path, format!("{tables}{sinks}")).unwrap();
        config::load(&path).unwrap()
    }

    #[test]
    fn datasets_are_those_that_the_configuration_names() {
        let config = read(
            "[sink.a.stdout]\n[sink.b.syslog]\naddress = \"udp://127.0.0.1:9\"\n\
            [sink.c.syslog]\naddress = \"udp://127.0.0.1:9\"\ndatasets = [\"nel_reports\"]\n\
            [sink.d.syslog]\naddress = \"udp://127.0.0.1:9\"\nendpoints = [\"open\"]\n",
        );
        let names: Vec<_> = config.sinks.iter().map(|sink| datasets(&config, sink)).collect();
        let expected: [&[&str]; 4] = [
            &["audit_logs", "dns_logs", "http_requests"],
            &["audit_logs", "dns_logs"],
            &["nel_reports"],
            &[],
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_probe_that_hangs_is_a_failure_of_its_sink_alone() {
        // It accepts connections, as the kernel does for it, and answers nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let config = read(&format!(
            "[sink.a.http]\nurl = \"http://{address}/\"\n\
            [sink.b.syslog]\naddress = \"tcp://{address}\"\n"
        ));
        let probed: Vec<_> = config.sinks.iter().map(|sink| (sink, Vec::new())).collect();
        let outcomes = outcomes(&probed, Duration::from_millis(500)).unwrap();
        assert!(!outcomes.contains_key(&0), "{outcomes:?}");
        assert!(outcomes[&1].is_ok(), "{outcomes:?}");
    }
}
