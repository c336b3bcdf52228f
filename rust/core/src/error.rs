//! Everything that can be wrong with a caller's arrays, with the place and the remedy.

use std::fmt;

/// A ragged column of the token store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Prompt ids with the user's profile.
    PrefixWith,
    /// Prompt ids without the profile.
    PrefixWithout,
    /// Response ids, spliced after both prefixes.
    Response,
}

/// One of the two token streams of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Prefix with the profile, then the response: the long one.
    With,
    /// Prefix without the profile, then the response: the short one.
    Without,
}

/// Who has to act on an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The token store is corrupt: prepare it again.
    Store,
    /// The plan, an option or a buffer does not fit: change what was asked for.
    Packing,
}

/// What is wrong, where (record, column, offset), and, as text, what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An offsets array of length zero; even a store without records has one offset.
    NoOffsets {
        /// The column at fault.
        column: Column,
    },
    /// The first offset is not zero.
    FirstOffset {
        /// The column at fault.
        column: Column,
        /// The first offset.
        found: i64,
    },
    /// A row ends before it starts.
    DecreasingOffset {
        /// The column at fault.
        column: Column,
        /// The row's record.
        record: usize,
        /// Offset at which the row starts.
        start: i64,
        /// Offset at which the row ends.
        end: i64,
    },
    /// The last offset is not the number of ids.
    LastOffset {
        /// The column at fault.
        column: Column,
        /// The last offset.
        found: i64,
        /// The number of ids in the column.
        tokens: usize,
    },
    /// A column holds another number of records than the first column.
    RecordCount {
        /// The column at fault.
        column: Column,
        /// Its number of records.
        found: usize,
        /// The number of records of the first column.
        expected: usize,
    },
    /// A prefix or response without any token.
    EmptyRow {
        /// The column at fault.
        column: Column,
        /// The record at fault.
        record: usize,
    },
    /// A token id below zero.
    NegativeToken {
        /// The column at fault.
        column: Column,
        /// The record at fault.
        record: usize,
        /// Position of the id within the row.
        offset: i64,
        /// The id.
        token: i32,
    },
    /// A row that was valid when the store was opened is not any more.
    Changed {
        /// The column at fault.
        column: Column,
        /// The record at fault.
        record: usize,
    },
    /// A batch asks for a record that the store does not hold.
    RecordOutOfRange {
        /// Position within the batch's list of records.
        position: usize,
        /// The record asked for.
        record: i64,
        /// The number of records in the store.
        records: usize,
    },
    /// A batch's stream outgrows the 32-bit offsets (`cu_seqlens`) that attention kernels take.
    BatchTooLong {
        /// The stream that outgrows them.
        stream: Stream,
        /// The record that no longer fits.
        record: usize,
    },
    /// A caller's buffer is shorter than the batch needs.
    BufferLength {
        /// The buffer's name.
        buffer: &'static str,
        /// The length that the batch needs.
        needed: usize,
        /// The buffer's length.
        found: usize,
    },
    /// The two arrays of lengths differ in length.
    LengthCount {
        /// Number of lengths with the profile.
        with: usize,
        /// Number of lengths without the profile.
        without: usize,
    },
    /// A record's length is zero or negative.
    NonPositiveLength {
        /// The stream at fault.
        stream: Stream,
        /// The record at fault.
        record: usize,
        /// Its length.
        length: i64,
    },
    /// A record alone is longer than a bin.
    RecordTooLong {
        /// The stream at fault.
        stream: Stream,
        /// The record at fault.
        record: usize,
        /// Its length in tokens.
        length: i64,
        /// The stream's capacity in tokens.
        capacity: i64,
    },
    /// A capacity that is not positive or that outgrows 32-bit offsets.
    CapacityOutOfRange {
        /// The stream at fault.
        stream: Stream,
        /// The capacity asked for.
        capacity: i64,
    },
    /// More records than 32-bit bin numbers can tell apart.
    TooManyRecords {
        /// The number of records.
        records: usize,
    },
    /// A plan of more entries than memory holds.
    PlanTooLarge {
        /// The number of entries asked for.
        entries: usize,
    },
    /// Batches of zero records.
    EmptyBatch,
    /// A rank outside its world.
    RankOutOfRange {
        /// The rank asked for.
        rank: usize,
        /// The number of ranks.
        world_size: usize,
    },
    /// An order that names a bin below zero, which would read as a repeat.
    NegativeBin {
        /// Position within the order.
        position: usize,
        /// The bin named there.
        bin: i64,
    },
}

