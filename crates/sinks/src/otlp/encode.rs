//! Encodes a chunk as a request of OTLP.

use jiff::Timestamp;
use prost::Message as _;
use spool::Origin;

use super::{
    BodyForm, Settings,
    proto::{
        AnyValue, InstrumentationScope, KeyValue, KeyValueList, LogRecord, Resource, ResourceLogs,
        ScopeLogs, Value,
    },
    value::{any_value, pair, string},
};
use crate::{
    message::{self, Members},
    upload::{Chunk, ChunkId},
};

/// The field `resource_logs` of a request.
const RESOURCE_LOGS: u8 = 1;
/// The field `scope_logs` of a resource.
const SCOPE_LOGS: u8 = 2;
/// The field `log_records` of a scope.
const LOG_RECORDS: u8 = 2;

/// The name of the scope, and the prefix of its attributes.
const SCOPE: &str = "logpushd";

/// The attribute that the semantic conventions have for the identity of a log record: "if an id is
/// provided, other log records with the same id will be considered duplicates".
const UID: &str = "log.record.uid";

/// The resource attribute that every resource has.
const SERVICE_NAME: &str = "service.name";
const DEFAULT_SERVICE: &str = "cloudflare";

/// Returns the body of the request for a chunk: an `ExportLogsServiceRequest` with one resource and
/// one scope.
///
/// Encodes one record at a time, so that not all of them are in memory as messages.
pub(super) fn encode(settings: &Settings, chunk: &Chunk) -> Vec<u8> {
    let batch = &chunk.batch().header;
    let encoder = RecordEncoder {
        dataset: &batch.origin.dataset,
        body: settings.body,
        received: nanoseconds(batch.origin.received),
        uid: uid_prefix(chunk.id(), &batch.origin),
    };
    // Names and numbers as protobuf are about as long as their JSON.
    let mut records = Vec::with_capacity(chunk.bytes().len() + chunk.bytes().len() / 4);
    for (position, record) in chunk.iter() {
        let record = encoder.record(position, record).encode_to_vec();
        records.extend(field_head(LOG_RECORDS, record.len()));
        records.extend(record);
    }
    let resource = Resource { attributes: resource(settings, &batch.origin) };
    let scope = scope(&batch.origin, chunk.id().digest);
    // A message is the concatenation of its fields, so the records can follow the other ones.
    let scope = ScopeLogs { scope: Some(scope), log_records: Vec::new() }.encode_to_vec();
    let scope_head = field_head(SCOPE_LOGS, scope.len() + records.len());
    let resource =
        ResourceLogs { resource: Some(resource), scope_logs: Vec::new() }.encode_to_vec();
    let length = resource.len() + scope_head.len() + scope.len() + records.len();
    [field_head(RESOURCE_LOGS, length), resource, scope_head, scope, records].concat()
}

/// The beginning of a field that contains a message of `length` bytes: its number with the wire
/// type 2, and the length as a varint.
fn field_head(number: u8, length: usize) -> Vec<u8> {
    let mut head = vec![number << 3 | 2];
    // Cannot fail: a `Vec` accepts everything.
    prost::encode_length_delimiter(length, &mut head).ok();
    head
}

fn resource(settings: &Settings, origin: &Origin) -> Vec<KeyValue> {
    let own = settings.resource.iter();
    let mut attributes: Vec<_> =
        own.map(|(name, text)| pair(name, string(text.fill(origin)))).collect();
    if !attributes.iter().any(|attribute| attribute.key == SERVICE_NAME) {
        attributes.insert(0, pair(SERVICE_NAME, string(DEFAULT_SERVICE)));
    }
    attributes
}

fn scope(origin: &Origin, digest: u128) -> InstrumentationScope {
    let attributes = [
        ("dataset", origin.dataset.clone()),
        ("endpoint", origin.endpoint.clone()),
        ("batch", format!("{digest:032x}")),
    ];
    let attribute = |(name, text)| pair(format!("{SCOPE}.{name}"), string(text));
    InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        attributes: attributes.into_iter().map(attribute).collect(),
    }
}

