//! The TLS configuration for new connections, and its replacement while the daemon runs.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, UnixTime},
    server::ClientHello,
};
use tokio::sync::watch;
use tracing::warn;

use super::{
    Acme, Identity, Loaded, Renewal, Tls, TlsError, Validity, challenge::Challenges, load,
    self_signed, watch::FileStamps,
};

/// The TLS configuration for new connections, which can be replaced at any time.
///
/// Existing connections keep the configuration that they started with.
#[derive(Debug)]
pub struct Acceptor {
    state: RwLock<State>,
    /// Locked while files are read, so that the result of the latest load is the one in use.
    loading: Mutex<()>,
    challenges: Challenges,
    /// Notified by [`Acceptor::adopt`].
    reloads: watch::Sender<()>,
    /// Notified whenever `state` is replaced.
    replaced: watch::Sender<()>,
    /// Why there is no certificate yet.
    missing_because: Mutex<String>,
}

#[derive(Debug)]
struct State {
    tls: Tls,
    /// The stamps of the files that `loaded` was read from.
    stamps: FileStamps,
    loaded: Loaded,
    source: CertificateSource,
}

/// Where the certificate in use is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CertificateSource {
    /// The files of the current configuration.
    Current,
    /// An earlier configuration, since the current one has no certificate yet.
    Earlier,
}

impl Acceptor {
    /// Loads the files of `tls`. With `self_signed`, creates certificate and key first if both are
    /// missing. With ACME, the certificate may be missing.
    ///
    /// # Errors
    /// See [`load`]. With `self_signed`: a file cannot be written, or only one of the two is missing.
    pub fn new(tls: &Tls) -> Result<Self, TlsError> {
        let Prepared(state) = Prepared::load(tls)?;
        Ok(Self {
            state: RwLock::new(state),
            loading: Mutex::default(),
            challenges: Challenges::default(),
            reloads: watch::Sender::new(()),
            replaced: watch::Sender::new(()),
            missing_because: Mutex::new("it has not been requested yet".to_owned()),
        })
    }

    /// Uses a prepared configuration from the next connection on. If its files have changed since,
    /// their stamps differ, and [`super::Watch`] loads them again.
    pub fn adopt(&self, Prepared(state): Prepared) {
        let alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(state);
        drop(alone);
        self.reloads.send_replace(());
    }

    /// Loads the files of `tls` and uses them. After an error, the old configuration stays in use.
    ///
    /// # Errors
    /// See [`Acceptor::new`].
    pub fn reload(&self, tls: &Tls) -> Result<(), TlsError> {
        self.adopt(Prepared::load(tls)?);
        Ok(())
    }

    /// Loads the files in use again, without creating any. After an error, the old configuration stays
    /// in use.
    ///
    /// # Errors
    /// See [`load`].
    pub fn refresh(&self) -> Result<(), TlsError> {
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let tls = self.get(|state| state.tls.clone());
        self.set(State::load(&tls)?);
        Ok(())
    }

    fn set(&self, mut state: State) {
        // Until ACME has a certificate for the new names, the one for the old names is better than none.
        if state.loaded.certificate.is_none()
            && let Some(old) = self.get(|state| state.loaded.certificate.clone())
        {
            state.loaded = state.loaded.with_certificate(old);
            state.source = CertificateSource::Earlier;
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.replaced.send_replace(());
    }

    /// The configuration for a connection with this `ClientHello`.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        self.challenges.find(hello).unwrap_or_else(|| self.current())
    }

