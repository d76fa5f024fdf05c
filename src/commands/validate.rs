//! `logpushd validate`: checks a configuration and prints a summary of it.

use std::{
    io::{self, Write},
    path::Path,
};

use serde_json::{Value, json};

use crate::{
    check::{self, ServiceUser},
    config::{
        Auth, Config, Diagnostic, Document, Endpoint, PathPattern, Problems, Protocol, Severity,
        SinkConfig, format_bytes,
    },
    decode::Format,
    fatal::Fatal,
};

/// The result of all checks.
#[derive(Debug)]
pub struct ConfigVerdict {
    /// Errors and warnings. With `--strict`, warnings are errors.
    pub problems: Problems,
    /// Whether no problem is an error.
    pub is_valid: bool,
}

/// Checks a configuration that was read without errors. `user` is the daemon's user, if it is not
/// the user of this process.
pub fn check(document: &Document, user: Option<&ServiceUser>, strict: bool) -> ConfigVerdict {
    let mut found = check::errors(document);
    let is_usable = found.is_empty();
    found.extend(check::warnings(document));
    found.extend(user.into_iter().flat_map(|user| check::of_service_user(document, user)));
    if strict {
        for problem in &mut found {
            problem.severity = Severity::Error;
        }
    }
    let is_error = |problem: &Diagnostic| problem.severity == Severity::Error;
    let is_valid = is_usable && !found.iter().any(is_error);
    ConfigVerdict { problems: document.problems(found), is_valid }
}

/// Returns the daemon's user, if it is known and is not the user of this process.
///
/// # Errors
/// The user called `named` does not exist.
pub fn service_user(named: Option<&str>, config: &Path) -> Result<Option<ServiceUser>, Fatal> {
    match named {
        Some(name) => ServiceUser::named(name).map(Some),
        None if check::is_root() => Ok(ServiceUser::find(Path::new("/"), config)),
        None => Ok(None),
    }
}

/// Prints the addresses, endpoints, sinks and directories of a valid configuration.
///
/// # Errors
/// Writing fails.
pub fn summarize(
    document: &Document,
    user: Option<&ServiceUser>,
    warnings: &Problems,
    out: &mut dyn Write,
) -> io::Result<()> {
    let config = &document.config;
    let count = match warnings.diagnostics().len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    };
    writeln!(out, "{}: ok{count}", document.path().display())?;
    for address in &config.server.addresses {
        row(out, "listen", &format!("https://{address}, {}", certificate(config)))?;
    }
    for each in &config.endpoints {
        row(out, &format!("endpoint {}", each.name), &endpoint(each))?;
    }
    for each in &config.sinks {
        row(out, &format!("sink {}", each.name), &sink(each))?;
    }
    let spool = &config.spool;
    let size = format_bytes(spool.max_bytes);
    row(out, "spool", &format!("{}, up to {size}", spool.dir.display()))?;
    let quarantine = &config.quarantine;
    let size = format_bytes(quarantine.max_bytes);
    row(out, "quarantine", &format!("{}, up to {size}", quarantine.dir.display()))?;
    row(out, "admin", &format!("http://{}", config.admin.address))?;
    row(out, "checked as", &check::tested_as(user))
}

/// Prints problems and summary as one JSON object. Without a `document`, because the configuration
/// is invalid, the summary is `null`.
///
/// # Errors
/// Writing fails.
pub fn write_json(
    document: Option<&Document>,
    user: Option<&ServiceUser>,
    problems: &Problems,
    out: &mut dyn Write,
) -> io::Result<()> {
    let path = problems.path().display().to_string();
    let problem = |problem: &Diagnostic| {
        let (line, column) = problems.position(problem).unzip();
        json!({
            "severity": match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "path": path,
            "line": line,
            "column": column,
            "message": problem.message,
            "help": problem.hint,
        })
    };
    let report = json!({
        "ok": document.is_some(),
        "path": path,
        "problems": problems.diagnostics().iter().map(problem).collect::<Vec<_>>(),
        "summary": document.map(|document| summary_json(&document.config, user)),
    });
    super::json::write(out, &report)
}

fn summary_json(config: &Config, user: Option<&ServiceUser>) -> Value {
    let Config { server, spool, quarantine, admin, .. } = config;
    let addresses = server.addresses.iter().map(|address| format!("https://{address}"));
    let (cert_file, acme_domains) = match &server.tls.acme {
        Some(acme) => (None, acme.domains.as_slice()),
        None => (Some(server.tls.cert_file.display().to_string()), &[][..]),
    };
    let sink = |sink: &SinkConfig| {
        json!({
            "name": sink.name,
            "target": target(sink),
            "datasets": sink.choice.datasets,
        })
    };
    json!({
        "listen": addresses.collect::<Vec<_>>(),
        "cert_file": cert_file,
        "acme_domains": acme_domains,
        "endpoints": config.endpoints.iter().map(endpoint_json).collect::<Vec<_>>(),
        "sinks": config.sinks.iter().map(sink).collect::<Vec<_>>(),
        "spool": { "dir": spool.dir.display().to_string(), "max_bytes": spool.max_bytes },
        "quarantine": {
            "dir": quarantine.dir.display().to_string(),
            "max_bytes": quarantine.max_bytes,
        },
        "admin": format!("http://{}", admin.address),
        "checked_as": check::tested_as(user),
    })
}

