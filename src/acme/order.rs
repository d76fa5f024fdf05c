//! One order, from the account to the chain.

use std::{io, sync::Arc, time::Duration};

use instant_acme::{
    AccountBuilder, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use tokio::time::{Instant, sleep};

use super::{
    cache::{Account, Issued},
    failure::{Failure, Refusal},
    http::Http,
};
use crate::{
    blocking,
    tls::{self, Acceptor, Acme},
};

/// How often, and how long, the directory is asked whether it is done. `Retry-After` goes before.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// After an order is lost: how long, and how often, a directory is asked for what it thinks of the other
/// names. Pebble gives a name 5 s, and Let's Encrypt 10 s.
const LAST_LOOKS: Duration = Duration::from_secs(15);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Orders a certificate for the names of `acme`, with a key of its own.
pub(super) async fn place(acme: &Acme, acceptor: &Acceptor) -> Result<Issued, Failure> {
    let tls =
        tls::public(acme.directory_ca_file.as_deref()).map_err(|error| Failure::local(&error))?;
    let http = Http::new(tls).map_err(|error| Failure::other(&error))?;
    let outcome = match with_account(acme, acceptor, &http).await {
        // The directory has forgotten us, or somebody has closed the account.
        Err(Stopped::Account(error)) if is_gone(&error) => {
            on_disk(acme, Account::forget).await?;
            with_account(acme, acceptor, &http).await
        }
        outcome => outcome,
    };
    outcome.map_err(|stopped| match stopped {
        Stopped::Account(error) | Stopped::Directory(error) => {
            Failure::of(&error, acme, http.retry_after())
        }
        Stopped::Names(refusals) => Failure::refused(&refusals, acme, http.retry_after()),
        Stopped::Here(failure) => failure,
    })
}

/// Where an order ended.
enum Stopped {
    /// It was the first request that the account was shown with.
    Account(Error),
    /// It was not taken, or the directory cannot be talked to.
    Directory(Error),
    /// Names were not proven.
    Names(Vec<Refusal>),
    Here(Failure),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Directory(error)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

async fn with_account(acme: &Acme, acceptor: &Acceptor, http: &Http) -> Result<Issued, Stopped> {
    let account = account(acme, http).await?;
    let identifiers: Vec<_> = acme.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order =
        account.new_order(&NewOrder::new(&identifiers)).await.map_err(Stopped::Account)?;
    answer_challenges(&mut order, acceptor).await?;
    let outcome = order.poll_ready(&POLL).await;
    if !matches!(outcome, Ok(OrderStatus::Ready)) {
        // Otherwise the directory is slow, or away: looking again would only take longer.
        let is_lost = matches!(outcome, Ok(_) | Err(Error::Api(_)));
        let patience = if is_lost { LAST_LOOKS } else { Duration::ZERO };
        let refusals = refusals(&mut order, patience).await;
        return Err(match outcome {
            _ if !refusals.is_empty() => Stopped::Names(refusals),
            Err(error) => error.into(),
            Ok(_) => Error::Str("a reason why the order is not valid").into(),
        });
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&POLL).await?;
    Ok(Issued { chain, key })
}

async fn account(acme: &Acme, http: &Http) -> Result<instant_acme::Account, Stopped> {
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    let kept = on_disk(acme, Account::kept).await?;
    if let Some(mut kept) = kept
        && let Ok(credentials) = kept.credentials()
    {
        let account = builder(http).from_credentials(credentials).await?;
        if kept.contact != acme.contact {
            account.update_contacts(&contact).await.map_err(Stopped::Account)?;
            kept.contact.clone_from(&acme.contact);
            on_disk(acme, move |acme| kept.keep(acme)).await?;
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
    let kept = Account::new(acme.contact.clone(), &credentials).map_err(Error::Json)?;
    on_disk(acme, move |acme| kept.keep(acme)).await?;
    Ok(account)
}

fn builder(http: &Http) -> AccountBuilder {
    instant_acme::Account::builder_with_http(Box::new(http.clone()))
}

/// Lets the directory look at every name that it does not take as proven.
async fn answer_challenges(order: &mut Order, acceptor: &Acceptor) -> Result<(), Stopped> {
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
        acceptor.answer_challenge(&domain, digest).map_err(|error| Failure::local(&error))?;
        challenge.set_ready().await?;
    }
    Ok(())
}

/// What the directory says of each name that was not proven. An order is lost with the first of them,
/// while the directory may still be looking at others: for as long as `patience` these are waited for, so
/// that whoever mends one name hears of the others, too.
async fn refusals(order: &mut Order, patience: Duration) -> Vec<Refusal> {
    let until = Instant::now() + patience;
    let mut refusals = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        while authorization.status == AuthorizationStatus::Pending && Instant::now() < until {
            sleep(LAST_LOOK).await;
            if authorization.refresh().await.is_err() {
                break;
            }
        }
        let domain = authorization.identifier().to_string();
        let problems =
            authorization.challenges.iter().filter_map(|challenge| challenge.error.clone());
        refusals.extend(problems.map(|problem| Refusal { domain: domain.clone(), problem }));
    }
    refusals
}

/// Whether the directory does not know the account, or (RFC 8555, 7.3.6) has it as closed.
fn is_gone(error: &Error) -> bool {
    let Error::Api(problem) = error else { return false };
    let name = problem.r#type.as_deref().and_then(|name| name.rsplit(':').next());
    matches!(name, Some("accountDoesNotExist" | "unauthorized"))
}

/// The runtime's threads touch no disk.
async fn on_disk<T: Send + 'static>(
    acme: &Acme,
    run: impl FnOnce(&Acme) -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let acme = Arc::new(acme.clone());
    let outcome = blocking::run(move || run(&acme)).await;
    outcome.map_err(|error| Failure::other(&error))?.map_err(|error| Failure::local(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_account_is_as_one_that_is_not_known() {
        let is_gone = |name: &str| {
            let json = format!(r#"{{"type":"urn:ietf:params:acme:error:{name}"}}"#);
            is_gone(&Error::Api(serde_json::from_str(&json).unwrap()))
        };
        assert!(is_gone("accountDoesNotExist") && is_gone("unauthorized"));
        assert!(!is_gone("rateLimited") && !is_gone("rejectedIdentifier"));
        assert!(!super::is_gone(&Error::Str("something")));
    }
}
