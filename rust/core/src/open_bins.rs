//! The bins that still have room, indexed by how much: the data structure behind best fit.
//!
//! Bins of equal long room form a pairing heap with the most short room on top, so that its top alone decides whether
//! any of them fits. A [`MaxTree`] over the tops' short rooms then finds the best fit: the first long room, from the
//! item's long size on, whose short room is the item's short size or more. Both are logarithmic, whatever the lengths.

use crate::convert::index;
use crate::max_tree::MaxTree;

/// No bin: bins are numbered from 1 inside, so that arrays start as zeros, which the system hands out untouched: a large
/// capacity costs nothing until it is used.
const NONE: u32 = 0;

/// One bin and its place in the heap of bins with as much long room.
#[derive(Clone, Copy)]
struct Bin {
    long: u32,
    short: u32,
    child: u32,
    sibling: u32,
}

/// Open bins by the room that is left in them.
pub(crate) struct OpenBins {
    bins: Vec<Bin>,
    /// Top of the heap for each long room.
    tops: Vec<u32>,
    /// Short room of that top; 0 where there is none, which takes no item.
    rooms: MaxTree,
}

impl OpenBins {
    /// No bins, of this capacity in the long stream.
    pub(crate) fn new(capacity: u32) -> Self {
        let entries = index(capacity) + 1;
        Self {
            bins: vec![Bin { long: 0, short: 0, child: NONE, sibling: NONE }],
            tops: vec![NONE; entries],
            rooms: MaxTree::new(entries),
        }
    }

    /// Number of bins opened so far.
    pub(crate) fn len(&self) -> usize {
        self.bins.len() - 1
    }

    /// Opens a bin with this much room and returns its number, counted from 0.
    pub(crate) fn open(&mut self, long: u32, short: u32) -> u32 {
        let number =
            u32::try_from(self.bins.len()).expect("no more bins than records, whose number is checked");
        self.bins.push(Bin { long, short, child: NONE, sibling: NONE });
        self.insert(number);
        number - 1
    }

    /// Puts an item of at least 1 and 1 into the best bin: least long room left, then most short room, then opened first.
    ///
    /// Returns the bin's number, or `None` where no open bin takes the item.
    pub(crate) fn place(&mut self, long: u32, short: u32) -> Option<u32> {
        let room = self.rooms.first_at_least(index(long), short)?;
        let number = self.remove_top(room);
        let bin = &mut self.bins[index(number)];
        bin.long -= long;
        bin.short -= short;
        self.insert(number);
        Some(number - 1)
    }

    fn insert(&mut self, number: u32) {
        let Bin { long, .. } = self.bins[index(number)];
        let top = self.meld(self.tops[index(long)], number);
        self.set_top(index(long), top);
    }

    /// Takes the top off a heap.
    fn remove_top(&mut self, long: usize) -> u32 {
        let number = self.tops[long];
        let children = std::mem::replace(&mut self.bins[index(number)].child, NONE);
        let top = self.meld_all(children);
        self.set_top(long, top);
        number
    }

    fn set_top(&mut self, long: usize, number: u32) {
        self.tops[long] = number;
        // Bin 0 is no bin and has no room.
        self.rooms.set(long, self.bins[index(number)].short);
    }

    /// Joins two heaps: the better top keeps the other as its first child.
    fn meld(&mut self, a: u32, b: u32) -> u32 {
        if a == NONE || b == NONE {
            return a | b;
        }
        let room = |number: u32| self.bins[index(number)].short;
        let (top, below) = if (room(a), b) > (room(b), a) { (a, b) } else { (b, a) };
        self.bins[index(below)].sibling = self.bins[index(top)].child;
        self.bins[index(top)].child = below;
        top
    }

    /// Joins a list of siblings, pairwise and then from the last pair back, which keeps removal logarithmic.
    fn meld_all(&mut self, mut list: u32) -> u32 {
        let mut pairs = NONE;
        while list != NONE {
            let first = list;
            let second = self.cut_sibling(first);
            list = if second == NONE { NONE } else { self.cut_sibling(second) };
            let pair = self.meld(first, second);
            self.bins[index(pair)].sibling = pairs;
            pairs = pair;
        }
        let mut top = NONE;
        while pairs != NONE {
            let rest = self.cut_sibling(pairs);
            top = self.meld(top, pairs);
            pairs = rest;
        }
        top
    }

    fn cut_sibling(&mut self, number: u32) -> u32 {
        std::mem::replace(&mut self.bins[index(number)].sibling, NONE)
    }
}
