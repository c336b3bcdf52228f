//! The state of the ledger: what every response token's scores are after the last visit to its record.

use std::ops::Range;

use crate::collate::IGNORED_LEDGER;
use crate::convert::{index, signed};
use crate::finite::{check_finite, check_record};
use crate::frame::Frame;
use crate::ledger_error::{LedgerError, Value};

/// Scores of the response tokens of n records: 8 bytes a token, and 16 a record for its place, visits and last step.
///
/// A token's PIR is an exponential moving average over the visits to its record: the first visit sets it, a later one
/// makes it `decay * before + (1 - decay) * pir` in single precision. Its log-prob without the profile is the last one.
/// Both are NaN before the first visit.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Where records start and end among the tokens: one more than records.
    offsets: Vec<usize>,
    decay: f32,
    pub(crate) pir: Vec<f32>,
    pub(crate) logp_without: Vec<f32>,
    pub(crate) visits: Vec<u32>,
    pub(crate) last_step: Vec<u32>,
}

impl Scores {
    /// Scores of records that were never visited; record i has the tokens `offsets[i]..offsets[i + 1]`.
    ///
    /// # Errors
    /// [`LedgerError::Offsets`], [`LedgerError::Decay`] and [`LedgerError::TooLarge`].
    pub fn new(offsets: &[i64], decay: f32) -> Result<Self, LedgerError> {
        if offsets.first() != Some(&0) || !offsets.is_sorted() {
            return Err(LedgerError::Offsets);
        }
        if !(0.0..1.0).contains(&decay) {
            return Err(LedgerError::Decay { decay });
        }
        let whole = |&offset| usize::try_from(offset).map_err(|_| LedgerError::Offsets);
        let offsets: Vec<usize> = offsets.iter().map(whole).collect::<Result<_, _>>()?;
        let records = offsets.len() - 1;
        let tokens = offsets[records];
        Ok(Self {
            decay,
            pir: filled(f32::NAN, tokens)?,
            logp_without: filled(f32::NAN, tokens)?,
            visits: filled(0, records)?,
            last_step: filled(0, records)?,
            offsets,
        })
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.visits.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    /// The share of the past in the moving average.
    #[must_use]
    pub fn decay(&self) -> f32 {
        self.decay
    }

    /// Moving average of every response token's PIR; NaN before the first visit.
    #[must_use]
    pub fn pir(&self) -> &[f32] {
        &self.pir
    }

    /// Last log-prob without the profile of every response token; NaN before the first visit.
    #[must_use]
    pub fn logp_without(&self) -> &[f32] {
        &self.logp_without
    }

    /// Number of visits to every record.
    #[must_use]
    pub fn visits(&self) -> &[u32] {
        &self.visits
    }

    /// Step of the last visit to every record; 0 before the first.
    #[must_use]
    pub fn last_step(&self) -> &[u32] {
        &self.last_step
    }

    /// Where the records start and end among the tokens.
    pub(crate) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Last log-probs without the profile by the index that [`crate::collate`] gives to tokens.
    ///
    /// [`IGNORED_LEDGER`], the index of tokens that count nowhere, gives 0, as losses do for their labels.
    ///
    /// # Errors
    /// [`LedgerError::TokenOutOfRange`].
    pub fn gather_logp_without(&self, tokens: &[i64]) -> Result<Vec<f32>, LedgerError> {
        let value = |&token: &i64| match usize::try_from(token).ok().and_then(|at| self.logp_without.get(at))
        {
            Some(&value) => Ok(value),
            None if token == IGNORED_LEDGER => Ok(0.0),
            None => Err(LedgerError::TokenOutOfRange { index: token, tokens: self.logp_without.len() }),
        };
        tokens.iter().map(value).collect()
    }

    /// Takes in a batch: the values of its records' response tokens, record after record.
    ///
    /// # Errors
    /// [`LedgerError::RecordOutOfRange`], [`LedgerError::ArrayLength`] or [`LedgerError::NotFinite`]; nothing has been
    /// changed then.
    pub fn update(
        &mut self,
        step: u32,
        records: &[i64],
        pir: &[f32],
        logp_without: &[f32],
    ) -> Result<(), LedgerError> {
        self.apply(records.iter().map(|&record| (step, record)), pir, logp_without)
    }

    /// Takes in visits that journals hold, as the columns of a [`crate::Block`].
    ///
    /// # Errors
    /// Those of [`Scores::update`], and [`LedgerError::RecordLength`]; nothing has been changed then.
    pub fn replay(
        &mut self,
        steps: &[u32],
        records: &[i64],
        lengths: &[i64],
        pir: &[f32],
        logp_without: &[f32],
    ) -> Result<(), LedgerError> {
        LedgerError::array_length("steps", steps.len(), records.len())?;
        LedgerError::array_length("lengths", lengths.len(), records.len())?;
        for (&record, &found) in records.iter().zip(lengths) {
            let expected = signed(self.place(record)?.len());
            if found != expected {
                return Err(LedgerError::RecordLength { record, found, expected });
            }
        }
        self.apply(steps.iter().copied().zip(records.iter().copied()), pir, logp_without)
    }

    /// Takes in whole frames, as another rank's journal returned them; returns how many.
    ///
    /// # Errors
    /// [`LedgerError::DamagedFrames`], [`LedgerError::RecordOutOfRange`], [`LedgerError::RecordLength`] or
    /// [`LedgerError::NotFinite`]; nothing has been changed then.
    pub fn apply_frames(&mut self, bytes: &[u8]) -> Result<usize, LedgerError> {
        let (mut frames, mut offset) = (Vec::new(), 0);
        while offset < bytes.len() {
            let frame = Frame::decode(&bytes[offset..]).ok_or(LedgerError::DamagedFrames { offset })?;
            let (record, found) = (i64::from(frame.header.record), signed(frame.pir().len()));
            let place = self.place(record)?;
            if found != signed(place.len()) {
                return Err(LedgerError::RecordLength { record, found, expected: signed(place.len()) });
            }
            check_record(record, Value::Pir, frame.pir())?;
            check_record(record, Value::LogpWithout, frame.logp_without())?;
            offset += frame.header.bytes();
            frames.push((frame, place));
        }
        let applied = frames.len();
        for (frame, place) in frames {
            self.visit(
                frame.header.step,
                index(frame.header.record),
                place,
                frame.pir(),
                frame.logp_without(),
            );
        }
        Ok(applied)
    }

    /// Where a record's tokens are.
    fn place(&self, record: i64) -> Result<Range<usize>, LedgerError> {
        let place = usize::try_from(record).ok().and_then(|record| {
            let (&start, &end) = (self.offsets.get(record)?, self.offsets.get(record.checked_add(1)?)?);
            Some(start..end)
        });
        place.ok_or_else(|| LedgerError::RecordOutOfRange { record, records: self.len() })
    }

    /// Checks everything, then takes in visits (step and record) with their values one after the other.
    fn apply(
        &mut self,
        visits: impl ExactSizeIterator<Item = (u32, i64)> + Clone,
        pir: &[f32],
        logp_without: &[f32],
    ) -> Result<(), LedgerError> {
        let mut places = Vec::with_capacity(visits.len());
        for (_, record) in visits.clone() {
            places.push(self.place(record)?);
        }
        let tokens = places.iter().map(Range::len).fold(0, usize::saturating_add);
        LedgerError::array_length("pir", pir.len(), tokens)?;
        LedgerError::array_length("logp_without", logp_without.len(), tokens)?;
        check_finite(
            visits.clone().map(|(_, record)| record).zip(places.iter().map(Range::len)),
            pir,
            logp_without,
        )?;
        let mut start = 0;
        for ((step, record), place) in visits.zip(places) {
            let span = start..start + place.len();
            start = span.end;
            let (pir, logp_without) = (&pir[span.clone()], &logp_without[span]);
            let record = usize::try_from(record).expect("a record with a place");
            self.visit(step, record, place, pir.iter().copied(), logp_without.iter().copied());
        }
        Ok(())
    }

    /// Takes in one visit, whose values were checked.
    fn visit(
        &mut self,
        step: u32,
        record: usize,
        place: Range<usize>,
        pir: impl Iterator<Item = f32>,
        logp_without: impl Iterator<Item = f32>,
    ) {
        let means = self.pir[place.clone()].iter_mut().zip(pir);
        if self.visits[record] == 0 {
            means.for_each(|(mean, pir)| *mean = pir);
        } else {
            let (decay, gain) = (self.decay, 1.0 - self.decay);
            means.for_each(|(mean, pir)| *mean = decay * *mean + gain * pir);
        }
        self.logp_without[place].iter_mut().zip(logp_without).for_each(|(last, value)| *last = value);
        self.visits[record] = self.visits[record].saturating_add(1);
        self.last_step[record] = step;
    }
}

/// A vector of one value, or an error where memory does not hold it.
fn filled<T: Copy>(value: T, length: usize) -> Result<Vec<T>, LedgerError> {
    let mut filled = Vec::new();
    filled.try_reserve_exact(length).map_err(|_| LedgerError::TooLarge { entries: length })?;
    filled.resize(length, value);
    Ok(filled)
}
