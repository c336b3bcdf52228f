//! A validated view over prepared token ids: two prefixes and a response a record.

use crate::convert::signed;
use crate::error::{Column, Error, Stream};

/// A column of rows of different lengths: all ids in one slice, row `i` at `offsets[i]..offsets[i + 1]`.
#[derive(Clone, Copy, Debug)]
pub struct Ragged<'a> {
    /// The ids of all rows, one after the other.
    pub ids: &'a [i32],
    /// Where rows start and end: one more offset than rows, the first 0, the last `ids.len()`.
    pub offsets: &'a [i64],
}

/// Prepared records, borrowed. Every record has at least one token in each of the three columns.
#[derive(Clone, Copy, Debug)]
pub struct TokenStore<'a> {
    prefix_with: Ragged<'a>,
    prefix_without: Ragged<'a>,
    response: Ragged<'a>,
}

/// What a batch needs: the lengths of its parts, and its longest sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Tokens in the stream with the profile.
    pub tokens_with: usize,
    /// Tokens in the stream without the profile.
    pub tokens_without: usize,
    /// Response tokens, the same in both streams.
    pub response: usize,
    /// Tokens of the longest sequence with the profile.
    pub longest_with: usize,
    /// Tokens of the longest sequence without the profile.
    pub longest_without: usize,
}

impl Sizes {
    /// Numbers that [`crate::collate`] writes into its block for a batch of so many records.
    #[must_use]
    pub fn block_len(&self, records: usize) -> usize {
        let Self { tokens_with, tokens_without, response, .. } = *self;
        // More than a 32-bit machine can address is more than any block there has.
        let parts = [[tokens_with; 2], [tokens_without; 2]].into_iter().flatten().chain([response; 5]);
        parts.fold(records, usize::saturating_add)
    }
}

/// One record's ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) prefix_with: &'a [i32],
    pub(crate) prefix_without: &'a [i32],
    pub(crate) response: &'a [i32],
    /// Index of the response's first token among all response tokens of the store.
    pub(crate) response_start: i64,
}

impl<'a> Ragged<'a> {
    /// Rows, at least one id each, and ids that are 0 or more.
    fn validate(&self, column: Column) -> Result<(), Error> {
        let (Some(&first), Some(&last)) = (self.offsets.first(), self.offsets.last()) else {
            return Err(Error::NoOffsets { column });
        };
        if first != 0 {
            return Err(Error::FirstOffset { column, found: first });
        }
        for (record, pair) in self.offsets.windows(2).enumerate() {
            let (start, end) = (pair[0], pair[1]);
            if end < start {
                return Err(Error::DecreasingOffset { column, record, start, end });
            }
            if end == start {
                return Err(Error::EmptyRow { column, record });
            }
        }
        if last != signed(self.ids.len()) {
            return Err(Error::LastOffset { column, found: last, tokens: self.ids.len() });
        }
        self.validate_ids(column)
    }

    fn validate_ids(&self, column: Column) -> Result<(), Error> {
        // The union of all bits has the sign bit iff some id has: one pass without branches, at memory speed.
        if self.ids.iter().fold(0, |bits, id| bits | id) >= 0 {
            return Ok(());
        }
        let negative = self.ids.iter().enumerate().find(|&(_, &id)| id < 0);
        let Some((at, &token)) = negative else { return Ok(()) };
        let record = self.offsets.partition_point(|&offset| offset <= signed(at)) - 1;
        let offset = signed(at) - self.offsets[record];
        Err(Error::NegativeToken { column, record, offset, token })
    }

    fn records(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The ids of one row, or `None` where the offsets no longer describe one.
    fn row(&self, record: usize) -> Option<&'a [i32]> {
        let start = usize::try_from(*self.offsets.get(record)?).ok()?;
        let end = usize::try_from(*self.offsets.get(record + 1)?).ok()?;
        self.ids.get(start..end).filter(|row| !row.is_empty())
    }
}

