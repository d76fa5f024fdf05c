//! The kinds of sink. `kinds!` lists them; all else asks this list.
//!
//! A kind is a module with its settings, declared by `settings!` of the crate `settings` and described
//! further by [`Kind`], and with its [`Sink`].

use std::path::Path;

use settings::{Context, Settings, Table, reference};
use tls::ClientTls;

use super::{Sink, SinkContext, file, http, paths::WrittenPaths, stdout, syslog};

/// What every kind of sink says of itself.
pub trait Kind: Settings {
    /// Where the sink delivers to, for the log and `logpushd validate`: a path, or addresses.
    fn target(&self) -> String;

    /// What the sink uses, for all code that is about no kind in particular.
    fn claims(&self) -> Claims<'_> {
        Claims::default()
    }

    /// Makes the sink. Touches nothing outside: a target that is not there yet is no reason not to start.
    ///
    /// # Errors
    /// The settings are not ones that passed validation.
    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String>;
}

/// What a sink uses: files and standard output for itself alone.
#[derive(Clone, Debug, Default)]
pub struct Claims<'a> {
    /// Standard output.
    pub stdout: bool,
    /// The files that it writes.
    pub files: Option<WrittenPaths<'a>>,
    /// The table `tls`, if it has one.
    pub tls: Option<TlsClaim<'a>>,
    /// The files of secrets that it reads.
    pub secrets: Vec<SecretClaim<'a>>,
    /// How many files and connections it may have open at once, if they are more than a few.
    pub descriptors: usize,
    /// The key of addresses for which it asks the kernel what has been acknowledged.
    pub acknowledged: Option<&'static str>,
}

/// What a sink uses of TLS.
#[derive(Clone, Copy, Debug)]
pub struct TlsClaim<'a> {
    /// The files in `[sink.NAME.KIND.tls]`.
    pub files: &'a ClientTls,
    /// Whether it connects with them.
    pub is_used: bool,
}

/// A file of secrets that a sink reads.
#[derive(Clone, Copy, Debug)]
pub struct SecretClaim<'a> {
    /// The key that names it.
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

            /// Reads the table `[sink.NAME.KIND]` of this kind. What is wrong is reported, and there is no
            /// sink then, as if there is no such kind.
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

            /// Where the sink delivers to, for the log and `logpushd validate`: a path, or addresses.
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

            /// What the sink uses.
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
}

impl SinkKind {
    /// The names of all kinds: what KIND in `[sink.NAME.KIND]` can be.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::TABLES.iter().map(|table| name(table))
    }

    /// KIND in `[sink.NAME.KIND]`.
    pub fn name(&self) -> &'static str {
        name(self.table())
    }
}

fn name(table: &reference::Table) -> &'static str {
    table.name.rsplit('.').next().unwrap_or(table.name)
}
