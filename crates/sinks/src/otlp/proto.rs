//! The messages of OTLP that the sink sends and receives.
//!
//! Fields and numbers are those of opentelemetry-proto 1.x: `common.proto`, `resource.proto`,
//! `logs.proto` and `logs_service.proto`. [`Status`] is `google/rpc/status.proto`, the body of
//! answers that report an error. Fields that the sink does not use are left out.

use prost::{Message, Oneof};

/// A value of any type. Without a value, it is null.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// The value.
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6")]
    pub value: Option<Value>,
}

/// The value of an [`AnyValue`].
#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    /// A string.
    #[prost(string, tag = "1")]
    String(String),
    /// `true` or `false`.
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Int(i64),
    /// A floating point number.
    #[prost(double, tag = "4")]
    Double(f64),
    /// A list.
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    /// A map.
    #[prost(message, tag = "6")]
    Map(KeyValueList),
}

/// A list of values.
#[derive(Clone, PartialEq, Message)]
pub struct ArrayValue {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// A map with unique keys.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValueList {
    /// The members.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValue>,
}

/// A member of a map, or an attribute.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// The source of log records.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// Its attributes.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// The software that made log records.
#[derive(Clone, PartialEq, Message)]
pub struct InstrumentationScope {
    /// The name of the software.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Attributes of all records.
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<KeyValue>,
}

/// A log record.
#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    /// The time of the event in nanoseconds since 1970; 0 if it is unknown.
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    /// From 1 (trace) to 24 (fatal); 0 if it is unknown.
    #[prost(int32, tag = "2")]
    pub severity_number: i32,
    /// The body.
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    /// The attributes.
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    /// The time at which the record was received, in nanoseconds since 1970.
    #[prost(fixed64, tag = "11")]
    pub observed_time_unix_nano: u64,
    /// The type of the event.
    #[prost(string, tag = "12")]
    pub event_name: String,
}

/// The log records of a scope.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeLogs {
    /// The scope.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<InstrumentationScope>,
    /// The records.
    #[prost(message, repeated, tag = "2")]
    pub log_records: Vec<LogRecord>,
}

/// The log records of a resource.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceLogs {
    /// The resource.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// The records.
    #[prost(message, repeated, tag = "2")]
    pub scope_logs: Vec<ScopeLogs>,
}

/// The body of a request.
#[derive(Clone, PartialEq, Message)]
pub struct ExportLogsServiceRequest {
    /// The records.
    #[prost(message, repeated, tag = "1")]
    pub resource_logs: Vec<ResourceLogs>,
}

/// The body of an answer to a request that was accepted.
#[derive(Clone, PartialEq, Message)]
pub struct ExportLogsServiceResponse {
    /// Set if some records were rejected, or for a warning.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<ExportLogsPartialSuccess>,
}

/// What became of the records of a request.
#[derive(Clone, PartialEq, Message)]
pub struct ExportLogsPartialSuccess {
    /// The number of records that the server rejected.
    #[prost(int64, tag = "1")]
    pub rejected_log_records: i64,
    /// The reason, or a warning.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// The body of an answer to a request that was refused.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A message for developers.
    #[prost(string, tag = "2")]
    pub message: String,
}
