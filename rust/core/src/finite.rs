//! Only finite values enter the ledger: NaN means "never visited" there, and an infinite mean would stay infinite.

use crate::ledger_error::{LedgerError, Value};

/// Finds the first value that is not finite among those of some records, given with their numbers of tokens.
pub(crate) fn check_finite(
    records: impl Iterator<Item = (i64, usize)>,
    pir: &[f32],
    logp_without: &[f32],
) -> Result<(), LedgerError> {
    if all_finite(pir.iter().copied()) && all_finite(logp_without.iter().copied()) {
        return Ok(());
    }
    let mut start = 0;
    for (record, tokens) in records {
        let span = start..start + tokens;
        start = span.end;
        check_record(record, Value::Pir, pir[span.clone()].iter().copied())?;
        check_record(record, Value::LogpWithout, logp_without[span].iter().copied())?;
    }
    Ok(())
}

/// Finds the first value of a record that is not finite.
pub(crate) fn check_record(
    record: i64,
    value: Value,
    numbers: impl Iterator<Item = f32> + Clone,
) -> Result<(), LedgerError> {
    if all_finite(numbers.clone()) {
        return Ok(());
    }
    let position = numbers.take_while(|number| number.is_finite()).count();
    Err(LedgerError::NotFinite { value, record, position })
}

/// All values at once and without branches, which compilers turn into vector instructions: almost always all are.
fn all_finite(numbers: impl Iterator<Item = f32>) -> bool {
    // A finite number times zero is a zero, of either sign; any other is NaN.
    let bits = numbers.fold(0, |bits, number| bits | (number * 0.0).to_bits());
    bits << 1 == 0
}
