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
/// [`Error::EmptyBatch`] for a batch size of zero, [`Error::PlanTooLarge`] for more records than memory holds.
pub fn group_records(records: usize, batch_size: usize, seed: Option<u64>) -> Result<Bins, Error> {
    if batch_size == 0 {
        return Err(Error::EmptyBatch);
    }
    let mut order = stored_order(records)?;
    if let Some(seed) = seed {
        // Epochs use the streams from 0 on; the grouping takes the far end.
        Rng::new(seed, u64::MAX).shuffle(&mut order);
    }
    let batches = records.div_ceil(batch_size);
    let mut offsets = reserved(batches + 1)?;
    offsets.extend((0..records).step_by(batch_size).map(signed));
    offsets.push(signed(records));
    Ok(Bins { offsets, records: order })
}

/// The order of the bins in an epoch: a permutation that depends on nothing but the arguments.
///
/// # Errors
/// [`Error::PlanTooLarge`] for more bins than memory holds.
pub fn epoch_order(bins: usize, seed: u64, epoch: u64) -> Result<Vec<i64>, Error> {
    let mut order = stored_order(bins)?;
    Rng::new(seed, epoch).shuffle(&mut order);
    Ok(order)
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

/// The numbers below `entries`.
fn stored_order(entries: usize) -> Result<Vec<i64>, Error> {
    let mut order = reserved(entries)?;
    order.extend((0..).take(entries));
    Ok(order)
}

/// Memory for so many numbers, or an error where there is not as much.
fn reserved(entries: usize) -> Result<Vec<i64>, Error> {
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(entries).map_err(|_| Error::PlanTooLarge { entries })?;
    Ok(numbers)
}
