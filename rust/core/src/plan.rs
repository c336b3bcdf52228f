//! Which bins, in which order, on which rank.

use crate::bins::Bins;
use crate::convert::signed;
use crate::error::Error;
use crate::rng::Rng;

/// Groups of `batch_size` records, the last one smaller where it must be.
///
/// With a seed the records are shuffled first, so that a group's records have nothing in common; without, groups are
/// runs of the stored order.
///
/// # Errors
/// [`Error::EmptyBatch`] for a batch size of zero.
pub fn group_records(records: usize, batch_size: usize, seed: Option<u64>) -> Result<Bins, Error> {
    if batch_size == 0 {
        return Err(Error::EmptyBatch);
    }
    let mut order: Vec<i64> = (0..signed(records)).collect();
    if let Some(seed) = seed {
        // Epochs use the streams from 0 on; the grouping takes the far end.
        Rng::new(seed, u64::MAX).shuffle(&mut order);
    }
    let mut offsets: Vec<i64> = (0..records).step_by(batch_size).map(signed).collect();
    offsets.push(signed(records));
    Ok(Bins { offsets, records: order })
}

/// The order of the bins in an epoch: a permutation that depends on nothing but the arguments.
#[must_use]
pub fn epoch_order(bins: usize, seed: u64, epoch: u64) -> Vec<i64> {
    let mut order: Vec<i64> = (0..signed(bins)).collect();
    Rng::new(seed, epoch).shuffle(&mut order);
    order
}

/// The bins of one rank: `order[rank::world_size]`, as long on every rank.
///
/// Where the bins do not divide evenly, a short rank ends with a *repeat* of a bin, encoded as `-1 - bin`: it is to be
/// collated with `ignore`, so that all ranks take the same number of steps and no token counts twice.
///
/// # Errors
/// [`Error::RankOutOfRange`], or [`Error::NegativeBin`] for an order that holds repeats already.
pub fn rank_bins(order: &[i64], rank: usize, world_size: usize) -> Result<Vec<i64>, Error> {
    if rank >= world_size {
        return Err(Error::RankOutOfRange { rank, world_size });
    }
    if let Some((position, &bin)) = order.iter().enumerate().find(|&(_, &bin)| bin < 0) {
        return Err(Error::NegativeBin { position, bin });
    }
    let mut bins: Vec<i64> = order.iter().skip(rank).step_by(world_size).copied().collect();
    if bins.len() < order.len().div_ceil(world_size) {
        let missing = rank - order.len() % world_size;
        bins.push(-1 - order[missing % order.len()]);
    }
    Ok(bins)
}
