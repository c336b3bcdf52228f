//! Numbers in a row, and the first from a place on that is large enough.

use crate::convert::index;

/// Entries to a group. A group is one cache line, and compilers compare it without branches.
const FAN: usize = 16;

type Group = [u32; FAN];

/// A tree of maxima: each entry above the lowest level is the maximum of a group below it.
pub(crate) struct MaxTree {
    /// From the entries themselves to a level of one group. Filled up with zeros.
    levels: Vec<Vec<Group>>,
}

impl MaxTree {
    /// Zeros. Large trees cost nothing until they are used: the system hands out zeros untouched.
    pub(crate) fn new(entries: usize) -> Self {
        let mut levels = vec![vec![[0; FAN]; entries.div_ceil(FAN).max(1)]];
        while let Some(groups) = levels.last().map(Vec::len).filter(|&groups| groups > 1) {
            levels.push(vec![[0; FAN]; groups.div_ceil(FAN)]);
        }
        Self { levels }
    }

    /// Index of the first entry from `from` on that is `least` or more, for a `least` above 0.
    pub(crate) fn first_at_least(&self, from: usize, least: u32) -> Option<usize> {
        let mut at = from;
        for (height, level) in self.levels.iter().enumerate() {
            let found = large(level.get(at / FAN)?, least) & (!0 << (at % FAN));
            if found != 0 {
                let top = at / FAN * FAN + index(found.trailing_zeros());
                let down =
                    |at, level: &Vec<Group>| at * FAN + index(large(&level[at], least).trailing_zeros());
                return Some(self.levels[..height].iter().rev().fold(top, down));
            }
            // Everything from the next group on is what the next level knows about.
            at = at / FAN + 1;
        }
        None
    }

    /// Changes an entry, and above it the maxima that change with it.
    pub(crate) fn set(&mut self, at: usize, value: u32) {
        let (mut at, mut value) = (at, value);
        for height in 0..self.levels.len() {
            let group = &mut self.levels[height][at / FAN];
            let before = std::mem::replace(&mut group[at % FAN], value);
            let group = *group;
            at /= FAN;
            let Some(above) = self.levels.get(height + 1) else { return };
            let most = above[at / FAN][at % FAN];
            if value < most {
                if before < most {
                    return;
                }
                // The maximum itself was lowered: only now do the others matter.
                value = group.iter().fold(0, |most, &entry| most.max(entry));
            }
        }
    }
}

/// A bit for each entry of a group that is `least` or more.
fn large(group: &Group, least: u32) -> u32 {
    group.iter().enumerate().fold(0, |bits, (at, &entry)| bits | (u32::from(entry >= least) << at))
}

#[cfg(test)]
mod tests {
    use super::MaxTree;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            entries in prop_oneof![1_usize..40, 250_usize..260, 4_090_usize..4_100],
            changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_u32..9), 0..60),
            queries in proptest::collection::vec((any::<prop::sample::Index>(), 1_u32..9), 1..20),
        ) {
            let (mut tree, mut plain) = (MaxTree::new(entries), vec![0; entries]);
            for (at, value) in changes {
                tree.set(at.index(entries), value);
                plain[at.index(entries)] = value;
            }
            for (from, least) in queries {
                let from = from.index(entries);
                let scanned = (from..entries).find(|&at| plain[at] >= least);
                prop_assert_eq!(tree.first_at_least(from, least), scanned);
            }
        }
    }
}
