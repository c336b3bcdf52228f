//! One batch of records, written as two token streams with their response rows aligned one to one.

use crate::convert::signed;
use crate::error::Error;
use crate::tokens::{Row, Sizes, TokenStore};

/// The label that losses skip, as in torch and transformers.
pub const IGNORED_LABEL: i64 = -100;

/// The ledger index of a token that counts nowhere.
pub const IGNORED_LEDGER: i64 = -1;

/// Writes a batch of records into the caller's memory, without allocating; returns what [`TokenStore::measure`] gives.
///
/// `block` takes ten parts, one behind the other. For T tokens with the profile, U without, N response tokens and S
/// records they are
///
/// 1. token ids with the profile, T;
/// 2. their positions, each counted in its own sequence, T;
/// 3. and 4. the same without the profile, U each;
/// 5. rows with the profile: index in the stream of the logits that predict each response token, N;
/// 6. rows without it, N;
/// 7. labels: the response ids, N;
/// 8. segments: which record of the batch, counted from 0, N;
/// 9. ledger indices: index among all response tokens of the store, N;
/// 10. the records, S.
///
/// Entry k of all parts of length N is the same response token. `cu_seqlens` takes where the sequences start and end,
/// S + 1 numbers with the profile and then S + 1 without. What is left behind the parts is not touched.
///
/// With `ignore` every label is [`IGNORED_LABEL`] and every ledger index [`IGNORED_LEDGER`]: the batch runs through
/// the model and counts nothing. Token j of a response stands at p = prefix length + j of its sequence; its logits row
/// is p - 1.
///
/// # Errors
/// Those of [`TokenStore::measure`], and [`Error::BufferLength`]; nothing has been written then.
pub fn collate(
    store: &TokenStore<'_>,
    records: &[i64],
    ignore: bool,
    block: &mut [i64],
    cu_seqlens: &mut [i32],
) -> Result<Sizes, Error> {
    let sizes = store.measure(records)?;
    let mut batch = Batch::cut(records.len(), &sizes, block, cu_seqlens)?;
    batch.records.copy_from_slice(records);
    batch.with.cu_seqlens[0] = 0;
    batch.without.cu_seqlens[0] = 0;
    let (mut with, mut without, mut response) = (0, 0, 0);
    for (segment, &record) in records.iter().enumerate() {
        let (_, row) = store.row(segment, record)?;
        with = batch.with.write(segment, with, response, row.prefix_with, row.response);
        without = batch.without.write(segment, without, response, row.prefix_without, row.response);
        response = batch.write_targets(segment, response, &row, ignore);
    }
    Ok(sizes)
}

/// The parts of one stream.
struct Stream<'a> {
    ids: &'a mut [i64],
    positions: &'a mut [i64],
    cu_seqlens: &'a mut [i32],
    rows: &'a mut [i64],
}

/// The parts of a batch.
struct Batch<'a> {
    with: Stream<'a>,
    without: Stream<'a>,
    labels: &'a mut [i64],
    segment: &'a mut [i64],
    ledger: &'a mut [i64],
    records: &'a mut [i64],
}

impl<'a> Batch<'a> {
    /// Cuts the caller's memory into the parts.
    fn cut(
        records: usize,
        sizes: &Sizes,
        block: &'a mut [i64],
        cu_seqlens: &'a mut [i32],
    ) -> Result<Self, Error> {
        let Sizes { tokens_with, tokens_without, response, .. } = *sizes;
        let mut block = Rest::new("block", block, sizes.block_len(records))?;
        let mut cu_seqlens = Rest::new("cu_seqlens", cu_seqlens, 2 * (records + 1))?;
        let [ids, positions] = [(); 2].map(|()| block.cut(tokens_with));
        let [ids_without, positions_without] = [(); 2].map(|()| block.cut(tokens_without));
        let [rows, rows_without, labels, segment, ledger] = [(); 5].map(|()| block.cut(response));
        Ok(Self {
            with: Stream { ids, positions, cu_seqlens: cu_seqlens.cut(records + 1), rows },
            without: Stream {
                ids: ids_without,
                positions: positions_without,
                cu_seqlens: cu_seqlens.cut(records + 1),
                rows: rows_without,
            },
            labels,
            segment,
            ledger,
            records: block.cut(records),
        })
    }

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

impl Stream<'_> {
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

/// What is left of the caller's memory while it is cut up.
struct Rest<'a, T>(&'a mut [T]);

impl<'a, T> Rest<'a, T> {
    fn new(buffer: &'static str, memory: &'a mut [T], needed: usize) -> Result<Self, Error> {
        if memory.len() < needed {
            return Err(Error::BufferLength { buffer, needed, found: memory.len() });
        }
        Ok(Self(memory))
    }

    fn cut(&mut self, length: usize) -> &'a mut [T] {
        let (part, rest) = std::mem::take(&mut self.0).split_at_mut(length);
        self.0 = rest;
        part
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
