//! Records grouped into bins, as two flat arrays.

use crate::convert::{index, signed};

/// Bins in compressed form: bin `b` holds `records[offsets[b]..offsets[b + 1]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bins {
    /// One more than there are bins; the first is 0, the last the number of records.
    pub offsets: Vec<i64>,
    /// Record indices, bin after bin.
    pub records: Vec<i64>,
}

impl Bins {
    /// Number of bins.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no bins.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Groups records by their bin; within a bin they stand in ascending order, which is the order on disk.
    pub(crate) fn from_assignment(bin_of: &[u32], bins: usize) -> Self {
        let mut offsets = vec![0; bins + 1];
        for &bin in bin_of {
            offsets[index(bin) + 1] += 1;
        }
        for bin in 0..bins {
            offsets[bin + 1] += offsets[bin];
        }
        let mut next = offsets.clone();
        let mut records = vec![0; bin_of.len()];
        for (record, &bin) in bin_of.iter().enumerate() {
            records[next[index(bin)]] = signed(record);
            next[index(bin)] += 1;
        }
        Self { offsets: offsets.into_iter().map(signed).collect(), records }
    }
}
