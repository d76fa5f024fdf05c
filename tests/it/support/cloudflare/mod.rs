//! A mock of Cloudflare's API for Logpush jobs.
//!
//! It accepts what Cloudflare's schema allows and rejects the rest with Cloudflare's codes and
//! texts. Like Cloudflare it sends the destination check before it creates or changes a job. It
//! uses nothing of logpushd or of the other tests, so that it can be used alone.

mod check;
mod jobs;
pub(crate) mod wire;

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};

use self::wire::Request;

/// The valid token.
pub(crate) const TOKEN: &str = "a-token-of-the-stand-in";

/// The zone that has the jobs.
pub(crate) const ZONE: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const ACCOUNT: &str = "fedcba9876543210fedcba9876543210";

/// The prefix of every path.
pub(crate) const BASE: &str = "/client/v4";

/// The API, as long as the process runs.
#[derive(Clone)]
pub(crate) struct Cloudflare {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The authorities that the destination check trusts.
    roots: RootCertStore,
    /// Jobs by scope ("zones/ID") and number.
    jobs: BTreeMap<(String, u64), Value>,
    next: u64,
    /// The requests received, as "METHOD /path BODY".
    requests: Vec<String>,
    /// Answers for the next requests, instead of the usual ones.
    canned: Vec<Answer>,
}

/// An answer: status, more headers, body.
pub(crate) type Answer = (u16, Vec<(String, String)>, String);

/// A rejection: status, code and message.
type Refusal = (u16, u64, String);

