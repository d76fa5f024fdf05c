//! The configuration that connections are accepted with, and its exchange under them.

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
    self_signed, watch::Stamp,
};

/// The configuration that new connections are accepted with; it can be exchanged under them.
///
/// Connections under way keep the one they began with.
#[derive(Debug)]
pub struct Acceptor {
    state: RwLock<State>,
    /// Held while files are read: of two that load, the later one must win.
    loading: Mutex<()>,
    challenges: Challenges,
    /// Told of each [`Acceptor::adopt`].
    reloads: watch::Sender<()>,
    /// Told of everything that new connections are accepted with.
    replaced: watch::Sender<()>,
    /// Why there is no certificate yet.
    awaiting: Mutex<String>,
}

#[derive(Debug)]
struct State {
    tls: Tls,
    /// How the files looked when `loaded` was read from them.
    stamp: Stamp,
    loaded: Loaded,
    origin: Origin,
}

/// Where the certificate in use is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    Files,
    /// An earlier configuration; of this one there is none yet.
    Before,
}

impl Acceptor {
    /// Loads what `tls` names. With `self_signed`, certificate and key are made first if both are
    /// missing. With ACME there may be no certificate yet.
    ///
    /// # Errors
    /// Anything that [`load`] refuses; files that cannot be written; one of the two missing.
    pub fn new(tls: &Tls) -> Result<Self, TlsError> {
        let Prepared(state) = Prepared::load(tls)?;
        Ok(Self {
            state: RwLock::new(state),
            loading: Mutex::default(),
            challenges: Challenges::default(),
            reloads: watch::Sender::new(()),
            replaced: watch::Sender::new(()),
            awaiting: Mutex::new("it is about to be asked for".to_owned()),
        })
    }

    /// Accepts with what was prepared, from the next connection on. Should its files have been
    /// refreshed meanwhile, they differ from what it is made of, and are refreshed again.
    pub fn adopt(&self, Prepared(state): Prepared) {
        let alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(state);
        drop(alone);
        self.reloads.send_replace(());
    }

    /// Loads again; on an error everything stays as it was.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn reload(&self, tls: &Tls) -> Result<(), TlsError> {
        self.adopt(Prepared::load(tls)?);
        Ok(())
    }

    /// Loads the files again that are in use now, and makes none.
    ///
    /// # Errors
    /// As [`load`]; everything stays as it was.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let tls = self.get(|state| state.tls.clone());
        self.set(State::load(&tls)?);
        Ok(())
    }

    fn set(&self, mut state: State) {
        // Until there is one for other names, that for the old ones is better than none.
        if state.loaded.certificate.is_none()
            && let Some(old) = self.get(|state| state.loaded.certificate.clone())
        {
            state.loaded = state.loaded.showing(old);
            state.origin = Origin::Before;
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.replaced.send_replace(());
    }

    /// What to accept a connection with that begins like this.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        self.challenges.find(hello).unwrap_or_else(|| self.current())
    }

    /// What to accept a connection with that begins like this, if it is a challenge.
    pub fn choose_challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        self.challenges.find(hello)
    }

    /// Whether an ACME directory may connect, from whatever address.
    pub fn expects_challenges(&self) -> bool {
        self.get(|state| state.tls.acme.is_some())
    }

    /// Whether a client that has shown these certificates could still connect.
    pub fn accepts_client(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some(clients) = self.get(|state| state.loaded.clients.clone()) else { return true };
        chain.split_first().is_some_and(|(certificate, intermediates)| {
            clients.verify_client_cert(certificate, intermediates, UnixTime::now()).is_ok()
        })
    }

    /// Changes with everything that connections are accepted with, after this call.
    pub fn replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// What the next connection is to be accepted with, if it is no challenge.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.get(|state| Arc::clone(&state.loaded.config))
    }

    /// The validity of the certificate in use, and who renews it.
    pub fn validity(&self) -> Option<(Validity, Renewal)> {
        self.get(|state| {
            let certificate = state.loaded.certificate.as_ref()?;
            Some((certificate.validity?, Renewal::from(&state.tls)))
        })
    }

    /// The certificate in use and its intermediates, to see whether they change.
    pub fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.get(|state| Some(state.loaded.certificate.as_ref()?.chain().to_vec()))
    }

    /// How to get a certificate, and the validity of the one that was got that way.
    pub fn acme(&self) -> Option<(Acme, Option<Validity>)> {
        self.get(|state| {
            let certificate = state.loaded.certificate.as_ref();
            let ours = certificate.filter(|_| state.origin == Origin::Files);
            Some((state.tls.acme.clone()?, ours.and_then(|certificate| certificate.validity)))
        })
    }

    /// Answers the challenge for `domain` from now on. `digest` is SHA-256.
    ///
    /// # Errors
    /// The certificate for it cannot be made.
    pub fn answer_challenge(&self, domain: &str, digest: &[u8; 32]) -> Result<(), TlsError> {
        self.challenges.answer(domain, digest)
    }

    /// Answers no challenge any more.
    pub fn forget_challenges(&self) {
        self.challenges.clear();
    }

    /// Changes with each [`Acceptor::adopt`] after this call.
    pub fn reloads(&self) -> watch::Receiver<()> {
        self.reloads.subscribe()
    }

    /// Says why there is no certificate yet.
    pub fn await_certificate(&self, why: String) {
        *self.awaiting.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Whether there is a certificate to show; if not, why.
    ///
    /// # Errors
    /// In one line, for people.
    pub fn readiness(&self) -> Result<(), String> {
        if self.get(|state| state.loaded.certificate.is_some()) {
            return Ok(());
        }
        let why = self.awaiting.lock().unwrap_or_else(PoisonError::into_inner);
        Err(format!("no certificate yet: {why}"))
    }

    /// What is in use, and how its files looked when they were read.
    pub(super) fn source(&self) -> (Tls, Stamp) {
        self.get(|state| (state.tls.clone(), state.stamp.clone()))
    }

    fn get<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was loaded, and is not in use yet.
#[derive(Debug)]
pub struct Prepared(State);

impl Prepared {
    /// Loads what `tls` names; what is self-signed is made if it is missing.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn load(tls: &Tls) -> Result<Self, TlsError> {
        make(tls)?;
        State::load(tls).map(Self)
    }
}

impl State {
    fn load(tls: &Tls) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is then seen as a change.
        let stamp = Stamp::of(tls);
        let loaded = load(tls)?;
        for oddity in loaded.certificate.iter().flat_map(Identity::oddities) {
            warn!(cert_file = %tls.cert_file.display(), "{oddity}");
        }
        Ok(Self { tls: tls.clone(), stamp, loaded, origin: Origin::Files })
    }
}

fn make(tls: &Tls) -> Result<(), TlsError> {
    if tls.self_signed && self_signed::make_if_missing(&tls.cert_file, &tls.key_file)? {
        warn!(
            cert_file = %tls.cert_file.display(),
            key_file = %tls.key_file.display(),
            "made a self-signed certificate for localhost: for development, cloudflare refuses it"
        );
    }
    Ok(())
}
