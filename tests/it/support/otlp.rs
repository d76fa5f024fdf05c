//! Servers for logs by OTLP over HTTP: a strict mock, and Rotel.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use prost::Message as _;
use records::record::{Value as Json, for_each_member};
use serde_json::value::RawValue;
use sinks::otlp::proto::{
    AnyValue, ExportLogsServiceRequest, KeyValue, LogRecord, ResourceLogs, ScopeLogs, Value,
};
use tempfile::TempDir;

use super::{
    collector::{Received, Reply},
    free_port,
    require::{ROTEL, has, server},
    wait::wait_until,
};

/// A log record, as a server gets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Log {
    pub(crate) uid: String,
    /// The dataset.
    pub(crate) event: String,
    pub(crate) time: u64,
    pub(crate) observed: u64,
    pub(crate) severity: i32,
    /// JSON with sorted members, or the text of the record.
    pub(crate) body: String,
    /// Attributes of the resource and of the scope.
    pub(crate) attributes: Vec<(String, String)>,
}

/// The log records of a request, which must be one that the specification allows.
pub(crate) fn logs(request: &Received) -> Vec<Log> {
    assert_eq!(request.method, "POST");
    assert_eq!(request.headers["content-type"], "application/x-protobuf");
    let decoded = ExportLogsServiceRequest::decode(&request.body[..]).unwrap();
    // Nothing is in it that the messages do not have.
    assert_eq!(decoded.encode_to_vec(), request.body);
    decoded.resource_logs.into_iter().flat_map(of_resource).collect()
}

fn of_resource(resource: ResourceLogs) -> Vec<Log> {
    let attributes = texts(&resource.resource.expect("a resource").attributes);
    assert!(attributes.iter().any(|(name, _)| name == "service.name"), "{attributes:?}");
    resource.scope_logs.into_iter().flat_map(|scope| of_scope(&attributes, scope)).collect()
}

fn of_scope(resource: &[(String, String)], scope: ScopeLogs) -> Vec<Log> {
    let of_scope = scope.scope.expect("a scope");
    assert_eq!(of_scope.name, "logpushd");
    assert!(!of_scope.version.is_empty());
    let attributes = [resource, &texts(&of_scope.attributes)].concat();
    scope.log_records.into_iter().map(|record| log(&attributes, record)).collect()
}

