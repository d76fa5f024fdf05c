//! Decoded blocks that stay in memory for sinks that keep up, under one budget.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use records::decode::Block;

/// What decoded blocks may take together. With a decoder a request and the runtime's own needs it
/// keeps the daemon under 100 MB.
const BUDGET_BYTES: usize = 40 << 20;

/// What those of one batch may take: a larger one is read from the spool again, since it would push
/// out all others.
const BATCH_BYTES: usize = 16 << 20;

/// The budget.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    used: Arc<AtomicUsize>,
}

/// The blocks of one batch, in order, and the memory they are charged for.
#[derive(Debug)]
pub struct Blocks {
    memory: Memory,
    list: Vec<Block>,
    bytes: usize,
}

impl Memory {
    pub(super) fn gather(&self) -> Blocks {
        Blocks { memory: self.clone(), list: Vec::new(), bytes: 0 }
    }

    fn take(&self, bytes: usize) -> bool {
        let enough = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= BUDGET_BYTES);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }
}

impl Blocks {
    /// Adds a block, if the budget allows; `make_room` may free some of it.
    pub(super) fn push(&mut self, mut block: Block, make_room: impl FnOnce(usize)) -> bool {
        if block.bytes.len() < block.bytes.capacity() / 2 {
            block.bytes.shrink_to_fit();
        }
        let bytes = block.bytes.capacity();
        if self.bytes + bytes > BATCH_BYTES || !block.rejects.is_empty() {
            return false;
        }
        if !self.memory.take(bytes) {
            make_room(bytes);
            if !self.memory.take(bytes) {
                return false;
            }
        }
        self.bytes += bytes;
        self.list.push(block);
        true
    }

    /// The blocks.
    pub fn iter(&self) -> impl Iterator<Item = &Block> {
        self.list.iter()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
