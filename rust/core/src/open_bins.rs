//! The bins that still have room, indexed by how much: the data structure behind best fit.
//!
//! Bins of equal residual long capacity form a heap with the roomiest short side on top, so that its top alone decides
//! whether any of them fits. A bit for each occupied residual, and a bit for each block of 64 with any, lead to the
//! next larger residual. A block also keeps an upper bound on its bins' short residuals, tightened whenever a search of
//! the block fails, so that blocks of bins with a full short side are passed over: each removal pays for at most one
//! failed search.

use crate::convert::index;

/// Residuals to a block: the bits of a word.
const BLOCK: usize = 64;

/// No bin: heaps end here.
const NONE: u32 = 0;

/// Open bins by residual capacity. Bins are numbered from 1 inside, which leaves 0 for [`NONE`]: arrays of zeros are
/// handed out by the system untouched, so a large capacity costs nothing until it is used.
pub(crate) struct OpenBins {
    long: Vec<u32>,
    short: Vec<u32>,
    child: Vec<u32>,
    sibling: Vec<u32>,
    root: Vec<u32>,
    occupied: Vec<u64>,
    blocks: Vec<u64>,
    short_bound: Vec<u32>,
}

impl OpenBins {
    /// No bins, of this capacity in the long stream.
    pub(crate) fn new(capacity: u32) -> Self {
        let residuals = index(capacity) + 1;
        let blocks = residuals.div_ceil(BLOCK);
        Self {
            long: vec![0],
            short: vec![0],
            child: vec![NONE],
            sibling: vec![NONE],
            root: vec![NONE; residuals],
            occupied: vec![0; blocks],
            blocks: vec![0; blocks.div_ceil(BLOCK)],
            short_bound: vec![0; blocks],
        }
    }

    /// Number of bins opened so far.
    pub(crate) fn len(&self) -> usize {
        self.long.len() - 1
    }

    /// Opens a bin with this much room and returns its number, counted from 0.
    pub(crate) fn open(&mut self, long: u32, short: u32) -> u32 {
        let bin = u32::try_from(self.long.len()).expect("no more bins than records, whose number is checked");
        self.long.push(long);
        self.short.push(short);
        self.child.push(NONE);
        self.sibling.push(NONE);
        self.insert(bin);
        bin - 1
    }

    /// Puts an item into the best bin: least long room left, then most short room, then opened first.
    ///
    /// Returns the bin's number, or `None` where no open bin takes the item.
    pub(crate) fn place(&mut self, long: u32, short: u32) -> Option<u32> {
        let residual = self.find(index(long), short)?;
        let bin = self.remove_top(residual);
        self.long[index(bin)] -= long;
        self.short[index(bin)] -= short;
        self.insert(bin);
        Some(bin - 1)
    }

    /// The least residual of `long` or more whose roomiest bin has `short` left.
    fn find(&mut self, long: usize, short: u32) -> Option<usize> {
        let block = long / BLOCK;
        let from = !0 << (long % BLOCK);
        if let Ok(residual) = self.search(block, from, short) {
            return Some(residual);
        }
        let mut next = block + 1;
        while let Some(block) = self.next_block(next) {
            if self.short_bound[block] >= short {
                match self.search(block, !0, short) {
                    Ok(residual) => return Some(residual),
                    Err(bound) => self.short_bound[block] = bound,
                }
            }
            next = block + 1;
        }
        None
    }

    /// The first fitting residual among a block's `mask`, or else the most short room seen there.
    fn search(&self, block: usize, mask: u64, short: u32) -> Result<usize, u32> {
        let mut bits = self.occupied[block] & mask;
        let mut bound = 0;
        while bits != 0 {
            let residual = block * BLOCK + index(bits.trailing_zeros());
            let room = self.short[index(self.root[residual])];
            if room >= short {
                return Ok(residual);
            }
            bound = bound.max(room);
            bits &= bits - 1;
        }
        Err(bound)
    }

    /// The first block from `from` on that has a bin.
    fn next_block(&self, from: usize) -> Option<usize> {
        let mut word = from / BLOCK;
        let mut bits = self.blocks.get(word)? & (!0 << (from % BLOCK));
        while bits == 0 {
            word += 1;
            bits = *self.blocks.get(word)?;
        }
        Some(word * BLOCK + index(bits.trailing_zeros()))
    }

    fn insert(&mut self, bin: u32) {
        let residual = index(self.long[index(bin)]);
        let block = residual / BLOCK;
        self.root[residual] = self.meld(self.root[residual], bin);
        self.occupied[block] |= 1 << (residual % BLOCK);
        self.blocks[block / BLOCK] |= 1 << (block % BLOCK);
        self.short_bound[block] = self.short_bound[block].max(self.short[index(bin)]);
    }

    /// Takes the top off a residual's heap. The block's bound stays: it is an upper bound still.
    fn remove_top(&mut self, residual: usize) -> u32 {
        let bin = self.root[residual];
        let children = std::mem::replace(&mut self.child[index(bin)], NONE);
        self.root[residual] = self.meld_all(children);
        if self.root[residual] == NONE {
            let block = residual / BLOCK;
            self.occupied[block] &= !(1 << (residual % BLOCK));
            if self.occupied[block] == 0 {
                self.blocks[block / BLOCK] &= !(1 << (block % BLOCK));
            }
        }
        bin
    }

    /// Joins two pairing heaps: the better top keeps the other as its first child.
    fn meld(&mut self, a: u32, b: u32) -> u32 {
        if a == NONE || b == NONE {
            return a | b;
        }
        let room = |bin: u32| self.short[index(bin)];
        let (top, below) = if (room(a), b) > (room(b), a) { (a, b) } else { (b, a) };
        self.sibling[index(below)] = self.child[index(top)];
        self.child[index(top)] = below;
        top
    }

    /// Joins a list of siblings, pairwise and then from the last pair back, which keeps removal logarithmic.
    fn meld_all(&mut self, mut list: u32) -> u32 {
        let mut pairs = NONE;
        while list != NONE {
            let first = list;
            let second = std::mem::replace(&mut self.sibling[index(first)], NONE);
            list =
                if second == NONE { NONE } else { std::mem::replace(&mut self.sibling[index(second)], NONE) };
            let pair = self.meld(first, second);
            self.sibling[index(pair)] = pairs;
            pairs = pair;
        }
        let mut root = NONE;
        while pairs != NONE {
            let rest = std::mem::replace(&mut self.sibling[index(pairs)], NONE);
            root = self.meld(root, pairs);
            pairs = rest;
        }
        root
    }
}
