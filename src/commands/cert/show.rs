//! `logpushd cert show`: shows the certificate of a file or server, and whether Cloudflare trusts
//! it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::Uri;
use jiff::Timestamp;
use rustls::{CertificateError, pki_types::CertificateDer};
use tokio::runtime::Builder;

use super::{
    fatal,
    report::{CertReport, ChainEntry, ChainTrust},
};
use crate::{
    cli::cert::Show,
    fatal::Fatal,
    http_client::{RequestError, steps},
    network::HostPort,
    tls::{self, TlsError, Trust, chain, inspect::Certificate},
};

pub(super) fn run(show: &Show, out: &mut dyn Write) -> Result<(), Fatal> {
    let trust = tls::public_trust(show.ca.as_deref()).map_err(fatal)?;
    let shown = match target(&show.target)? {
        CertSource::File(path) => read(&path)?,
        CertSource::Server(server) => fetch(&server, show.name.as_deref(), trust.clone())?,
    };
    let mismatch = match &show.key {
        Some(key) => match tls::check_key(shown.chain.clone(), Path::new(&shown.source), key) {
            Err(error @ TlsError::Mismatch { .. }) => Some(error),
            outcome => outcome.map(|()| None).map_err(fatal)?,
        },
        None => None,
    };
    let now = Timestamp::now().as_second();
    let mut report = report(shown, &trust, show.ca.as_deref(), now)?;
    report.key = show.key.as_ref().map(|key| (key.display().to_string(), mismatch.is_none()));
    if show.json {
        report.write_json(out, now)?;
    } else {
        report.write_text(out, now)?;
    }
    mismatch.map_or(Ok(()), |error| Err(fatal(error)))
}

/// Where the certificate comes from.
enum CertSource {
    File(PathBuf),
    Server(HostPort),
}

/// Returns the file called `text` if it exists, otherwise the server.
fn target(text: &str) -> Result<CertSource, Fatal> {
    let uri = text
        .strip_prefix("https://")
        .map_or_else(|| format!("https://{text}"), |_| text.to_owned());
    if Path::new(text).exists() {
        return Ok(CertSource::File(text.into()));
    }
    let is_path = !text.starts_with("https://") && (text.contains('/') || has_file_ending(text));
    if is_path {
        return Err(Fatal::Io(format!(
            "no file {text}: check the path; write a server as HOST or HOST:PORT"
        )));
    }
    let uri: Option<Uri> = uri.parse().ok();
    let server = uri.as_ref().and_then(|uri| {
        let host = uri.host()?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // Port 0 and numbers above 65535 are invalid.
        let port = match uri.port() {
            Some(port) => Some(port.as_u16()).filter(|port| *port > 0)?,
            None => 443,
        };
        Some(HostPort { host: host.to_owned(), port })
    });
    server.map(CertSource::Server).ok_or_else(|| {
        Fatal::Io(format!("no file {text}, and not a server: write HOST or HOST:PORT"))
    })
}

/// Returns whether a text ends like a file of certificates. No top-level domain does.
fn has_file_ending(text: &str) -> bool {
    let ending = Path::new(text).extension().unwrap_or_default();
    ["pem", "crt", "cer"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// A certificate chain and its source.
struct ShownChain {
    source: String,
    chain: Vec<CertificateDer<'static>>,
    /// The server name of the handshake, and whether the certificate contains it. `None` for a
    /// file.
    name: Option<(String, bool)>,
}

fn read(path: &Path) -> Result<ShownChain, Fatal> {
    let source = path.display().to_string();
    let pem =
        fs::read(path).map_err(|error| Fatal::Io(format!("cannot read {source}: {error}")))?;
    let chain = tls::certificates(&pem, path).map_err(fatal)?;
    Ok(ShownChain { source, chain, name: None })
}

/// Gets the chain of a server in a TLS handshake.
fn fetch(server: &HostPort, name: Option<&str>, trust: Trust) -> Result<ShownChain, Fatal> {
    let (config, observer) = tls::observing(trust).map_err(fatal)?;
    let named = HostPort {
        host: name.map_or_else(|| server.host.clone(), str::to_owned),
        port: server.port,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let outcome: Result<(), RequestError> = runtime.block_on(async {
        let mut connected = None;
        for address in steps::resolve(server).await? {
            connected = Some(steps::connect(address).await);
            if let Some(Ok(_)) = connected {
                break;
            }
        }
        if let Some(stream) = connected.transpose()? {
            steps::handshake(&named, stream, Arc::new(config)).await?;
        }
        Ok(())
    });
    // A server that requires a client certificate sends its own certificate first.
    let Some(seen) = observer.take() else {
        let reason = outcome
            .err()
            .map_or_else(|| format!("{server} sends no certificate"), |error| error.to_string());
        return Err(Fatal::Unavailable(reason));
    };
    let name = Some((named.host, seen.name.is_ok()));
    Ok(ShownChain { source: server.to_string(), chain: seen.chain, name })
}

fn report(
    shown: ShownChain,
    trust: &Trust,
    ca: Option<&Path>,
    now: i64,
) -> Result<CertReport, Fatal> {
    let ShownChain { source, chain, name } = shown;
    let mut entries = Vec::new();
    for der in &chain {
        let certificate = Certificate::parse(der).ok_or_else(|| {
            Fatal::Config(format!("a certificate of {source} is not valid X.509: get a new one"))
        })?;
        entries.push(ChainEntry { certificate, fingerprint: chain::fingerprint(der) });
    }
    let certificates: Vec<_> = entries.iter().map(|entry| entry.certificate.clone()).collect();
    let end = chain::end(&certificates).map(ToString::to_string).unwrap_or_default();
    let is_alone = certificates.first().is_some_and(Certificate::is_self_issued);
    let trust = match chain::verify(&chain, trust, now) {
        Ok(()) => ChainTrust::Complete,
        // Any other error of a self-signed certificate matters less.
        Err(_) if is_alone => ChainTrust::SelfSigned,
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            ChainTrust::Unknown
        }
        Err(error) => ChainTrust::Refused(error.to_string()),
    };
    let trusted_by = ca.map(|file| file.display().to_string());
    Ok(CertReport { source, entries, name, trust, end, trusted_by, key: None })
}