fn endpoint_json(endpoint: &Endpoint) -> Value {
    let (auth, header, file) = match &endpoint.auth {
        Auth::Secret { header, file } => ("secret", Some(header), Some(file)),
        Auth::Token { file } => ("token", None, Some(file)),
        Auth::None => ("none", None, None),
    };
    json!({
        "name": endpoint.name,
        "path": endpoint.path.to_string(),
        "dataset": fixed_dataset(endpoint),
        "format": format_name(endpoint),
        "auth": auth,
        "secret_header": header,
        "secret_file": file.map(|file| file.display().to_string()),
        "datasets": endpoint.datasets,
        "allow_from": endpoint.allow_from.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "sinks": endpoint.sinks,
    })
}

fn row(out: &mut dyn Write, label: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {label:<18} {text}")
}

fn certificate(config: &Config) -> String {
    let tls = &config.server.tls;
    match &tls.acme {
        Some(acme) => format!("certificate for {} by ACME", acme.domains.join(", ")),
        None => format!("certificate {}", tls.cert_file.display()),
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    let Endpoint { path, auth, allow_from, datasets, sinks, .. } = endpoint;
    let mut parts = vec![path.to_string()];
    if let Some(dataset) = fixed_dataset(endpoint) {
        parts.push(format!("dataset {dataset}"));
    }
    parts.push(format_name(endpoint).to_owned());
    parts.push(match auth {
        Auth::Secret { header, file } => format!("{header} from {}", file.display()),
        Auth::Token { file } => format!("token from {}", file.display()),
        Auth::None => "no secret".to_owned(),
    });
    if !datasets.is_empty() {
        parts.push(format!("only {}", datasets.join(" ")));
    }
    if !allow_from.is_empty() {
        let networks: Vec<_> = allow_from.iter().map(ToString::to_string).collect();
        parts.push(format!("from {}", networks.join(" ")));
    }
    format!("{} -> {}", parts.join(", "), sinks.join(", "))
}

/// Returns the only dataset of an endpoint, unless its path names the dataset.
pub(super) fn fixed_dataset(endpoint: &Endpoint) -> Option<&str> {
    match &endpoint.path {
        PathPattern::Fixed { dataset, .. } | PathPattern::Prefix { dataset, .. } => Some(dataset),
        PathPattern::Dataset { .. } => None,
    }
}

fn format_name(endpoint: &Endpoint) -> &'static str {
    match (&endpoint.protocol, &endpoint.format) {
        (Protocol::SplunkHec, _) => "Splunk HEC",
        (Protocol::Logpush, Format::Csv(_)) => "CSV",
        (Protocol::Logpush, Format::Text) => "text",
        (Protocol::Logpush, _) => "JSON",
    }
}

fn target(sink: &SinkConfig) -> String {
    let (kind, claims) = (&sink.kind, sink.kind.claims());
    // A path, and the word for standard output, need no kind.
    if claims.stdout || claims.files.is_some() {
        return kind.target();
    }
    format!("{} {}", kind.name(), kind.target())
}

fn sink(sink: &SinkConfig) -> String {
    let target = target(sink);
    match sink.choice.datasets.as_slice() {
        [] => target,
        datasets => format!("{target}, only {}", datasets.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config;

    const CONFIG: &str = "[server]\naddress = \"127.0.0.1:0\"\n[server.tls]\nself_signed = true\n\
        [endpoint.main]\npath = \"/logpush/{dataset}\"\nauth = \"none\"\n[spool]\ndir = \"spool\"\n\
        [sink.a.file]\npath = \"out/{dataset}/%s\"\ndatasets = [\"http_requests\"]\n";

    #[test]
    fn strict_turns_warnings_into_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logpushd.toml");
        fs::write(&path, CONFIG).unwrap();
        let document = config::read(&path).unwrap();
        let verdict = check(&document, None, false);
        assert!(verdict.is_valid && !verdict.problems.is_empty());
        assert!(verdict.problems.to_string().contains(":11:8: warning: "), "{}", verdict.problems);
        let verdict = check(&document, None, true);
        assert!(!verdict.is_valid);
        assert!(!verdict.problems.to_string().contains("warning"), "{}", verdict.problems);
    }

    #[test]
    fn summary_has_every_endpoint_sink_and_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logpushd.toml");
        fs::write(&path, CONFIG).unwrap();
        let document = config::read(&path).unwrap();
        let mut out = Vec::new();
        summarize(&document, None, &check(&document, None, false).problems, &mut out).unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let summary = String::from_utf8(out).unwrap().replace(folder.to_str().unwrap(), "DIR");
        for line in [
            ": ok, 1 warning\n",
            "  listen             https://127.0.0.1:0, certificate DIR/fullchain.pem\n",
            "  endpoint main      /logpush/{dataset}, JSON, no secret -> a\n",
            "  sink a             DIR/out/{dataset}/%s, only http_requests\n",
            "  spool              DIR/spool, up to 10 GiB\n",
            "  quarantine         DIR/spool/quarantine, up to 1 GiB\n",
        ] {
            assert!(summary.contains(line), "{line:?} not in {summary}");
        }
    }
}
