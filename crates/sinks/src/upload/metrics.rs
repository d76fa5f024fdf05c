//! What an uploader reports to the metrics of its sink.

use std::{
    cell::Cell,
    fmt::Debug,
    time::{Duration, Instant},
};

use super::target::Verdict;

/// The metrics of a sink that sends requests. The daemon implements it. May be called from any
/// thread, and never blocks.
pub trait UploadMetrics: Debug + Send + Sync {
    /// An uploader was opened: the sink sends requests.
    fn opened(&self);

    /// A request begins, whose records have `bytes` bytes as lines.
    fn sent(&self, bytes: u64);

    /// A request has ended, with or without an answer. Called once for each [`Self::sent`].
    fn ended(&self, result: &RequestResult);

    /// The target has stored records durably. Called once for each record.
    fn records_delivered(&self, records: u64);
}

/// The result of a request, for the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestResult {
    /// What becomes of the chunk.
    pub outcome: RequestOutcome,
    /// The class of the error, unless all records were delivered.
    pub error: Option<RequestErrorClass>,
    /// The time from the start of the request to its end.
    pub took: Duration,
}

/// What becomes of a chunk after a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestOutcome {
    /// All of its records are delivered.
    Delivered,
    /// The target answered for each record, and did not accept all of them.
    Partial,
    /// It is sent again.
    Retried,
    /// It is sent again, and fails until an operator acts.
    ActionRequired,
    /// It is too large, and is halved.
    TooLarge,
    /// It is refused as a whole, and is halved to find the record at fault.
    Refused,
}

impl RequestOutcome {
    /// All outcomes.
    pub const ALL: [Self; 6] = [
        Self::Delivered,
        Self::Partial,
        Self::Retried,
        Self::ActionRequired,
        Self::TooLarge,
        Self::Refused,
    ];

    /// Returns the word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Partial => "partial",
            Self::Retried => "retried",
            Self::ActionRequired => "action_required",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
        }
    }
}

impl From<&Verdict> for RequestOutcome {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Delivered => Self::Delivered,
            Verdict::Retry { .. } => Self::Retried,
            Verdict::Alert { .. } => Self::ActionRequired,
            Verdict::TooLarge { .. } => Self::TooLarge,
            Verdict::Refused { .. } => Self::Refused,
            Verdict::Partial { .. } | Verdict::Discarded { .. } => Self::Partial,
        }
    }
}

/// The class of the error of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestErrorClass {
    /// The proxy cannot be reached, or refuses to connect to the target.
    Proxy,
    /// The name of the target cannot be resolved.
    Resolve,
    /// No connection, or none in time.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No answer before the deadline of the request.
    Timeout,
    /// The connection broke before the answer.
    Disconnected,
    /// 401, 403, 407.
    Credentials,
    /// 404, 405, 410.
    NotFound,
    /// 3xx.
    Redirect,
    /// 429, or an answer that asks for some of the records again.
    Throttled,
    /// 408, 425, 5xx.
    ServerError,
    /// 413.
    TooLarge,
    /// Records were refused permanently.
    Refused,
    /// Another failure that lasts until an operator acts, such as a secret file that is missing.
    Configuration,
    /// Any other failure, such as an answer that cannot be parsed.
    Other,
}

impl RequestErrorClass {
    /// All classes.
    pub const ALL: [Self; 15] = [
        Self::Proxy,
        Self::Resolve,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Disconnected,
        Self::Credentials,
        Self::NotFound,
        Self::Redirect,
        Self::Throttled,
        Self::ServerError,
        Self::TooLarge,
        Self::Refused,
        Self::Configuration,
        Self::Other,
    ];

    /// Returns the word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
            Self::Credentials => "credentials",
            Self::NotFound => "not_found",
            Self::Redirect => "redirect",
            Self::Throttled => "throttled",
            Self::ServerError => "server_error",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Configuration => "configuration",
            Self::Other => "other",
        }
    }

    /// The class of a verdict. `noted` is what the client of the target noted for the request: it
    /// knows more of a failure than the verdict, which may depend on the body of the answer.
    fn of(verdict: &Verdict, noted: Option<Self>) -> Option<Self> {
        match verdict {
            Verdict::Delivered => None,
            Verdict::Retry { .. } => Some(noted.unwrap_or(Self::Other)),
            Verdict::Alert { .. } => Some(noted.unwrap_or(Self::Configuration)),
            Verdict::TooLarge { .. } => Some(Self::TooLarge),
            Verdict::Refused { .. } | Verdict::Discarded { .. } => Some(Self::Refused),
            Verdict::Partial { retry, action, .. } if !retry.is_empty() => {
                let ask_again =
                    if action.is_some() { Self::Configuration } else { Self::Throttled };
                Some(noted.unwrap_or(ask_again))
            }
            Verdict::Partial { refused, .. } => (!refused.is_empty()).then_some(Self::Refused),
        }
    }
}

