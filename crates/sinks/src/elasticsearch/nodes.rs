//! The nodes of a cluster: their URLs, and which one gets the next request.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::Url;
use settings::{Context, Setting as _, Value, reference::Takes, setting};

use crate::network::{HttpUrl, UrlTemplate};

/// How long other nodes are preferred to one that failed.
const FAILBACK: Duration = Duration::from_secs(30);

setting! {
    /// The URLs of nodes, without duplicates.
    pub struct NodeUrls(Vec<HttpUrl>): Takes::StringOrList("URL"), read by nodes;
}

fn nodes(value: &Value<'_>, cx: &mut Context) -> Option<Vec<HttpUrl>> {
    let items = value.one_or_items(cx)?;
    let count = items.len();
    let mut nodes = Vec::new();
    for item in items {
        let Some(url) = UrlTemplate::read(&item, cx) else { continue };
        let text = url.to_string();
        if text.contains(['{', '?']) {
            let message = format!("`{}` contains a placeholder or a query", value.name());
            let hint = "write the address of the server only; `index` has the placeholders";
            cx.push(item.problem(message).hint(hint));
        } else if nodes.contains(&url) {
            cx.push(item.problem(format!("`{text}` is listed twice in `{}`", value.name())));
        }
        nodes.push(url);
    }
    (nodes.len() == count).then_some(nodes)
}

/// The URL of `path` at a node. `path` is without a slash at its beginning.
///
/// # Errors
/// The URL did not pass validation.
pub(super) fn at(node: &HttpUrl, path: &str) -> Result<Url, String> {
    let mut url = node.fill("", "")?;
    let path = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// Distributes requests among nodes: each in turn, recently failed ones last.
#[derive(Debug)]
pub(super) struct Nodes {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: usize,
    /// The last failure of each node.
    failed: Vec<Option<Instant>>,
}

impl Nodes {
    pub(super) fn new(count: usize) -> Self {
        Self { state: Mutex::new(State { next: 0, failed: vec![None; count] }) }
    }

    /// The indices of all nodes, in the order in which to try them for a request.
    pub(super) fn order(&self, now: Instant) -> Vec<usize> {
        let mut state = self.state();
        let count = state.failed.len();
        let first = state.next % count.max(1);
        state.next = first + 1;
        let mut order: Vec<_> = (first..count).chain(0..first).collect();
        let has_failed = |node: &usize| {
            let failed = state.failed.get(*node).copied().flatten();
            failed.is_some_and(|at| now.saturating_duration_since(at) < FAILBACK)
        };
        // The sort is stable.
        order.sort_by_key(has_failed);
        order
    }

    /// Begins an attempt with a node.
    pub(super) fn attempt(&self, node: usize) -> Attempt<'_> {
        Attempt { nodes: self, node, has_answered: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request to a node. The node counts as failed unless [`Self::answered`] is called: also if the
/// attempt is dropped at the deadline of the request.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    nodes: &'a Nodes,
    node: usize,
    has_answered: bool,
}

impl Attempt<'_> {
    /// The node works.
    pub(super) fn answered(mut self) {
        self.has_answered = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let failed = (!self.has_answered).then(Instant::now);
        if let Some(state) = self.nodes.state().failed.get_mut(self.node) {
            *state = failed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_take_turns_and_failed_ones_come_last_for_a_while() {
        let nodes = Nodes::new(3);
        let now = Instant::now();
        let orders: Vec<_> = (0..4).map(|_| nodes.order(now)).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        drop(nodes.attempt(1));
        let now = Instant::now();
        assert_eq!(nodes.order(now), [2, 0, 1]);
        assert_eq!(nodes.order(now), [2, 0, 1]);
        assert_eq!(nodes.order(now + FAILBACK), [0, 1, 2]);
        assert_eq!(nodes.order(now), [2, 0, 1]);
        nodes.attempt(1).answered();
        assert_eq!(nodes.order(now), [2, 0, 1]);
        assert_eq!(nodes.order(now), [0, 1, 2]);
        assert_eq!(nodes.order(now), [1, 2, 0]);
    }
}