/// The first part of the identity of each record of a chunk; the position of the record follows.
///
/// It contains no sequence: a batch that came twice, or to two receivers with the same settings, has
/// the same records. The fingerprint is in it since the position depends on the selection, and the
/// origin since another dataset may get the same bytes.
fn uid_prefix(id: &ChunkId, origin: &Origin) -> String {
    let Origin { dataset, endpoint, .. } = origin;
    let text = format!("{:032x} {:08x} {dataset} {endpoint}", id.digest, id.fingerprint);
    let hash = blake3::hash(text.as_bytes()).to_hex();
    hash.get(..32).unwrap_or_default().to_owned()
}

/// What all records of a chunk have in common.
struct RecordEncoder<'c> {
    dataset: &'c str,
    body: BodyForm,
    /// The time of receipt, in nanoseconds.
    received: u64,
    /// The first part of the identity.
    uid: String,
}

impl RecordEncoder<'_> {
    fn record(&self, position: u64, record: &[u8]) -> LogRecord {
        let members = Members::of(self.dataset, record);
        let severity = message::severity(self.dataset, &members);
        LogRecord {
            time_unix_nano: members.time().map_or(0, nanoseconds),
            observed_time_unix_nano: self.received,
            severity_number: severity.map_or(0, severity_number),
            body: Some(self.body(&members, record)),
            attributes: vec![pair(UID, string(format!("{}-{position}", self.uid)))],
            event_name: self.dataset.to_owned(),
        }
    }

    fn body(&self, members: &Members<'_>, record: &[u8]) -> AnyValue {
        if self.body == BodyForm::String || !members.are_read() {
            return string(String::from_utf8_lossy(record));
        }
        let values = members.all().map(|(name, value)| pair(name, any_value(value))).collect();
        AnyValue { value: Some(Value::Map(KeyValueList { values })) }
    }
}

/// A time in nanoseconds since 1970; 0, which means "unknown", outside of 1970 to 2554.
fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

/// The number of a severity from 1 to 10: informational, notice, warning, error, critical and alert,
/// as appendix B of OTLP's data model for logs has them for syslog.
fn severity_number(severity: u8) -> i32 {
    match severity {
        0..=2 => 9,
        3 => 10,
        4..=6 => 13,
        7..=8 => 17,
        9 => 18,
        _ => 19,
    }
}

#[cfg(test)]
mod tests {
    use settings::Settings as _;

    use super::{super::proto::ExportLogsServiceRequest, *};
    use crate::{origin_text::OriginText, upload::chunk_of};

    fn settings() -> Settings {
        Settings { resource: Vec::new(), ..Settings::sample().unwrap() }
    }

    fn decoded(settings: &Settings, chunk: &Chunk) -> ResourceLogs {
        let body = encode(settings, chunk);
        let request = ExportLogsServiceRequest::decode(&body[..]).unwrap();
        // The same bytes as those of the encoder that knows the whole message.
        assert_eq!(request.encode_to_vec(), body);
        assert_eq!(encode(settings, chunk), body);
        let [resource] = <[_; 1]>::try_from(request.resource_logs).unwrap();
        resource
    }

    fn records(settings: &Settings, records: &[&str]) -> Vec<LogRecord> {
        decoded(settings, &chunk_of("http_requests", records)).scope_logs.remove(0).log_records
    }

