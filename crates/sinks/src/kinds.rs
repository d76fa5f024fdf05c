//! The kinds of sink. The macro `kinds!` lists them; no other code does.
//!
//! A kind is a module with its settings (declared by `settings!`, and with an implementation of
//! [`Kind`]) and with its [`Sink`].

use std::path::Path;

use settings::{Context, Settings, Table, reference};
use tls::ClientTls;

use super::{
    Probe, Sink, SinkContext, clickhouse, elasticsearch, file, http, loki, otlp,
    paths::WrittenPaths, splunk_hec, stdout, syslog,
};

/// Describes a kind of sink.
pub trait Kind: Settings {
    /// The destination of the sink, for the log and `logpushd validate`: a path, or addresses.
    fn target(&self) -> String;

    /// The resources that the sink uses, for code that is independent of the kind.
    fn claims(&self) -> Claims<'_> {
        Claims::default()
    }

    /// Creates the sink. Opens no file and no connection: the daemon starts even if the target is
    /// unavailable.
    ///
    /// # Errors
    /// The settings did not pass validation.
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String>;

    /// Checks the target without writing a record: whether it can be reached, accepts the
    /// credentials, and has the index or table. Returns `None` if nothing can be checked over a
    /// network. `datasets` are the datasets that the sink can get, as far as the configuration
    /// names them.
    ///
    /// The probe has a thread and a runtime of its own, so it may block.
    fn probe(&self, _datasets: &[String]) -> Option<Probe<'_>> {
        None
    }
}

/// The resources that a sink uses. No other sink may use the same files or standard output.
#[derive(Clone, Debug, Default)]
pub struct Claims<'a> {
    /// Whether it writes to standard output.
    pub stdout: bool,
    /// The files that it writes.
    pub files: Option<WrittenPaths<'a>>,
    /// Its table `tls`, if it has one.
    pub tls: Option<TlsClaim<'a>>,
    /// The files with secrets that it reads.
    pub secrets: Vec<SecretClaim<'a>>,
    /// The maximum number of files and connections that it has open at once, if they are more than
    /// a few.
    pub descriptors: usize,
    /// The key with the addresses of connections whose acknowledgments it reads from the kernel.
    pub acknowledged: Option<&'static str>,
}

/// The TLS settings of a sink.
#[derive(Clone, Copy, Debug)]
pub struct TlsClaim<'a> {
    /// The files in `[sink.NAME.KIND.tls]`.
    pub files: &'a ClientTls,
    /// Whether the sink uses TLS.
    pub is_used: bool,
}

/// A file with a secret that a sink reads.
#[derive(Clone, Copy, Debug)]
pub struct SecretClaim<'a> {
    /// The key that names the file.
    pub key: &'static str,
    /// The file.
    pub file: &'a Path,
}

macro_rules! kinds {
    ($($(#[doc = $text:literal])+ $variant:ident($settings:ty),)+) => {
        /// The kinds of sink and their settings.
        #[derive(Clone, Debug, PartialEq)]
        pub enum SinkKind {
            $($(#[doc = $text])+ $variant(Box<$settings>),)+
        }

        impl SinkKind {
            /// The table of each kind.
            pub const TABLES: &'static [&'static reference::Table] =
                &[$(<$settings as Settings>::TABLE),+];

            /// Reads the table `[sink.NAME.KIND]`. Returns `None` for an unknown kind, and after
            /// reporting a fault.
            pub fn read(kind: &str, table: &mut Table<'_>, cx: &mut Context) -> Option<Self> {
                $(
                    if kind == name(<$settings as Settings>::TABLE) {
                        let settings = <$settings as Settings>::read(table, cx)?;
                        return Some(Self::$variant(Box::new(settings)));
                    }
                )+
                None
            }

            fn table(&self) -> &'static reference::Table {
                match self {
                    $(Self::$variant(_) => <$settings as Settings>::TABLE),+
                }
            }

            /// The destination of the sink, for the log and `logpushd validate`: a path, or
            /// addresses.
            pub fn target(&self) -> String {
                match self {
                    $(Self::$variant(settings) => settings.target()),+
                }
            }

            pub(super) fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
                match self {
                    $(Self::$variant(settings) => settings.open(context)),+
                }
            }

            /// Checks the target without writing a record. Returns `None` if nothing can be
            /// checked over a network. `datasets` are the datasets that the sink can get, as far
            /// as the configuration names them.
            pub fn probe(&self, datasets: &[String]) -> Option<Probe<'_>> {
                match self {
                    $(Self::$variant(settings) => settings.probe(datasets)),+
                }
            }

            /// The resources that the sink uses.
            pub fn claims(&self) -> Claims<'_> {
                match self {
                    $(Self::$variant(settings) => settings.claims()),+
                }
            }
        }
    };
}

kinds! {
    /// `[sink.NAME.file]`
    File(file::Settings),
    /// `[sink.NAME.stdout]`
    Stdout(stdout::Settings),
    /// `[sink.NAME.syslog]`
    Syslog(syslog::Settings),
    /// `[sink.NAME.http]`
    Http(http::Settings),
    /// `[sink.NAME.clickhouse]`
    Clickhouse(clickhouse::Settings),
    /// `[sink.NAME.splunk_hec]`
    SplunkHec(splunk_hec::Settings),
    /// `[sink.NAME.elasticsearch]`
    Elasticsearch(elasticsearch::Settings),
    /// `[sink.NAME.loki]`
    Loki(loki::Settings),
    /// `[sink.NAME.otlp]`
    Otlp(otlp::Settings),
}

impl SinkKind {
    /// The names of all kinds: the values of KIND in `[sink.NAME.KIND]`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::TABLES.iter().map(|table| name(table))
    }

    /// The name of the kind: KIND in `[sink.NAME.KIND]`.
    pub fn name(&self) -> &'static str {
        name(self.table())
    }
}

fn name(table: &reference::Table) -> &'static str {
    table.name.rsplit('.').next().unwrap_or(table.name)
}
