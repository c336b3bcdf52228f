//! The two integer conversions that cannot fail here, each with its reason.

/// A slice length or index as `i64`, the integer type of `NumPy` and torch indices.
pub(crate) fn signed(index: usize) -> i64 {
    i64::try_from(index).expect("no slice is longer than isize::MAX")
}

/// A `u32` number of a bin, record or residual as an index.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).expect("usize has at least 32 bits on every supported platform")
}
