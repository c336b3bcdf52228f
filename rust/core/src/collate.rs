//! One batch of records, written as two token streams with their response rows aligned one to one.

use crate::convert::signed;
use crate::error::Error;
use crate::tokens::{Row, Sizes, TokenStore};

/// The label that losses skip, as in torch and transformers.
pub const IGNORED_LABEL: i64 = -100;

/// The ledger index of a token that counts nowhere.
pub const IGNORED_LEDGER: i64 = -1;

/// The caller's arrays for one stream of a batch with T tokens, S records and N response tokens.
#[derive(Debug)]
pub struct StreamBuffers<'a> {
    /// Token ids, length T.
    pub ids: &'a mut [i64],
    /// Position of each token in its own sequence, length T.
    pub positions: &'a mut [i64],
    /// Where sequences start and end, length S + 1.
    pub cu_seqlens: &'a mut [i32],
    /// Index in the stream of the logits that predict each response token, length N.
    pub rows: &'a mut [i64],
}

/// The caller's arrays for one batch. What has length N is aligned: entry k everywhere is the same response token.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// The stream with the profile.
    pub with: StreamBuffers<'a>,
    /// The stream without it.
    pub without: StreamBuffers<'a>,
    /// The response ids, or [`IGNORED_LABEL`] throughout, length N.
    pub labels: &'a mut [i64],
    /// Which record of the batch, counted from 0, length N.
    pub segment: &'a mut [i64],
    /// Index among all response tokens of the store, or [`IGNORED_LEDGER`] throughout, length N.
    pub ledger: &'a mut [i64],
}

impl Buffers<'_> {
    fn check(&self, records: usize, sizes: &Sizes) -> Result<(), Error> {
        let Self { with, without, labels, segment, ledger } = self;
        let lengths = [
            ("with_profile.input_ids", with.ids.len(), sizes.tokens_with),
            ("with_profile.position_ids", with.positions.len(), sizes.tokens_with),
            ("with_profile.cu_seqlens", with.cu_seqlens.len(), records + 1),
            ("with_profile.rows", with.rows.len(), sizes.response),
            ("without_profile.input_ids", without.ids.len(), sizes.tokens_without),
            ("without_profile.position_ids", without.positions.len(), sizes.tokens_without),
            ("without_profile.cu_seqlens", without.cu_seqlens.len(), records + 1),
            ("without_profile.rows", without.rows.len(), sizes.response),
            ("labels", labels.len(), sizes.response),
            ("segment", segment.len(), sizes.response),
            ("ledger_index", ledger.len(), sizes.response),
        ];
        match lengths.into_iter().find(|&(_, found, needed)| found != needed) {
            Some((buffer, found, needed)) => Err(Error::BufferLength { buffer, needed, found }),
            None => Ok(()),
        }
    }
}

/// Writes a batch of records into the caller's buffers, without allocating.
///
/// With `ignore` every label is [`IGNORED_LABEL`] and every ledger index [`IGNORED_LEDGER`]: the batch runs through
/// the model and counts nothing. Token j of a response stands at p = prefix length + j of its sequence; its logits row
/// is p - 1. Returns the sizes that [`TokenStore::measure`] gives.
///
/// # Errors
/// Those of [`TokenStore::measure`], and [`Error::BufferLength`]; nothing has been written then.
pub fn collate(
    store: &TokenStore<'_>,
    records: &[i64],
    ignore: bool,
    buffers: &mut Buffers<'_>,
) -> Result<Sizes, Error> {
    let sizes = store.measure(records)?;
    buffers.check(records.len(), &sizes)?;
    buffers.with.cu_seqlens[0] = 0;
    buffers.without.cu_seqlens[0] = 0;
    let (mut with, mut without, mut response) = (0, 0, 0);
    for (segment, &record) in records.iter().enumerate() {
        let (_, row) = store.row(segment, record)?;
        with = buffers.with.write(segment, with, response, row.prefix_with, row.response);
        without = buffers.without.write(segment, without, response, row.prefix_without, row.response);
        response = buffers.write_targets(segment, response, &row, ignore);
    }
    Ok(sizes)
}

impl StreamBuffers<'_> {
    /// Writes one sequence at `start` and its rows at `response`; returns where the next sequence starts.
    fn write(
        &mut self,
        segment: usize,
        start: usize,
        response: usize,
        prefix: &[i32],
        tail: &[i32],
    ) -> usize {
        let middle = start + prefix.len();
        let end = middle + tail.len();
        widen(&mut self.ids[start..middle], prefix);
        widen(&mut self.ids[middle..end], tail);
        count_from(&mut self.positions[start..end], 0);
        count_from(&mut self.rows[response..response + tail.len()], signed(middle) - 1);
        self.cu_seqlens[segment + 1] = i32::try_from(end).expect("measured to fit 32 bits");
        end
    }
}

impl Buffers<'_> {
    /// Writes what belongs to one record's response tokens; returns where the next response starts.
    fn write_targets(&mut self, segment: usize, start: usize, row: &Row<'_>, ignore: bool) -> usize {
        let end = start + row.response.len();
        self.segment[start..end].fill(signed(segment));
        if ignore {
            self.labels[start..end].fill(IGNORED_LABEL);
            self.ledger[start..end].fill(IGNORED_LEDGER);
        } else {
            widen(&mut self.labels[start..end], row.response);
            count_from(&mut self.ledger[start..end], row.response_start);
        }
        end
    }
}

fn widen(to: &mut [i64], from: &[i32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = i64::from(from);
    }
}

fn count_from(to: &mut [i64], first: i64) {
    for (to, number) in to.iter_mut().zip(first..) {
        *to = number;
    }
}
