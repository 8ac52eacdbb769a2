//! Which block of the cache holds which tokens: blocks are found again by their content, so a conversation that goes on,
//! or a second one that begins alike, computes its common beginning once.
//!
//! Source: Kwon 2023, "PagedAttention"; prefix reuse by content as in vLLM.

/// A block of cache slots.
#[derive(Clone, Debug, Default)]
struct Block {
    /// Block that holds the tokens before, by its serial; 0 at the start of a sequence.
    parent: u64,
    /// Distinguishes uses of the same slots: a block that is refilled gets a new one.
    serial: u64,
    /// The tokens whose keys and values are here.
    tokens: Vec<u32>,
    /// When it was last part of a sequence.
    used_at: u64,
}

/// The blocks of a cache, and the sequence that is being worked on.
#[derive(Clone, Debug)]
pub struct Pages {
    block_tokens: usize,
    blocks: Vec<Block>,
    /// Blocks of the current sequence, in order.
    table: Vec<usize>,
    n_tokens: usize,
    clock: u64,
    next_serial: u64,
}

impl Pages {
    /// A cache of `n_blocks` blocks of `block_tokens` tokens.
    ///
    /// # Panics
    /// If either is 0.
    #[must_use]
    pub fn new(n_blocks: usize, block_tokens: usize) -> Self {
        assert!(n_blocks > 0 && block_tokens > 0, "a cache holds something");
        let blocks = vec![Block::default(); n_blocks];
        Pages { block_tokens, blocks, table: Vec::new(), n_tokens: 0, clock: 0, next_serial: 1 }
    }

    /// Tokens that the whole cache holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.blocks.len() * self.block_tokens
    }

    /// Blocks of the current sequence.
    #[must_use]
    pub fn table(&self) -> Vec<u32> {
        self.table.iter().map(|&b| b as u32).collect()
    }

    /// Tokens of the current sequence in the cache.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Begins a sequence with as much of `prompt` as the cache still holds, but never all of it: the last token has to be
    /// computed for its logits. Returns the number of tokens that need not be computed.
    pub fn begin(&mut self, prompt: &[u32]) -> usize {
        self.clock += 1;
        self.table.clear();
        self.n_tokens = 0;
        let most = prompt.len().saturating_sub(1);
        let mut parent = 0;
        while self.n_tokens < most {
            let rest = &prompt[self.n_tokens..most];
            let Some((at, common)) = self.longest(parent, rest) else { break };
            let block = &mut self.blocks[at];
            block.used_at = self.clock;
            parent = block.serial;
            self.table.push(at);
            self.n_tokens += common;
            if common < self.block_tokens {
                // What follows in this block belongs to another continuation and will be overwritten.
                self.cut(at, common);
                break;
            }
        }
        self.n_tokens
    }

    /// The block after `parent` that shares the most tokens with `rest`.
    fn longest(&self, parent: u64, rest: &[u32]) -> Option<(usize, usize)> {
        let common = |block: &Block| block.tokens.iter().zip(rest).take_while(|(a, b)| a == b).count();
        let children = self.blocks.iter().enumerate().filter(|(_, b)| b.serial != 0 && b.parent == parent);
        children
            .map(|(at, b)| (at, common(b)))
            .filter(|&(_, n)| n > 0)
            .max_by_key(|&(at, n)| (n, std::cmp::Reverse(at)))
    }

    /// Forgets the tokens of a block from `n` on; what came after it can no longer be found through it.
    fn cut(&mut self, at: usize, n: usize) {
        if self.blocks[at].tokens.len() > n {
            self.blocks[at].tokens.truncate(n);
            self.blocks[at].serial = self.next_serial;
            self.next_serial += 1;
        }
    }

    /// Makes room for `n_tokens` tokens of the sequence in all. Returns the blocks that were added, with their places in the
    /// table, or `None` if the cache is too small.
    pub fn reserve(&mut self, n_tokens: usize) -> Option<Vec<(usize, u32)>> {
        let mut added = Vec::new();
        while self.table.len() * self.block_tokens < n_tokens {
            let free = (0..self.blocks.len()).filter(|b| !self.table.contains(b));
            let oldest = free.min_by_key(|&b| (self.blocks[b].used_at, b))?;
            let parent = self.table.last().map_or(0, |&b| self.blocks[b].serial);
            self.blocks[oldest] = Block { parent, serial: self.next_serial, tokens: Vec::new(), used_at: self.clock };
            self.next_serial += 1;
            added.push((self.table.len(), oldest as u32));
            self.table.push(oldest);
        }
        Some(added)
    }

    /// Notes that the next tokens of the sequence are in the cache now.
    ///
    /// # Panics
    /// If no room was reserved.
    pub fn append(&mut self, tokens: &[u32]) {
        for &token in tokens {
            let at = self.table[self.n_tokens / self.block_tokens];
            self.blocks[at].tokens.push(token);
            self.n_tokens += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(pages: &mut Pages, sequence: &[u32]) -> usize {
        let reused = pages.begin(sequence);
        pages.reserve(sequence.len()).expect("there is room");
        pages.append(&sequence[reused..]);
        reused
    }

    #[test]
    fn a_conversation_that_goes_on_computes_only_what_is_new() {
        let mut pages = Pages::new(8, 4);
        assert_eq!(put(&mut pages, &[1, 2, 3, 4, 5, 6]), 0);
        assert_eq!(put(&mut pages, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), 6);
        // The same prompt again: all but its last token.
        assert_eq!(put(&mut pages, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), 8);
        // Another continuation of a part of it.
        assert_eq!(put(&mut pages, &[1, 2, 3, 4, 5, 7, 7]), 5);
        assert_eq!(put(&mut pages, &[2, 2]), 0);
    }

    #[test]
    fn old_blocks_make_room() {
        let mut pages = Pages::new(3, 2);
        put(&mut pages, &[1, 2, 3, 4]);
        put(&mut pages, &[9, 8, 7, 6, 5, 4]);
        assert_eq!(pages.begin(&[1, 2, 3]), 0);
        assert!(pages.reserve(7).is_none());
    }

    proptest! {
        /// What the cache says it holds is what was computed there last.
        #[test]
        fn reused_tokens_are_the_prompts(prompts in prop::collection::vec(prop::collection::vec(0u32..3, 1..24), 1..40)) {
            let (n_blocks, block) = (8, 4);
            let mut pages = Pages::new(n_blocks, block);
            // What each slot was last computed from: the whole prefix up to its token.
            let mut slots: Vec<Vec<u32>> = vec![Vec::new(); n_blocks * block];
            for prompt in prompts {
                let reused = pages.begin(&prompt);
                prop_assert!(reused < prompt.len());
                prop_assert!(pages.reserve(prompt.len()).is_some());
                let table = pages.table();
                for i in 0..prompt.len() {
                    let slot = table[i / block] as usize * block + i % block;
                    if i < reused {
                        prop_assert_eq!(&slots[slot], &prompt[..=i].to_vec());
                    } else {
                        slots[slot] = prompt[..=i].to_vec();
                    }
                }
                pages.append(&prompt[reused..]);
            }
        }
    }
}
