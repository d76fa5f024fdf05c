//! Resolves names with the system's resolver, with a deadline.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::steps;

/// The resolver of [`super::Settings::build`].
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // `reqwest` replaces port 0 with the port of the URL.
            let addresses = steps::lookup(name.as_str(), 0).await?;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}
