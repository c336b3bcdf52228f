//! Only finite values enter the ledger: NaN means "never visited" there, and an infinite mean would stay infinite.

use crate::ledger_error::{LedgerError, Value};

/// Finds the first value of a record that is not finite.
pub(crate) fn check_finite(
    record: i64,
    value: Value,
    numbers: impl Iterator<Item = f32> + Clone,
) -> Result<(), LedgerError> {
    const EXPONENT: u32 = 0x7f80_0000;
    // All values at once and without branches, which compilers turn into vector instructions: almost always none is.
    let any = numbers.clone().fold(0, |any, number| any | u32::from(number.to_bits() & EXPONENT == EXPONENT));
    if any == 0 {
        return Ok(());
    }
    let position = numbers.take_while(|number| number.is_finite()).count();
    Err(LedgerError::NotFinite { value, record, position })
}
