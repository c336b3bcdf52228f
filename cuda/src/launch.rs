//! Launches: arguments checked, threads and blocks chosen.

use crate::driver::Driver;
use crate::kernels::{Kernel, ready};
use crate::{Arguments, Element, Error};

/// Where to launch: a device, and a stream of its primary context (0: the default stream).
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Index of the device.
    pub device: i32,
    /// The stream's handle.
    pub handle: u64,
}

/// Threads of a full block: `kMaxThreads` in `kernels/block_team.cuh`.
const MAX_THREADS: u32 = 512;
const WARP: u32 = 32;
/// Columns that a thread takes in one step: `kUnitsHeld` units, in `kernels/row.cuh`.
const COLUMNS_A_THREAD: u32 = 16;

/// Log-probabilities, entropies, weights and gradients of all rows, as [`Arguments`] says; returns before they are there.
///
/// # Errors
/// As for [`crate::load`], and arguments that cannot work.
pub fn weighted_rows(
    stream: Stream,
    logits: Element,
    grad: Element,
    arguments: &Arguments,
) -> Result<(), Error> {
    arguments.check_logits(logits)?;
    arguments.check_weighting(logits, grad)?;
    launch(stream, Kernel { logits, grad: Some(grad), adjusted: arguments.adjusted() }, arguments)
}

/// Log-probabilities and entropies of all rows, which are only read; returns before they are there.
///
/// # Errors
/// As for [`weighted_rows`].
pub fn logp_rows(stream: Stream, logits: Element, arguments: &Arguments) -> Result<(), Error> {
    arguments.check_logits(logits)?;
    launch(stream, Kernel { logits, grad: None, adjusted: arguments.adjusted() }, arguments)
}

fn launch(stream: Stream, kernel: Kernel, arguments: &Arguments) -> Result<(), Error> {
    let ready = ready(stream.device)?;
    if arguments.n_rows == 0 {
        return Ok(());
    }
    let function = ready.function(kernel)?;
    let entered = Driver::get()?.enter(ready.context)?;
    let threads = threads(arguments.vocab.unsigned_abs());
    // As many blocks as run at once: each takes one row after another.
    let at_once = entered.occupancy(function, threads)?.saturating_mul(ready.multiprocessors).max(1);
    let blocks = u32::try_from(arguments.n_rows).unwrap_or(u32::MAX).min(at_once);
    entered.launch(function, (blocks, threads), stream.handle, arguments)
}

/// The power of two from a warp to a full block that suits a row.
fn threads(vocab: u32) -> u32 {
    vocab.div_ceil(COLUMNS_A_THREAD).next_power_of_two().clamp(WARP, MAX_THREADS)
}

#[cfg(test)]
mod tests {
    use super::threads;

    #[test]
    fn threads_suit_the_row() {
        let cases = [(1, 32), (512, 32), (513, 64), (1024, 64), (8192, 512), (262_144, 512), (1 << 30, 512)];
        for (vocab, expected) in cases {
            assert_eq!(threads(vocab), expected, "vocabulary of {vocab}");
        }
    }
}
