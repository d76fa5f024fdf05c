//! Orders a certificate, from the account to the chain.

use std::{io, sync::Arc, time::Duration};

use instant_acme::{
    AccountBuilder, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use tokio::time::{Instant, sleep};

use super::{
    cache::{Account, IssuedCertificate},
    failure::{AttemptError, DomainProblem},
    http::Http,
};
use crate::{
    blocking,
    tls::{self, Acceptor, Acme},
};

/// Interval and limit for polling an order. `Retry-After` takes precedence.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// Time, and interval, for polling the pending domains of a failed order. Pebble validates a domain
/// for up to 5 s, and Let's Encrypt for 10 s.
const PENDING_TIMEOUT: Duration = Duration::from_secs(15);
const PENDING_INTERVAL: Duration = Duration::from_secs(1);

/// Orders a certificate for the domains of `acme`, with a new key.
pub(super) async fn place(
    acme: &Acme,
    acceptor: &Acceptor,
) -> Result<IssuedCertificate, AttemptError> {
    let tls = tls::public(acme.directory_ca_file.as_deref())
        .map_err(|error| AttemptError::local(&error))?;
    let http = Http::new(tls).map_err(|error| AttemptError::internal(&error))?;
    let outcome = match with_account(acme, acceptor, &http).await {
        // The directory has lost the account, or someone closed it.
        Err(OrderError::Account(error)) if is_gone(&error) => {
            on_disk(acme, Account::remove).await?;
            with_account(acme, acceptor, &http).await
        }
        outcome => outcome,
    };
    outcome.map_err(|error| match error {
        OrderError::Account(error) | OrderError::Directory(error) => {
            AttemptError::of(&error, acme, http.retry_after())
        }
        OrderError::Domains(problems) => {
            AttemptError::rejected(&problems, acme, http.retry_after())
        }
        OrderError::Local(failure) => failure,
    })
}

/// Why an order failed.
enum OrderError {
    /// The first request with the account failed.
    Account(Error),
    /// The directory rejected the order, or is unreachable.
    Directory(Error),
    /// Domains were not validated.
    Domains(Vec<DomainProblem>),
    Local(AttemptError),
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        Self::Directory(error)
    }
}

impl From<AttemptError> for OrderError {
    fn from(failure: AttemptError) -> Self {
        Self::Local(failure)
    }
}

/// Orders a certificate with the stored or a new account.
async fn with_account(
    acme: &Acme,
    acceptor: &Acceptor,
    http: &Http,
) -> Result<IssuedCertificate, OrderError> {
    let account = account(acme, http).await?;
    let identifiers: Vec<_> = acme.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order =
        account.new_order(&NewOrder::new(&identifiers)).await.map_err(OrderError::Account)?;
    answer_challenges(&mut order, acceptor).await?;
    let outcome = order.poll_ready(&POLL).await;
    if !matches!(outcome, Ok(OrderStatus::Ready)) {
        // Otherwise the directory is slow or unreachable, and polling would only take longer.
        let has_failed = matches!(outcome, Ok(_) | Err(Error::Api(_)));
        let timeout = if has_failed { PENDING_TIMEOUT } else { Duration::ZERO };
        let problems = problems(&mut order, timeout).await;
        return Err(match outcome {
            _ if !problems.is_empty() => OrderError::Domains(problems),
            Err(error) => error.into(),
            Ok(_) => Error::Str("the reason why the order is not valid").into(),
        });
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&POLL).await?;
    Ok(IssuedCertificate { chain, key })
}

/// Returns the stored account, or creates one.
async fn account(acme: &Acme, http: &Http) -> Result<instant_acme::Account, OrderError> {
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    let stored = on_disk(acme, Account::load).await?;
    if let Some(mut stored) = stored
        && let Ok(credentials) = stored.credentials()
    {
        let account = builder(http).from_credentials(credentials).await?;
        if stored.contact != acme.contact {
            account.update_contacts(&contact).await.map_err(OrderError::Account)?;
            stored.contact.clone_from(&acme.contact);
            on_disk(acme, move |acme| stored.store(acme)).await?;
        }
        return Ok(account);
    }
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, credentials) =
        builder(http).create(&new, acme.directory_url.clone(), None).await?;
    let new = Account::new(acme.contact.clone(), &credentials).map_err(Error::Json)?;
    on_disk(acme, move |acme| new.store(acme)).await?;
    Ok(account)
}

fn builder(http: &Http) -> AccountBuilder {
    instant_acme::Account::builder_with_http(Box::new(http.clone()))
}

/// Answers the challenges of all domains that the directory has not validated.
async fn answer_challenges(order: &mut Order, acceptor: &Acceptor) -> Result<(), OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or(Error::Unsupported("the challenge TLS-ALPN-01"))?;
        let domain = challenge.identifier().to_string();
        let digest = challenge.key_authorization().digest();
        let digest = <&[u8; 32]>::try_from(digest.as_ref()).map_err(|_| Error::Crypto)?;
        acceptor.answer_challenge(&domain, digest).map_err(|error| AttemptError::local(&error))?;
        challenge.set_ready().await?;
    }
    Ok(())
}

/// Returns the problems of the domains that were not validated. An order fails with its first
/// domain, while others may still be pending: polls these until `timeout`, so that the operator
/// learns of all problems at once.
async fn problems(order: &mut Order, timeout: Duration) -> Vec<DomainProblem> {
    let until = Instant::now() + timeout;
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        while authorization.status == AuthorizationStatus::Pending && Instant::now() < until {
            sleep(PENDING_INTERVAL).await;
            if authorization.refresh().await.is_err() {
                break;
            }
        }
        let domain = authorization.identifier().to_string();
        let problems =
            authorization.challenges.iter().filter_map(|challenge| challenge.error.clone());
        found.extend(problems.map(|problem| DomainProblem { domain: domain.clone(), problem }));
    }
    found
}

/// Whether the account is unknown to the directory, or closed (RFC 8555, section 7.3.6).
fn is_gone(error: &Error) -> bool {
    let Error::Api(problem) = error else { return false };
    let name = problem.r#type.as_deref().and_then(|name| name.rsplit(':').next());
    matches!(name, Some("accountDoesNotExist" | "unauthorized"))
}

/// Accesses the cache on a blocking thread.
async fn on_disk<T: Send + 'static>(
    acme: &Acme,
    run: impl FnOnce(&Acme) -> io::Result<T> + Send + 'static,
) -> Result<T, AttemptError> {
    let acme = Arc::new(acme.clone());
    let outcome = blocking::run(move || run(&acme)).await;
    outcome
        .map_err(|error| AttemptError::internal(&error))?
        .map_err(|error| AttemptError::local(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_account_is_treated_as_unknown() {
        let is_gone = |name: &str| {
            let json = format!(r#"{{"type":"urn:ietf:params:acme:error:{name}"}}"#);
            is_gone(&Error::Api(serde_json::from_str(&json).unwrap()))
        };
        assert!(is_gone("accountDoesNotExist") && is_gone("unauthorized"));
        assert!(!is_gone("rateLimited") && !is_gone("rejectedIdentifier"));
        assert!(!super::is_gone(&Error::Str("something")));
    }
}
