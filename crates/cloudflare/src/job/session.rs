//! Sends requests to the API, or prints them in a dry run.

use std::{
    env,
    io::{self, Write},
    path::Path,
};

use bytes::Bytes;
use command::{fatal::Fatal, json};
use http::{
    HeaderMap, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use http_client::{BlockingClient, HostPort, Proxies, ProxyError, Request, Settings, retry};
use jiff::Timestamp;
use serde_json::Value;

use super::options::ApiOptions;
use crate::{
    api::{API_URL, ApiCall, Scope, destination, mask::Mask, response},
    argument,
};

const TOKEN_VARIABLE: &str = "CLOUDFLARE_API_TOKEN";

/// The connection parameters and credentials for the API.
pub(super) struct Session<'a> {
    api: &'a ApiOptions,
    pub(super) scope: Scope,
    server: HostPort,
    proxies: Proxies,
    /// The path of the API's URL, without a trailing slash.
    base: String,
    /// `None` in a dry run.
    token: Option<HeaderValue>,
    /// Masks the token, even with `--show-secrets`, which concerns only destinations.
    mask: Mask,
}

impl<'a> Session<'a> {
    /// Creates a session without sending anything.
    pub(super) fn new(api: &'a ApiOptions) -> Result<Self, Fatal> {
        let (server, base) = parse_url(&api.api_url)?;
        let proxies = Proxies::from_env()
            .map_err(|error| Fatal::Usage(format!("{error}; {}", ProxyError::HINT)))?;
        let token = if api.dry_run { None } else { Some(token(api.token_file.as_deref())?) };
        let shown = token.as_ref().and_then(|token| token.to_str().ok()).unwrap_or_default();
        let mask = Mask::default().with_secret(shown);
        Ok(Self { api, scope: api.scope(), server, proxies, base, token, mask })
    }

    /// Sends a request and returns its result. In a dry run, prints the request and returns `None`.
    pub(super) fn call(&self, call: &ApiCall, out: &mut dyn Write) -> Result<Option<Value>, Fatal> {
        self.call_for(call, "", out)
    }

    /// Like [`Self::call`], and masks the secrets of `known_destination`, which may be empty.
    pub(super) fn call_for(
        &self,
        call: &ApiCall,
        known_destination: &str,
        out: &mut dyn Write,
    ) -> Result<Option<Value>, Fatal> {
        let Some(token) = &self.token else {
            self.print(call, out)?;
            return Ok(None);
        };
        let request = Request {
            method: call.method.clone(),
            server: self.server.clone(),
            path: format!("{}{}", self.base, call.path),
            headers: headers(call, token.clone()),
            body: call.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
        };
        // A new client for each request: on a reused connection, the request may be sent twice, and
        // would create two jobs.
        let tls = tls::public(self.api.ca.as_deref())
            .map_err(|error| Fatal::Io(format!("--ca: {error}")))?;
        let settings = Settings { proxies: self.proxies.clone(), ..Settings::new(tls) };
        let sent = BlockingClient::new(settings)?.send(&request);
        let response = sent.map_err(|error| {
            Fatal::Unavailable(format!("cannot reach Cloudflare's API: {error}"))
        })?;
        let wait = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|value| retry::retry_after(value, Timestamp::now()));
        let mut result =
            response::parse(response.status, wait, &response.text).map_err(|error| {
                let hide = |text: &str| self.without_secrets(text, call, known_destination);
                let error = error.map_body(hide);
                Fatal::Unavailable(hide(&format!(
                    "{} {} was refused: {error}",
                    call.method, call.path
                )))
            })?;
        self.mask.hide_in(&mut result);
        Ok(Some(result))
    }

    fn without_secrets(&self, text: &str, call: &ApiCall, known_destination: &str) -> String {
        if self.api.show_secrets {
            return self.mask.hide_secrets(text);
        }
        let sent = call.body.as_ref().and_then(|body| body.get("destination_conf"));
        let sent = sent.and_then(Value::as_str).unwrap_or_default();
        let mask = self.mask.clone().with_destination(sent).with_destination(known_destination);
        let hide = |line| mask.hide(line);
        // First in the whole text, since a secret may be wrapped over lines.
        mask.hide_secrets(text).split('\n').map(hide).collect::<Vec<_>>().join("\n")
    }

    fn print(&self, call: &ApiCall, out: &mut dyn Write) -> io::Result<()> {
        let HostPort { port, .. } = self.server;
        let server = self.server.to_string();
        let server = if port == 443 { server.trim_end_matches(":443") } else { &server };
        writeln!(out, "{} https://{server}{}{}", call.method, self.base, call.path)?;
        let hidden = HeaderValue::from_static("Bearer ***");
        for (name, value) in &headers(call, hidden) {
            writeln!(out, "{name}: {}", value.to_str().unwrap_or_default())?;
        }
        writeln!(out)?;
        if let Some(body) = &call.body {
            self.print_json(body.clone(), out)?;
            writeln!(out)?;
        }
        Ok(())
    }

    /// Prints a JSON value from the API.
    pub(super) fn print_json(&self, value: Value, out: &mut dyn Write) -> io::Result<()> {
        self.print_json_for(value, "", out)
    }

    /// Like [`Self::print_json`], and masks the secrets of `known_destination`, which may be empty.
    pub(super) fn print_json_for(
        &self,
        mut value: Value,
        known_destination: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if !self.api.show_secrets {
            hide_secrets(&mut value, known_destination);
        }
        json::write(out, &value)
    }

    /// Formats a destination; masks its secrets unless `--show-secrets` is given.
    pub(super) fn format_destination(&self, destination: &str) -> String {
        if self.api.show_secrets {
            destination::printable(destination)
        } else {
            destination::masked(&destination::printable(destination))
        }
    }
}

