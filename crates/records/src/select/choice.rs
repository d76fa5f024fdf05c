//! What is chosen, as the configuration of a sink says it.

/// The batches and records that a sink takes, and what is changed in them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Choice {
    /// `datasets`; empty means all.
    pub datasets: Vec<String>,
    /// `endpoints`: names of endpoints that exist and have this sink; empty means all.
    pub endpoints: Vec<String>,
    /// `where`: all of them must hold for a record.
    pub conditions: Vec<Condition>,
    /// `keep_fields` or `drop_fields`.
    pub fields: Fields,
    /// `rename`: names of fields and what they are called instead. No two become the same.
    pub rename: Vec<(String, String)>,
}

impl Choice {
    /// Whether it takes this dataset of this endpoint, if the endpoint has the sink.
    pub fn takes(&self, endpoint: &str, dataset: &str) -> bool {
        let has = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|listed| listed == name)
        };
        has(&self.datasets, dataset) && has(&self.endpoints, endpoint)
    }
}

/// One condition on a field of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// The field's name; `a.b` is the field `b` of the object `a`.
    pub field: String,
    /// What must hold for its value.
    pub test: Test,
}

/// What is asked of a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Test {
    /// It is one of these, of which there is at least one.
    OneOf(Vec<Scalar>),
    /// `not`: it is none of these, of which there is at least one.
    NoneOf(Vec<Scalar>),
    /// `exists`: it is there and not `null`, or the opposite.
    Exists(bool),
    /// It is a number above, from, below or up to this one, which is written as in JSON.
    Is(Comparison, String),
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    /// `gt`
    Above,
    /// `ge`
    AtLeast,
    /// `lt`
    Below,
    /// `le`
    AtMost,
}

/// A value that a field is compared with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scalar {
    /// A text, without quotes and escapes.
    String(String),
    /// As in JSON: it need not fit into any type of number.
    Number(String),
    /// `true` or `false`
    Bool(bool),
}

/// Which fields of a record are passed on. Names are those from before `rename`; `a.b` is the field
/// `b` of the object `a`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Fields {
    /// All of them.
    #[default]
    All,
    /// `keep_fields`: these alone; at least one.
    Keep(Vec<String>),
    /// `drop_fields`: all but these; at least one.
    Drop(Vec<String>),
}
