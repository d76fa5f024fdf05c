//! Finds the addresses of a name with the system's resolver, within a time.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::steps;

/// The resolver of [`super::Settings::build`].
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port of the URL takes the place of 0.
            let addresses = steps::lookup(name.as_str(), 0).await?;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}
