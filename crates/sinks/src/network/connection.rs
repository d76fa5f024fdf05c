//! A connection of its own, for targets that have to answer a later request on the same one.

use std::sync::Arc;

use reqwest::{
    Request,
    header::{HeaderName, HeaderValue},
};

use super::{
    HttpAnswer, HttpRequest, HttpSender,
    http::{Session, unusable_file},
};
use crate::upload::Verdict;

/// A connection that no other requests use. As long as there is one request at a time, and the
/// response of each is read to its end, all of them use the same connection, unless it fails or the
/// server closes it.
#[derive(Debug, Default)]
pub struct OwnConnection {
    /// The session with the files that the last request was prepared with.
    shared: Option<Arc<Session>>,
    /// The session with the connection. `None` after a failure.
    own: Option<Arc<Session>>,
}

impl OwnConnection {
    /// Adds the secret headers to a request. Reads no file: uses the contents that the last request
    /// was prepared with.
    ///
    /// # Errors
    /// The connection was not used before.
    pub fn prepare(&self, request: Request) -> Result<HttpRequest, String> {
        let shared = self.shared.as_ref().ok_or("the connection was not used before")?;
        HttpRequest::of(request, Arc::clone(shared))
    }

    /// Closes a connection that is older than five minutes, so that the next request may reach a
    /// target that has moved.
    pub fn close_if_old(&mut self) {
        self.own.take_if(|own| own.is_old());
    }

    fn open(&mut self, shared: &Arc<Session>) -> Result<Arc<Session>, String> {
        let is_same = self.shared.as_ref().is_some_and(|last| Arc::ptr_eq(last, shared));
        let own = match &self.own {
            Some(own) if is_same => Arc::clone(own),
            // The files were read again for another connection. This one still works.
            Some(own) => Arc::new(own.with_secrets_of(shared)),
            None => Arc::new(shared.with_own_connections()?),
        };
        self.shared = Some(Arc::clone(shared));
        self.own = Some(Arc::clone(&own));
        Ok(own)
    }
}

impl HttpRequest {
    /// Adds the secrets of a session to a request.
    pub(super) fn of(mut request: Request, session: Arc<Session>) -> Result<Self, String> {
        session.secrets.fill_in(request.url_mut())?;
        request.headers_mut().extend(session.secrets.headers.clone());
        Ok(Self(Ok((request, session))))
    }

    /// Prepares another request with the same files.
    ///
    /// # Errors
    /// This request could not be prepared.
    pub fn beside(&self, request: Request) -> Result<Self, String> {
        let (_, session) = self.0.as_ref().map_err(Clone::clone)?;
        Self::of(request, Arc::clone(session))
    }

    /// Sets a header that depends on the connection.
    pub fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        if let Ok((request, _)) = &mut self.0 {
            request.headers_mut().insert(name, value);
        }
    }
}

impl HttpSender {
    /// Sends a request over a connection of its own.
    ///
    /// # Errors
    /// There is no response. The verdict contains the reason.
    pub async fn send_over(
        &self,
        connection: &mut OwnConnection,
        HttpRequest(request): HttpRequest,
    ) -> Result<HttpAnswer, Verdict> {
        let (request, shared) = request.map_err(unusable_file)?;
        let own = connection.open(&shared).map_err(unusable_file)?;
        let answer = self.exchange(request, &own, &shared).await;
        if answer.is_err() {
            connection.own = None;
        }
        answer
    }
}