fn log(attributes: &[(String, String)], record: LogRecord) -> Log {
    let own = texts(&record.attributes);
    let [(name, uid)] = &own[..] else { panic!("{own:?}") };
    assert_eq!(name, "log.record.uid");
    let body = record.body.expect("a body");
    Log {
        uid: uid.clone(),
        event: record.event_name,
        time: record.time_unix_nano,
        observed: record.observed_time_unix_nano,
        severity: record.severity_number,
        body: match &body.value {
            Some(Value::String(text)) => text.clone(),
            _ => json(&body),
        },
        attributes: attributes.to_vec(),
    }
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| match attribute.value.clone().unwrap().value {
        Some(Value::String(text)) => (attribute.key.clone(), text),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(text).collect()
}

/// A value as JSON, with sorted members and plain strings.
fn json(value: &AnyValue) -> String {
    match &value.value {
        None => "null".to_owned(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Int(value)) => value.to_string(),
        Some(Value::Double(value)) => format!("{value:?}"),
        Some(Value::String(value)) => format!("{value:?}"),
        Some(Value::Array(array)) => {
            format!("[{}]", array.values.iter().map(json).collect::<Vec<_>>().join(","))
        }
        Some(Value::Map(map)) => {
            let mut members: Vec<_> = map.values.iter().collect();
            members.sort_by(|a, b| a.key.cmp(&b.key));
            assert!(members.windows(2).all(|pair| pair[0].key != pair[1].key), "a key is twice");
            let member = |pair: &KeyValue| {
                format!("{:?}:{}", pair.key, json(pair.value.as_ref().expect("a value")))
            };
            format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
    }
}

/// [`Log::body`] of a record in a map. One with a name that is not Unicode is sent as text.
pub(crate) fn body(record: &str) -> String {
    let body = sorted(&Json::of(record));
    body.unwrap_or_else(|| record.trim().to_owned())
}

/// A JSON value with sorted members, plain strings, and numbers as OTLP has them.
fn sorted(value: &Json<'_>) -> Option<String> {
    Some(match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(text) if text.parse::<i64>().is_ok() => (*text).to_owned(),
        // In the tests, only whole numbers have more digits than floating point.
        Json::Number(text) if text.contains('.') => format!("{:?}", text.parse::<f64>().unwrap()),
        Json::Number(text) => format!("{text:?}"),
        Json::String(text) => format!("{text:?}"),
        Json::Composite(text) if text.starts_with('[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            let items = items.into_iter().map(|item| sorted(&Json::of(item.get())));
            format!("[{}]", items.collect::<Option<Vec<_>>>()?.join(","))
        }
        Json::Composite(text) => {
            let mut members = BTreeMap::new();
            let read = for_each_member(text.as_bytes(), &mut |name, value| {
                members.insert(name.into_owned(), sorted(&Json::of(value)));
            });
            read.ok()?;
            let members = members.into_iter();
            let member =
                |(name, value): (String, Option<String>)| Some(format!("{name:?}:{}", value?));
            format!("{{{}}}", members.map(member).collect::<Option<Vec<_>>>()?.join(","))
        }
    })
}

/// An answer in protobuf, whose bytes are ASCII.
pub(crate) fn protobuf(status: u16, message: &impl prost::Message) -> Reply {
    let body = String::from_utf8(message.encode_to_vec()).unwrap();
    (status, vec![("content-type", "application/x-protobuf".to_owned())], body)
}

/// Rotel: a collector that writes what it gets into its log. Ends when it is dropped.
pub(crate) struct Rotel {
    pub(crate) address: SocketAddr,
    dir: TempDir,
    child: Option<Child>,
}

impl Rotel {
    /// Starts it. `None` if the machine does not have the program.
    pub(crate) fn start() -> Option<Self> {
        if !has(&[&ROTEL]) {
            return None;
        }
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut this = Self { address, dir: TempDir::new().unwrap(), child: None };
        this.restart();
        Some(this)
    }

    /// Kills it, if it runs, and starts it at the same address.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let log = File::options().append(true).create(true).open(self.dir.path().join("log"));
        let log = log.unwrap();
        let mut command = Command::new(server("rotel/rotel-agent").unwrap());
        command
            .args(["start", "--exporter", "blackhole", "--debug-log", "logs"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-http-endpoint", &self.address.to_string()])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{}", free_port())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        wait_until("Rotel", || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "it has ended: {ended:?}: {}", self.log());
            TcpStream::connect(self.address).is_ok()
        });
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// The body of a record in its log. `None` for records with values that it does not print
    /// clearly.
    pub(crate) fn body(record: &str) -> Option<String> {
        let is_clear = !record.contains("null") && !record.contains(r"\ud8");
        is_clear.then(|| format!("Body: {}", printed(&Json::of(record))))
    }

    /// Everything that it has logged, in all of its lives.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }
}

fn printed(value: &Json<'_>) -> String {
    match value {
        Json::Null => String::new(),
        Json::Bool(value) => format!("Bool({value})"),
        Json::Number(text) if text.parse::<i64>().is_ok() => format!("Int({text})"),
        Json::Number(text) if text.contains('.') => {
            format!("Double({})", text.parse::<f64>().unwrap())
        }
        Json::Number(text) => format!("Str({text})"),
        Json::String(text) => format!("Str({text})"),
        Json::Composite(text) if text.starts_with('[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            let items = items.into_iter().map(|item| printed(&Json::of(item.get())));
            format!("Slice({})", items.collect::<Vec<_>>().join(", "))
        }
        Json::Composite(text) => {
            let mut members = Vec::new();
            for_each_member(text.as_bytes(), &mut |name, value| {
                members.push(format!("{name}:{}", printed(&Json::of(value))));
            })
            .unwrap();
            format!("Map({})", members.join(", "))
        }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        self.kill();
    }
}