    /// The configuration for a connection with this `ClientHello`, if it is an ACME challenge.
    pub fn choose_challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        self.challenges.find(hello)
    }

    /// Whether an ACME directory may connect, from any address.
    pub fn expects_challenges(&self) -> bool {
        self.get(|state| state.tls.acme.is_some())
    }

    /// Whether a client with these certificates would be accepted now.
    pub fn accepts_client(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some(clients) = self.get(|state| state.loaded.clients.clone()) else { return true };
        chain.split_first().is_some_and(|(certificate, intermediates)| {
            clients.verify_client_cert(certificate, intermediates, UnixTime::now()).is_ok()
        })
    }

    /// Notifies of each replacement of the configuration after this call.
    pub fn replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// The configuration for the next connection, unless it is an ACME challenge.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.get(|state| Arc::clone(&state.loaded.config))
    }

    /// The validity of the certificate in use, and how it is renewed.
    pub fn validity(&self) -> Option<(Validity, Renewal)> {
        self.get(|state| {
            let certificate = state.loaded.certificate.as_ref()?;
            Some((certificate.validity?, Renewal::from(&state.tls)))
        })
    }

    /// The certificate in use and its intermediates.
    pub fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.get(|state| Some(state.loaded.certificate.as_ref()?.chain().to_vec()))
    }

    /// The ACME settings, and the validity of the certificate that was obtained with them.
    pub fn acme(&self) -> Option<(Acme, Option<Validity>)> {
        self.get(|state| {
            let certificate = state.loaded.certificate.as_ref();
            let current = certificate.filter(|_| state.source == CertificateSource::Current);
            Some((state.tls.acme.clone()?, current.and_then(|certificate| certificate.validity)))
        })
    }

    /// Answers the ACME challenge for `domain` from now on, with a SHA-256 digest.
    ///
    /// # Errors
    /// The certificate of the answer cannot be created.
    pub fn answer_challenge(&self, domain: &str, digest: &[u8; 32]) -> Result<(), TlsError> {
        self.challenges.answer(domain, digest)
    }

    /// Stops answering all challenges.
    pub fn clear_challenges(&self) {
        self.challenges.clear();
    }

    /// Notifies of each [`Acceptor::adopt`] after this call.
    pub fn reloads(&self) -> watch::Receiver<()> {
        self.reloads.subscribe()
    }

    /// Sets the reason that [`Self::readiness`] reports while there is no certificate.
    pub fn set_missing_because(&self, reason: String) {
        *self.missing_because.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Whether the daemon has a certificate.
    ///
    /// # Errors
    /// The reason why it has none, in one line.
    pub fn readiness(&self) -> Result<(), String> {
        if self.get(|state| state.loaded.certificate.is_some()) {
            return Ok(());
        }
        let reason = self.missing_because.lock().unwrap_or_else(PoisonError::into_inner);
        Err(format!("no certificate yet: {reason}"))
    }

    /// The settings in use, and the stamps of the files when they were read.
    pub(super) fn stamped_settings(&self) -> (Tls, FileStamps) {
        self.get(|state| (state.tls.clone(), state.stamps.clone()))
    }

    fn get<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A configuration that is loaded, but not in use yet.
#[derive(Debug)]
pub struct Prepared(State);

impl Prepared {
    /// Loads the files of `tls`. With `self_signed`, creates them first if both are missing.
    ///
    /// # Errors
    /// See [`Acceptor::new`].
    pub fn load(tls: &Tls) -> Result<Self, TlsError> {
        make_self_signed(tls)?;
        State::load(tls).map(Self)
    }
}

impl State {
    fn load(tls: &Tls) -> Result<Self, TlsError> {
        // Taken before the files are read, so that a change during the read is noticed later.
        let stamps = FileStamps::of(tls);
        let loaded = load(tls)?;
        for warning in loaded.certificate.iter().flat_map(Identity::permanent_warnings) {
            warn!(cert_file = %tls.cert_file.display(), "{warning}");
        }
        Ok(Self { tls: tls.clone(), stamps, loaded, source: CertificateSource::Current })
    }
}

fn make_self_signed(tls: &Tls) -> Result<(), TlsError> {
    if tls.self_signed && self_signed::make_if_missing(&tls.cert_file, &tls.key_file)? {
        warn!(
            cert_file = %tls.cert_file.display(),
            key_file = %tls.key_file.display(),
            "created a self-signed certificate for localhost; it is for development, Cloudflare refuses it"
        );
    }
    Ok(())
}