impl Cloudflare {
    /// Starts it at `address`, with the chain and the key of these PEM files; the third file
    /// contains the authorities that verify destinations.
    pub(crate) fn start(
        address: SocketAddr,
        cert: &Path,
        key: &Path,
        roots: &Path,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let state = State {
            roots: wire::roots(roots)?,
            jobs: BTreeMap::new(),
            next: 146,
            requests: Vec::new(),
            canned: Vec::new(),
        };
        let api = Self { address: listener.local_addr()?, state: Arc::new(Mutex::new(state)) };
        let tls: Arc<ServerConfig> = wire::server(cert, key)?;
        let server = api.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, tls) = (server.clone(), Arc::clone(&tls));
                // A client that disconnects or does not trust the certificate does not matter here.
                thread::spawn(move || {
                    wire::serve(stream, tls, &|request| server.answer(request)).ok()
                });
            }
        });
        Ok(api)
    }

    /// The value for `--api-url`.
    pub(crate) fn url(&self) -> String {
        format!("https://{}{BASE}", self.address)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Removes and returns the requests so far.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// Answers the next request with this, whatever it is. `{authorization}` in the body is
    /// replaced by that header of the request, as some proxies print it on error pages.
    pub(crate) fn answer_next(&self, status: u16, headers: &[(&str, &str)], body: &str) {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let answer = (status, headers.iter().map(own).collect(), body.to_owned());
        self.state.lock().unwrap().canned.push(answer);
    }

    /// The current job, or null.
    pub(crate) fn job(&self, scope: &str, id: u64) -> Value {
        let key = (scope.to_owned(), id);
        self.state.lock().unwrap().jobs.get(&key).cloned().unwrap_or_default()
    }

    /// Sets members of a job, as Cloudflare does when pushing fails or works.
    pub(crate) fn set(&self, scope: &str, id: u64, members: &Value) {
        let mut state = self.state.lock().unwrap();
        let job = state.jobs.get_mut(&(scope.to_owned(), id)).expect("the job exists");
        for (name, value) in members.as_object().expect("members") {
            job[name] = value.clone();
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let body = String::from_utf8_lossy(&request.body);
        let line = format!("{} {} {body}", request.method, request.path);
        let canned = {
            let mut state = self.state.lock().unwrap();
            state.requests.push(line.trim_end().to_owned());
            if state.canned.is_empty() { None } else { Some(state.canned.remove(0)) }
        };
        if let Some((status, headers, body)) = canned {
            let echoed = request.header("authorization").map_or("", String::as_str);
            return (status, headers, body.replace("{authorization}", echoed));
        }
        let (status, body) = match self.result(request) {
            Ok(result) => {
                (200, json!({ "errors": [], "messages": [], "success": true, "result": result }))
            }
            Err((status, code, message)) => {
                let errors = json!([{ "code": code, "message": message }]);
                (
                    status,
                    json!({ "errors": errors, "messages": [], "success": false, "result": null }),
                )
            }
        };
        (status, Vec::new(), body.to_string())
    }

    fn result(&self, request: &Request) -> Result<Value, Refusal> {
        if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return Err((403, 10000, "Authentication error".into()));
        }
        let not_found = || (404, 7000, "No route for that URI".to_owned());
        let path = request.path.strip_prefix(BASE).and_then(|path| path.strip_prefix('/'));
        let parts: Vec<_> = path.ok_or_else(not_found)?.split('/').collect();
        let [kind, id, "logpush", rest @ ..] = parts.as_slice() else { return Err(not_found()) };
        if !matches!((*kind, *id), ("zones", ZONE) | ("accounts", ACCOUNT)) {
            return Err((403, 9109, "Unauthorized to access requested resource".into()));
        }
        let scope = format!("{kind}/{id}");
        match (request.method.as_str(), rest) {
            ("GET", ["jobs"]) => Ok(self.list(&scope)),
            ("POST", ["jobs"]) => self.create(&scope, request.json()?),
            ("GET", ["jobs", number]) => self.of(&scope, number).map(|(_, job)| job),
            ("PUT", ["jobs", number]) => self.update(&scope, number, &request.json()?),
            ("DELETE", ["jobs", number]) => self.delete(&scope, number),
            ("GET", ["datasets", dataset, "fields"]) => jobs::fields(&scope, dataset),
            ("POST", ["validate", "destination"]) => self.validate(&request.json()?),
            ("POST", ["validate", "destination", "exists"]) => self.exists(&request.json()?),
            _ => Err(not_found()),
        }
    }

    fn list(&self, scope: &str) -> Value {
        let state = self.state.lock().unwrap();
        state.jobs.iter().filter(|((of, _), _)| of == scope).map(|(_, job)| job.clone()).collect()
    }

    fn of(&self, scope: &str, number: &str) -> Result<(u64, Value), Refusal> {
        let state = self.state.lock().unwrap();
        let id = number.parse().unwrap_or_default();
        let job = state.jobs.get(&(scope.to_owned(), id));
        job.map(|job| (id, job.clone())).ok_or_else(|| (404, 1001, "job not found".into()))
    }

    fn create(&self, scope: &str, mut job: Value) -> Result<Value, Refusal> {
        jobs::check_new(scope, &job)?;
        if scope.starts_with("zones/") && self.list(scope).as_array().is_some_and(|j| j.len() >= 4)
        {
            let message = "creating a new job is not allowed: exceeded max jobs allowed";
            return Err((403, 1004, message.into()));
        }
        self.check_destination(&job)?;
        let mut state = self.state.lock().unwrap();
        let id = state.next;
        state.next += 1;
        jobs::complete(&mut job, id);
        state.jobs.insert((scope.to_owned(), id), job.clone());
        Ok(job)
    }

    fn update(&self, scope: &str, number: &str, changes: &Value) -> Result<Value, Refusal> {
        let (id, mut job) = self.of(scope, number)?;
        jobs::check_changes(&job, changes)?;
        for (name, value) in changes.as_object().into_iter().flatten() {
            job[name] = value.clone();
        }
        self.check_destination(&job)?;
        self.state.lock().unwrap().jobs.insert((scope.to_owned(), id), job.clone());
        Ok(job)
    }

    fn delete(&self, scope: &str, number: &str) -> Result<Value, Refusal> {
        let (id, _) = self.of(scope, number)?;
        self.state.lock().unwrap().jobs.remove(&(scope.to_owned(), id));
        Ok(json!({ "id": id }))
    }

    fn validate(&self, body: &Value) -> Result<Value, Refusal> {
        jobs::check_destination_conf(body)?;
        Ok(match self.check_destination(body) {
            Ok(()) => json!({ "valid": true, "message": "" }),
            Err((_, _, message)) => json!({ "valid": false, "message": message }),
        })
    }

    fn exists(&self, body: &Value) -> Result<Value, Refusal> {
        jobs::check_destination_conf(body)?;
        let wanted = &body["destination_conf"];
        let state = self.state.lock().unwrap();
        let exists = state.jobs.values().any(|job| job["destination_conf"] == *wanted);
        Ok(json!({ "exists": exists }))
    }

    /// Checks a destination as Cloudflare does before it accepts a job.
    fn check_destination(&self, job: &Value) -> Result<(), Refusal> {
        let roots = self.state.lock().unwrap().roots.clone();
        let text = job["destination_conf"].as_str().unwrap_or_default();
        check::send(text, roots).map_err(|what| {
            (400, 1002, format!("error validating destination: error writing object: {what}"))
        })
    }
}