tokio::task_local! {
    /// The class that was noted last in the task of a request.
    static NOTED: Cell<Option<RequestErrorClass>>;
}

/// Notes the class of the last error, or `None` after a success, for the request of the current task.
/// [`HttpSender`](crate::network::HttpSender) does so, so targets that use it need not. Does
/// nothing outside of [`Target::send`](super::Target::send).
pub fn note_error_class(class: Option<RequestErrorClass>) {
    // Without a task of a request, as in a probe, nobody asks for the class.
    NOTED.try_with(|noted| noted.set(class)).ok();
}

/// Runs a request. Returns its verdict and its result for the metrics.
pub(super) async fn measure(request: impl Future<Output = Verdict>) -> (Verdict, RequestResult) {
    let begin = Instant::now();
    let run = async {
        let verdict = request.await;
        (verdict, NOTED.with(Cell::take))
    };
    let (verdict, noted) = NOTED.scope(Cell::new(None), run).await;
    let result = RequestResult::of(&verdict, noted, begin.elapsed());
    (verdict, result)
}

impl RequestResult {
    pub(super) fn of(verdict: &Verdict, noted: Option<RequestErrorClass>, took: Duration) -> Self {
        Self { outcome: verdict.into(), error: RequestErrorClass::of(verdict, noted), took }
    }
}

#[cfg(test)]
mod tests {
    use super::{RequestErrorClass as Class, *};

    fn retry() -> Verdict {
        Verdict::Retry { after: None, why: String::new() }
    }

    #[tokio::test]
    async fn the_last_class_that_a_client_notes_is_that_of_the_request() {
        let (_, result) = measure(async {
            note_error_class(Some(Class::Credentials));
            note_error_class(Some(Class::Throttled));
            retry()
        })
        .await;
        assert_eq!(
            (result.outcome, result.error),
            (RequestOutcome::Retried, Some(Class::Throttled))
        );
        let (_, result) = measure(async { retry() }).await;
        assert_eq!(result.error, Some(Class::Other), "nothing is left of the first request");
        let (_, result) = measure(async {
            note_error_class(Some(Class::ServerError));
            Verdict::Delivered
        })
        .await;
        assert_eq!((result.outcome, result.error), (RequestOutcome::Delivered, None));
        note_error_class(Some(Class::Tls));
    }

    #[test]
    fn each_verdict_has_a_class() {
        let why = String::new();
        let partial = |refused: &[usize], retry: &[usize]| Verdict::Partial {
            refused: refused.iter().map(|index| (*index, String::new())).collect(),
            retry: retry.to_vec(),
            after: None,
            why: String::new(),
            action: None,
        };
        for (verdict, alone, noted) in [
            (Verdict::Delivered, None, None),
            (retry(), Some(Class::Other), Some(Class::Tls)),
            (
                Verdict::Alert { why: why.clone(), action: String::new() },
                Some(Class::Configuration),
                Some(Class::Tls),
            ),
            (Verdict::TooLarge { why: why.clone() }, Some(Class::TooLarge), Some(Class::TooLarge)),
            (Verdict::Refused { why }, Some(Class::Refused), Some(Class::Refused)),
            (partial(&[], &[]), None, None),
            (partial(&[1], &[]), Some(Class::Refused), Some(Class::Refused)),
            (partial(&[1], &[2]), Some(Class::Throttled), Some(Class::Tls)),
        ] {
            assert_eq!(Class::of(&verdict, None), alone, "{verdict:?}");
            assert_eq!(Class::of(&verdict, Some(Class::Tls)), noted, "{verdict:?}");
        }
    }

    #[test]
    fn the_lists_are_complete() {
        let outcomes = RequestOutcome::ALL.map(|outcome| outcome as usize);
        assert!(outcomes.into_iter().eq(0..=RequestOutcome::Refused as usize));
        let classes = Class::ALL.map(|class| class as usize);
        assert!(classes.into_iter().eq(0..=Class::Other as usize));
    }
}
