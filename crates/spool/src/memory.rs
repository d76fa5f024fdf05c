//! Decoded blocks in memory for sinks that keep up, within one budget.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use records::decode::Block;

/// The memory budget for all blocks. With a decoder for each request and the runtime, the daemon stays
/// under 100 MB.
const BUDGET_BYTES: usize = 40 << 20;

/// The limit for the blocks of one batch. A larger batch would evict all others, so it is read from the
/// spool again.
const BATCH_BYTES: usize = 16 << 20;

/// The memory budget.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryBudget {
    used: Arc<AtomicUsize>,
}

/// The blocks of one batch, in order, which count toward the budget.
#[derive(Debug)]
pub struct Blocks {
    memory: MemoryBudget,
    list: Vec<Block>,
    bytes: usize,
}

impl MemoryBudget {
    pub(super) fn new_blocks(&self) -> Blocks {
        Blocks { memory: self.clone(), list: Vec::new(), bytes: 0 }
    }

    fn take(&self, bytes: usize) -> bool {
        let enough = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= BUDGET_BYTES);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok()
    }
}

impl Blocks {
    /// Adds a block if the budget allows it. `make_room` may free memory.
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

    /// Returns the blocks in order.
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
