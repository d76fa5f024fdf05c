//! Sends requests to the API, or prints them.

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
use http_client::{BlockingClient, HostPort, Request, Settings, retry};
use jiff::Timestamp;
use serde_json::Value;

use super::options::Api;
use crate::{
    api::{API_URL, Call, Scope, answer, destination, mask::Mask},
    argument,
};

const TOKEN_VARIABLE: &str = "CLOUDFLARE_API_TOKEN";

/// The API, as one command uses it.
pub(super) struct Session<'a> {
    api: &'a Api,
    pub(super) scope: Scope,
    server: HostPort,
    /// The path of the API's URL, without a slash behind it.
    base: String,
    /// None in a dry run.
    token: Option<HeaderValue>,
    /// Hides the token, also with `--show-secrets`, which is about destinations.
    mask: Mask,
}

impl<'a> Session<'a> {
    /// Nothing is sent yet.
    pub(super) fn new(api: &'a Api) -> Result<Self, Fatal> {
        let (server, base) = parse_url(&api.api_url)?;
        let token = if api.dry_run { None } else { Some(token(api.token_file.as_deref())?) };
        let shown = token.as_ref().and_then(|token| token.to_str().ok()).unwrap_or_default();
        let mask = Mask::default().with_secret(shown);
        Ok(Self { api, scope: api.scope(), server, base, token, mask })
    }

    /// Sends a request and gives back its result; in a dry run prints it, and there is none.
    pub(super) fn call(&self, call: &Call, out: &mut dyn Write) -> Result<Option<Value>, Fatal> {
        self.call_about(call, "", out)
    }

    /// The same for a job whose destination is known; else that is empty.
    pub(super) fn call_about(
        &self,
        call: &Call,
        known: &str,
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
        // A client for each: on a connection that was in use a request may be sent twice, which a new
        // job would not bear.
        let tls = tls::public(self.api.ca.as_deref())
            .map_err(|error| Fatal::Io(format!("--ca: {error}")))?;
        let sent = BlockingClient::new(Settings::new(tls))?.send(&request);
        let response = sent.map_err(|error| {
            Fatal::Unavailable(format!("{error}: Cloudflare's API was not reached"))
        })?;
        let wait = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|value| retry::retry_after(value, Timestamp::now()));
        let mut result =
            answer::read(response.status, wait, &response.text).map_err(|refusal| {
                let hide = |text: &str| self.without_secrets(text, call, known);
                let refusal = refusal.with_text(hide);
                Fatal::Unavailable(hide(&format!(
                    "{} {} was refused: {refusal}",
                    call.method, call.path
                )))
            })?;
        self.mask.hide_in(&mut result);
        Ok(Some(result))
    }

    fn without_secrets(&self, text: &str, call: &Call, known: &str) -> String {
        if self.api.show_secrets {
            return self.mask.hide_secrets(text);
        }
        let sent = call.body.as_ref().and_then(|body| body.get("destination_conf"));
        let sent = sent.and_then(Value::as_str).unwrap_or_default();
        let mask = self.mask.clone().with_destination(sent).with_destination(known);
        let hide = |line| mask.hide(line);
        // As a whole first: a page may have broken a secret over lines.
        mask.hide_secrets(text).split('\n').map(hide).collect::<Vec<_>>().join("\n")
    }

    fn print(&self, call: &Call, out: &mut dyn Write) -> io::Result<()> {
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

    /// Prints a value of the API's.
    pub(super) fn print_json(&self, value: Value, out: &mut dyn Write) -> io::Result<()> {
        self.print_json_about(value, "", out)
    }

    /// The same of a destination that is known; else that is empty.
    pub(super) fn print_json_about(
        &self,
        mut value: Value,
        known: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if !self.api.show_secrets {
            hide_secrets(&mut value, known);
        }
        json::write(out, &value)
    }

    /// A destination as it may be shown.
    pub(super) fn shown(&self, destination: &str) -> String {
        if self.api.show_secrets {
            destination::printable(destination)
        } else {
            destination::masked(&destination::printable(destination))
        }
    }
}

fn headers(call: &Call, mut token: HeaderValue) -> HeaderMap {
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

/// In a job, in each job of a list, or in what is said of the destination `known`.
fn hide_secrets(value: &mut Value, known: &str) {
    let members = match value {
        Value::Array(values) => {
            return values.iter_mut().for_each(|value| hide_secrets(value, known));
        }
        Value::Object(members) => members,
        _ => return,
    };
    let own = members.get("destination_conf").and_then(Value::as_str);
    let known = own.unwrap_or(known).to_owned();
    for (name, member) in members {
        match (name.as_str(), member) {
            ("destination_conf", Value::String(text)) => *text = destination::masked(text),
            ("error_message" | "message", Value::String(text)) => {
                *text = destination::cleaned(text, &known);
            }
            // What a job sends is its own affair: a filter may well hold an address with a query.
            (_, member @ (Value::Object(_) | Value::Array(_))) => hide_secrets(member, &known),
            _ => {}
        }
    }
}

fn parse_url(url: &str) -> Result<(HostPort, String), Fatal> {
    let wrong = || Fatal::Usage(format!("--api-url {url}: a URL is wanted, as in {API_URL}"));
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https") && uri.query().is_none());
    let host = host.ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    let server = HostPort { host, port: uri.port_u16().unwrap_or(443) };
    Ok((server, uri.path().trim_end_matches('/').to_owned()))
}

/// The header's value.
fn token(file: Option<&Path>) -> Result<HeaderValue, Fatal> {
    let (text, from) = match file {
        Some(path) => (argument::from_file(path)?, path.display().to_string()),
        None => match env::var(TOKEN_VARIABLE) {
            Ok(text) => (text, TOKEN_VARIABLE.to_owned()),
            Err(_) => {
                return Err(Fatal::Usage(format!(
                    "there is no API token: name a file with --token-file, or set {TOKEN_VARIABLE}"
                )));
            }
        },
    };
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fatal::Usage(format!(
            "{from} holds no API token: one word without blanks is wanted, without \"Bearer\" before it"
        )));
    }
    HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|error| Fatal::Usage(format!("{from} holds no API token: {error}")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_api_may_be_elsewhere() {
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
    fn a_token_is_one_word_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, " hunter2\n").unwrap();
        assert_eq!(token(Some(&file)).unwrap(), "Bearer hunter2");
        for text in ["", "\n", "Bearer hunter2", "hunter2\nhunter3", "hunter2\u{e9}"] {
            fs::write(&file, text).unwrap();
            let error = token(Some(&file)).unwrap_err().to_string();
            assert!(error.contains("holds no API token") && !error.contains("hunter"), "{error}");
        }
        let call = Call::list(&Scope::Zone("z".into()));
        let headers = headers(&call, HeaderValue::from_static("Bearer hunter2"));
        assert!(!format!("{headers:?}").contains("hunter2"));
    }

    #[test]
    fn json_shows_no_secret_either() {
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