    #[test]
    fn a_record_has_time_severity_identity_and_all_members() {
        let json =
            r#"{"EdgeStartTimestamp":1700000000123456789,"EdgeResponseStatus":503,"n":null}"#;
        let read = records(&settings(), &[json, r#"{"RayID":"a"}"#]);
        let [first, second] = <[_; 2]>::try_from(read).unwrap();
        assert_eq!(first.time_unix_nano, 1_700_000_000_123_456_789);
        assert_eq!(first.event_name, "http_requests");
        assert_eq!(first.severity_number, 13);
        let Some(Value::Map(map)) = first.body.unwrap().value else { panic!("no map") };
        let names: Vec<_> = map.values.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(names, ["EdgeStartTimestamp", "EdgeResponseStatus", "n"]);
        let values: Vec<_> = map.values.into_iter().map(|pair| pair.value.unwrap().value).collect();
        let int = |number| Some(Value::Int(number));
        assert_eq!(values, [int(1_700_000_000_123_456_789), int(503), None]);
        // Without a time and a status.
        assert_eq!((second.time_unix_nano, second.severity_number), (0, 0));
        assert_eq!(second.observed_time_unix_nano, first.observed_time_unix_nano);
        let uids = [&first.attributes, &second.attributes].map(|attributes| {
            assert_eq!(attributes[0].key, "log.record.uid");
            let Some(Value::String(uid)) = attributes[0].value.clone().unwrap().value else {
                panic!("no text")
            };
            uid
        });
        assert_eq!(uids[0].len(), 34);
        assert_eq!(uids[0].strip_suffix("-0"), uids[1].strip_suffix("-1"));
    }

    #[test]
    fn a_body_as_string_is_the_record() {
        let json = r#"{"a" : 1.0,"b":"\u00e4"}"#;
        let as_string = Settings { body: BodyForm::String, ..settings() };
        assert_eq!(records(&as_string, &[json])[0].body, Some(string(json)));
        // A name that is not Unicode cannot be a key.
        let json = r#"{"\ud800":1}"#;
        assert_eq!(records(&settings(), &[json])[0].body, Some(string(json)));
    }

    #[test]
    fn the_resource_has_a_service_and_the_scope_the_batch() {
        let logs = decoded(&settings(), &chunk_of("dns_logs", &["{}"]));
        let service = pair("service.name", string("cloudflare"));
        assert_eq!(logs.resource.unwrap().attributes, [service]);
        let scope = logs.scope_logs[0].scope.clone().unwrap();
        assert_eq!(scope.name, "logpushd");
        let attribute = |name, text: &str| pair(name, string(text));
        let digest = format!("{:032x}", crate::upload::batch(1).header.digest);
        assert_eq!(
            scope.attributes,
            [
                attribute("logpushd.dataset", "dns_logs"),
                attribute("logpushd.endpoint", "push"),
                attribute("logpushd.batch", &digest),
            ]
        );
        let text = |text| OriginText::parse(text).unwrap();
        let resource = vec![
            ("service.name".to_owned(), text("zone-{endpoint}")),
            ("cloudflare.dataset".to_owned(), text("{dataset}")),
        ];
        let settings = Settings { resource, ..settings() };
        let logs = decoded(&settings, &chunk_of("dns_logs", &["{}"]));
        assert_eq!(
            logs.resource.unwrap().attributes,
            [attribute("service.name", "zone-push"), attribute("cloudflare.dataset", "dns_logs")]
        );
    }

    #[test]
    fn the_identity_of_a_record_depends_on_its_origin_and_the_selection() {
        let uid = |digest, sequence: u64, fingerprint, dataset: &str| {
            let part = sequence.to_string();
            let id = ChunkId { digest, sequence, fingerprint, part };
            let origin = crate::upload::batch(1).header.origin;
            uid_prefix(&id, &Origin { dataset: dataset.to_owned(), ..origin })
        };
        let first = uid(7, 1, 8, "dns_logs");
        assert_eq!(uid(7, 2, 8, "dns_logs"), first);
        assert_ne!(uid(6, 1, 8, "dns_logs"), first);
        assert_ne!(uid(7, 1, 9, "dns_logs"), first);
        assert_ne!(uid(7, 1, 8, "http_requests"), first);
    }

    #[test]
    fn a_field_has_its_number_and_length() {
        for (length, expected) in [
            (0, &[0x12, 0][..]),
            (127, &[0x12, 127]),
            (128, &[0x12, 0x80, 1]),
            (300, &[0x12, 0xac, 2]),
            (16_384, &[0x12, 0x80, 0x80, 1]),
        ] {
            assert_eq!(field_head(2, length), expected, "{length}");
        }
    }
}
