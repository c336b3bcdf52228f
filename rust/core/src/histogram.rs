//! A histogram of fixed layout: a bin means the same everywhere, so that histograms merge by adding their counts.
//!
//! There are [`HISTOGRAM_BINS`] bins. The middle one, number 2,048, holds what is nearer to 0 than 2^-20. Bin 2048 + k
//! holds x from 2^-20 * 2^((k - 1) / 70) to below 2^-20 * 2^(k / 70), and bin 2048 - k the same below 0. The outermost
//! bins, from 606 on, also hold all that lies further out. NaN is not counted: it means that a token was never visited.

use crate::convert::index;
use crate::ledger_error::LedgerError;

/// Number of bins.
pub const HISTOGRAM_BINS: usize = 2 * SIDE + 1;

/// Bins on each side of 0.
const SIDE: usize = 2048;

/// Bins to an octave. The harmonic mean of a bin's edges is within 0.496 % of all that the bin holds.
const PER_OCTAVE: usize = 70;

/// The seventieth root of 2.
const RATIO: f64 = 1.009_951_290_618_116_5;

/// Bits of 2^-20. Floats above 0 are in the order of their bits.
const SMALLEST: u32 = (127 - 20) << 23;

/// A slot is a 256th of an octave, which no more than one edge divides.
const SLOT_SHIFT: u32 = 23 - 8;

/// Slots up to 2^10, beyond the last edge.
const SLOTS: usize = 30 * 256;

/// Edge k is 2^(k / 70 - 20), from the upper edge of the middle bin to that of the outermost.
static EDGES: [f32; SIDE + 1] = edges();

/// The last edge at or below the start of each slot.
static EDGE_OF_SLOT: [u16; SLOTS] = edge_of_slot();

#[expect(clippy::cast_possible_truncation, reason = "edges are rounded to the precision of what they divide")]
const fn edges() -> [f32; SIDE + 1] {
    let mut edges = [0.0; SIDE + 1];
    let (mut octave, mut at) = (f32::from_bits(SMALLEST) as f64, 0);
    while at < edges.len() {
        let (mut edge, mut within) = (octave, 0);
        while within < PER_OCTAVE && at < edges.len() {
            edges[at] = edge as f32;
            edge *= RATIO;
            within += 1;
            at += 1;
        }
        octave *= 2.0;
    }
    edges
}

const fn edge_of_slot() -> [u16; SLOTS] {
    let edges = edges();
    let mut of_slot = [0; SLOTS];
    let (mut slot, mut start) = (0, SMALLEST);
    // Two counters of one value: conversions are not for constant functions.
    let (mut edge, mut number) = (0, 0_u16);
    while slot < SLOTS {
        while edge < SIDE && edges[edge + 1] <= f32::from_bits(start) {
            edge += 1;
            number += 1;
        }
        of_slot[slot] = number;
        slot += 1;
        start += 1 << SLOT_SHIFT;
    }
    of_slot
}

/// Counts values into their bins, on top of what was counted before.
///
/// # Errors
/// [`LedgerError::ArrayLength`] for other than [`HISTOGRAM_BINS`] counts.
pub fn histogram(values: &[f32], counts: &mut [i64]) -> Result<(), LedgerError> {
    LedgerError::array_length("counts", counts.len(), HISTOGRAM_BINS)?;
    for value in values.iter().filter(|value| !value.is_nan()) {
        let count = &mut counts[bin(*value)];
        *count = count.saturating_add(1);
    }
    Ok(())
}

/// The bin of a value that is a number.
fn bin(value: f32) -> usize {
    let size = value.abs();
    let Some(beyond) = size.to_bits().checked_sub(SMALLEST) else { return SIDE };
    let slot = index(beyond >> SLOT_SHIFT).min(SLOTS - 1);
    let edge = usize::from(EDGE_OF_SLOT[slot]).min(SIDE - 1);
    let bin = (edge + usize::from(size >= EDGES[edge + 1])).min(SIDE - 1) + 1;
    if value > 0.0 { SIDE + bin } else { SIDE - bin }
}

/// Quantiles of what was counted, each within 0.5 % where its size lies between 2^-20 and 606; NaN of nothing.
///
/// Quantile q is the smallest value that a share of q or more is not above (the inverse of the empirical distribution).
///
/// # Errors
/// [`LedgerError::ArrayLength`], [`LedgerError::Counts`] and [`LedgerError::Quantile`].
pub fn quantiles(counts: &[i64], quantiles: &[f64]) -> Result<Vec<f64>, LedgerError> {
    LedgerError::array_length("counts", counts.len(), HISTOGRAM_BINS)?;
    let mut total = 0_i64;
    let mut up_to = Vec::with_capacity(HISTOGRAM_BINS);
    for (bin, &count) in counts.iter().enumerate() {
        total = total.checked_add(count).filter(|_| count >= 0).ok_or(LedgerError::Counts { bin })?;
        up_to.push(total);
    }
    let value = |&quantile: &f64| {
        if !(0.0..=1.0).contains(&quantile) {
            return Err(LedgerError::Quantile { quantile });
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rank among more than 2^53 values may be off by a few"
        )]
        let share = |count: i64| count as f64 >= quantile * total as f64 && count > 0;
        Ok(up_to.iter().position(|&count| share(count)).map_or(f64::NAN, middle))
    };
    quantiles.iter().map(value).collect()
}

/// The value that stands for a bin.
fn middle(bin: usize) -> f64 {
    let Some(from_zero) = bin.abs_diff(SIDE).checked_sub(1) else { return 0.0 };
    let (low, high) = (f64::from(EDGES[from_zero]), f64::from(EDGES[from_zero + 1]));
    let middle = 2.0 * low * high / (low + high);
    if bin > SIDE { middle } else { -middle }
}