fn headers(call: &ApiCall, mut token: HeaderValue) -> HeaderMap {
    token.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, token);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(http_client::USER_AGENT));
    if call.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers
}

/// Masks the secrets in a job, in a list of jobs, or in messages about `known_destination`.
fn hide_secrets(value: &mut Value, known_destination: &str) {
    let members = match value {
        Value::Array(values) => {
            return values.iter_mut().for_each(|value| hide_secrets(value, known_destination));
        }
        Value::Object(members) => members,
        _ => return,
    };
    let own = members.get("destination_conf").and_then(Value::as_str);
    let known_destination = own.unwrap_or(known_destination).to_owned();
    for (name, member) in members {
        match (name.as_str(), member) {
            ("destination_conf", Value::String(text)) => *text = destination::masked(text),
            ("error_message" | "message", Value::String(text)) => {
                *text = destination::sanitize(text, &known_destination);
            }
            // Other strings stay: a filter may contain a URL with a query.
            (_, member @ (Value::Object(_) | Value::Array(_))) => {
                hide_secrets(member, &known_destination);
            }
            _ => {}
        }
    }
}

fn parse_url(url: &str) -> Result<(HostPort, String), Fatal> {
    let wrong =
        || Fatal::Usage(format!("--api-url {url}: not an https URL; write one such as {API_URL}"));
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https") && uri.query().is_none());
    let host = host.ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    let server = HostPort { host, port: uri.port_u16().unwrap_or(443) };
    Ok((server, uri.path().trim_end_matches('/').to_owned()))
}

/// Reads the token and returns the value of the `Authorization` header.
fn token(file: Option<&Path>) -> Result<HeaderValue, Fatal> {
    let (text, from) = match file {
        Some(path) => (argument::read_file(path)?, path.display().to_string()),
        None => match env::var(TOKEN_VARIABLE) {
            Ok(text) => (text, TOKEN_VARIABLE.to_owned()),
            Err(_) => {
                return Err(Fatal::Usage(format!(
                    "the API token is missing: add --token-file FILE, or set {TOKEN_VARIABLE}"
                )));
            }
        },
    };
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fatal::Usage(format!(
            "{from} does not contain an API token: it must be a single word, without \"Bearer\""
        )));
    }
    HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|error| Fatal::Usage(format!("{from} does not contain an API token: {error}")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_api_url_has_a_host_a_port_and_a_path() {
        let (server, base) = parse_url("https://api.cloudflare.com/client/v4").unwrap();
        assert_eq!(
            (server.to_string().as_str(), base.as_str()),
            ("api.cloudflare.com:443", "/client/v4")
        );
        let (server, base) = parse_url("https://[::1]:8443/").unwrap();
        assert_eq!((server.to_string().as_str(), base.as_str()), ("[::1]:8443", ""));
        for url in
            ["http://api.cloudflare.com", "api.cloudflare.com", "https://", "https://h/?x", ""]
        {
            assert!(matches!(parse_url(url), Err(Fatal::Usage(_))), "{url}");
        }
    }

    #[test]
    fn a_token_is_a_single_word_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, " hunter2\n").unwrap();
        assert_eq!(token(Some(&file)).unwrap(), "Bearer hunter2");
        for text in ["", "\n", "Bearer hunter2", "hunter2\nhunter3", "hunter2\u{e9}"] {
            fs::write(&file, text).unwrap();
            let error = token(Some(&file)).unwrap_err().to_string();
            assert!(
                error.contains("does not contain an API token") && !error.contains("hunter"),
                "{error}"
            );
        }
        let call = ApiCall::list(&Scope::Zone("z".into()));
        let headers = headers(&call, HeaderValue::from_static("Bearer hunter2"));
        assert!(!format!("{headers:?}").contains("hunter2"));
    }

    #[test]
    fn secrets_in_json_are_masked() {
        let mut jobs = json!([{
            "destination_conf": "https://h/p?header_X=hunter2",
            "error_message": "Post https://h/p?header_X=hunter2: timeout"
        }, {"id": 7}]);
        hide_secrets(&mut jobs, "");
        let want = json!([{
            "destination_conf": "https://h/p?header_X=***",
            "error_message": "Post https://h/p?header_X=***: timeout"
        }, {"id": 7}]);
        assert_eq!(jobs, want);
        let mut verdict =
            json!({"destination": {"message": "got hunter2"}, "filter": "?a=hunter2"});
        hide_secrets(&mut verdict, "https://h/p?header_X=hunter2");
        assert_eq!(verdict, json!({"destination": {"message": "got ***"}, "filter": "?a=hunter2"}));
    }
}