impl Error {
    /// Whether the store is corrupt or the request does not fit.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoOffsets { .. }
            | Self::FirstOffset { .. }
            | Self::DecreasingOffset { .. }
            | Self::LastOffset { .. }
            | Self::RecordCount { .. }
            | Self::EmptyRow { .. }
            | Self::NegativeToken { .. }
            | Self::Changed { .. } => Kind::Store,
            Self::RecordOutOfRange { .. }
            | Self::BatchTooLong { .. }
            | Self::BufferLength { .. }
            | Self::LengthCount { .. }
            | Self::NonPositiveLength { .. }
            | Self::RecordTooLong { .. }
            | Self::CapacityOutOfRange { .. }
            | Self::TooManyRecords { .. }
            | Self::PlanTooLarge { .. }
            | Self::EmptyBatch
            | Self::RankOutOfRange { .. }
            | Self::NegativeBin { .. } => Kind::Packing,
        }
    }

    /// Index of the first record at fault, where one record is.
    #[must_use]
    pub fn record(&self) -> Option<i64> {
        match *self {
            Self::DecreasingOffset { record, .. }
            | Self::EmptyRow { record, .. }
            | Self::NegativeToken { record, .. }
            | Self::Changed { record, .. }
            | Self::BatchTooLong { record, .. }
            | Self::NonPositiveLength { record, .. }
            | Self::RecordTooLong { record, .. } => Some(crate::convert::signed(record)),
            Self::RecordOutOfRange { record, .. } => Some(record),
            _ => None,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrefixWith => "prefix_with",
            Self::PrefixWithout => "prefix_without",
            Self::Response => "response",
        })
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::With => "with profile",
            Self::Without => "without profile",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOffsets { column } => {
                write!(f, "{column}_offsets is empty; n records need n + 1 offsets, the first of them 0")
            }
            Self::FirstOffset { column, found } => {
                write!(f, "{column}_offsets starts at {found}, not at 0; prepare the data again")
            }
            Self::DecreasingOffset { column, record, start, end } => write!(
                f,
                "record {record}: {column} ends at offset {end}, before it starts at {start}; prepare the data again"
            ),
            Self::LastOffset { column, found, tokens } => write!(
                f,
                "{column}_offsets ends at {found}, but {column} holds {tokens} ids; prepare the data again"
            ),
            Self::RecordCount { column, found, expected } => {
                write!(f, "{column} holds {found} records, prefix_with {expected}; prepare the data again")
            }
            Self::EmptyRow { column, record } => write!(
                f,
                "record {record}: {column} has no tokens; drop the record or prepare the data again"
            ),
            Self::NegativeToken { column, record, offset, token } => write!(
                f,
                "record {record}: {column} has id {token} at position {offset}; ids are 0 or more, prepare the data again"
            ),
            Self::Changed { column, record } => {
                write!(f, "record {record}: {column} was changed after the store was opened; open it again")
            }
            Self::RecordOutOfRange { position, record, records } => write!(
                f,
                "record {record} (position {position} of the batch) is not in the store of {records} records; \
                 pack this store's own lengths"
            ),
            Self::BatchTooLong { stream, record } => write!(
                f,
                "record {record} takes the batch's stream {stream} past 2147483647 tokens; use smaller batches"
            ),
            Self::BufferLength { buffer, needed, found } => write!(
                f,
                "buffer {buffer} has length {found}, the batch needs {needed}; size buffers by measure()"
            ),
            Self::LengthCount { with, without } => {
                write!(f, "{with} lengths with profile, {without} without; give both lengths of every record")
            }
            Self::NonPositiveLength { stream, record, length } => write!(
                f,
                "record {record}: length {length} {stream}; a record has at least one token, drop it"
            ),
            Self::RecordTooLong { stream, record, length, capacity } => write!(
                f,
                "record {record}: {length} tokens {stream} do not fit into {capacity}; raise max_tokens or prepare \
                 with a smaller max_length"
            ),
            Self::CapacityOutOfRange { stream, capacity } => {
                write!(f, "capacity {capacity} {stream} is out of range; give 1 to 2147483647 tokens")
            }
            Self::TooManyRecords { records } => {
                write!(f, "{records} records are more than one plan can hold (4294967294); split the data")
            }
            Self::PlanTooLarge { entries } => {
                write!(
                    f,
                    "a plan of {entries} entries does not fit into memory; give the number that the data has"
                )
            }
            Self::EmptyBatch => f.write_str("batch_size is 0; give 1 or more records"),
            Self::RankOutOfRange { rank, world_size } => {
                write!(f, "rank {rank} is not in a world of {world_size}; give 0 <= rank < world_size")
            }
            Self::NegativeBin { position, bin } => write!(
                f,
                "bin {bin} at position {position} of the order is negative; give epoch_order()'s permutation"
            ),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