impl<'a> TokenStore<'a> {
    /// Views three columns and checks every offset and every id, once.
    ///
    /// # Errors
    /// A store error ([`crate::Kind::Store`]) that names the column and, where one record is at fault, the record.
    pub fn new(
        prefix_with: Ragged<'a>,
        prefix_without: Ragged<'a>,
        response: Ragged<'a>,
    ) -> Result<Self, Error> {
        let store = Self::reopen(prefix_with, prefix_without, response);
        store.validate()?;
        Ok(store)
    }

    /// Checks every offset and every id again.
    ///
    /// # Errors
    /// Those of [`TokenStore::new`].
    pub fn validate(&self) -> Result<(), Error> {
        self.prefix_with.validate(Column::PrefixWith)?;
        let expected = self.len();
        for (column, rows) in
            [(Column::PrefixWithout, &self.prefix_without), (Column::Response, &self.response)]
        {
            rows.validate(column)?;
            if rows.records() != expected {
                return Err(Error::RecordCount { column, found: rows.records(), expected });
            }
        }
        Ok(())
    }

    /// Views columns that have passed [`TokenStore::new`] before, in constant time.
    ///
    /// Columns that were changed since give [`Error::Changed`] when a record is read, never a panic.
    #[must_use]
    pub fn reopen(prefix_with: Ragged<'a>, prefix_without: Ragged<'a>, response: Ragged<'a>) -> Self {
        Self { prefix_with, prefix_without, response }
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefix_with.records()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of response tokens over all records.
    #[must_use]
    pub fn response_tokens(&self) -> usize {
        self.response.ids.len()
    }

    /// Lengths of every record's sequences, prefix and response together: (with profile, without).
    #[must_use]
    pub fn lengths(&self) -> (Vec<i64>, Vec<i64>) {
        let whole = |prefix: &Ragged<'_>| {
            let rows = prefix.offsets.windows(2).zip(self.response.offsets.windows(2));
            rows.map(|(prefix, response)| (prefix[1] - prefix[0]) + (response[1] - response[0])).collect()
        };
        (whole(&self.prefix_with), whole(&self.prefix_without))
    }

    /// What [`crate::collate`] needs for a batch of these records.
    ///
    /// # Errors
    /// [`Error::RecordOutOfRange`], [`Error::Changed`], or [`Error::BatchTooLong`] past `i32::MAX` tokens a stream.
    pub fn measure(&self, records: &[i64]) -> Result<Sizes, Error> {
        let mut sizes = Sizes::default();
        for (position, &record) in records.iter().enumerate() {
            let (record, row) = self.row(position, record)?;
            let with = row.prefix_with.len() + row.response.len();
            let without = row.prefix_without.len() + row.response.len();
            sizes.tokens_with += with;
            sizes.tokens_without += without;
            sizes.response += row.response.len();
            sizes.longest_with = sizes.longest_with.max(with);
            sizes.longest_without = sizes.longest_without.max(without);
            for (stream, tokens) in
                [(Stream::With, sizes.tokens_with), (Stream::Without, sizes.tokens_without)]
            {
                if i32::try_from(tokens).is_err() {
                    return Err(Error::BatchTooLong { stream, record });
                }
            }
        }
        Ok(sizes)
    }

    /// One record's ids; `position` is where the batch asks for it.
    pub(crate) fn row(&self, position: usize, record: i64) -> Result<(usize, Row<'a>), Error> {
        let records = self.len();
        let index = usize::try_from(record)
            .ok()
            .filter(|&index| index < records)
            .ok_or(Error::RecordOutOfRange { position, record, records })?;
        let read = |column: Column, rows: &Ragged<'a>| {
            rows.row(index).ok_or(Error::Changed { column, record: index })
        };
        let row = Row {
            prefix_with: read(Column::PrefixWith, &self.prefix_with)?,
            prefix_without: read(Column::PrefixWithout, &self.prefix_without)?,
            response: read(Column::Response, &self.response)?,
            response_start: self.response.offsets[index],
        };
        Ok((index, row))
    }
}
