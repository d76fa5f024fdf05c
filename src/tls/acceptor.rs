//! The configuration that connections are accepted with, and its exchange under them.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use tracing::warn;

use super::{INCOMPLETE, Loaded, TlsError, load, self_signed, watch::Stamp};
use crate::config;

/// The configuration that new connections are accepted with; it can be exchanged under them.
///
/// Connections under way keep the one they began with.
#[derive(Debug)]
pub struct Acceptor {
    state: RwLock<State>,
    /// Held while files are read: of two that load, the later one must win.
    loading: Mutex<()>,
}

#[derive(Debug)]
struct State {
    tls: config::Tls,
    /// How the files looked when `loaded` was read from them.
    stamp: Stamp,
    loaded: Loaded,
}

impl Acceptor {
    /// Loads what `tls` names. With `self_signed`, certificate and key are made first if both are
    /// missing.
    ///
    /// # Errors
    /// Anything that [`load`] refuses; files that cannot be written; one of the two missing.
    pub fn new(tls: &config::Tls) -> Result<Self, TlsError> {
        make(tls)?;
        let state = State::load(tls)?;
        Ok(Self { state: RwLock::new(state), loading: Mutex::new(()) })
    }

    /// Loads again; on an error everything stays as it was.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn reload(&self, tls: &config::Tls) -> Result<(), TlsError> {
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        make(tls)?;
        self.set(State::load(tls)?);
        Ok(())
    }

    /// Loads the files again that are in use now, and makes none.
    pub(super) fn refresh(&self) -> Result<(), TlsError> {
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let tls = self.get(|state| state.tls.clone());
        self.set(State::load(&tls)?);
        Ok(())
    }

    /// What the next connection is to be accepted with.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.get(|state| Arc::clone(&state.loaded.config))
    }

    /// When the certificate in use expires, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.get(|state| state.loaded.not_after)
    }

    /// What is in use, and how its files looked when they were read.
    pub(super) fn source(&self) -> (config::Tls, Stamp) {
        self.get(|state| (state.tls.clone(), state.stamp.clone()))
    }

    fn get<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl State {
    fn load(tls: &config::Tls) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is then seen as a change.
        let stamp = Stamp::of(tls);
        let loaded = load(tls)?;
        if loaded.chain_looks_incomplete {
            warn!(cert_file = %tls.cert_file.display(), "{INCOMPLETE}");
        }
        Ok(Self { tls: tls.clone(), stamp, loaded })
    }
}

fn make(tls: &config::Tls) -> Result<(), TlsError> {
    if tls.self_signed && self_signed::make_if_missing(&tls.cert_file, &tls.key_file)? {
        warn!(
            cert_file = %tls.cert_file.display(),
            key_file = %tls.key_file.display(),
            "made a self-signed certificate for localhost: for development, cloudflare refuses it"
        );
    }
    Ok(())
}
