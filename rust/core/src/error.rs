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
    /// A caller's buffer has not the length that the batch needs.
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
mod tests {
    use super::*;

    /// One example a variant. The match is generated from the examples, so a variant without one does not compile.
    macro_rules! examples {
        ($($variant:ident $({ $($field:ident: $value:expr),* })? => $kind:ident, $record:expr, $text:expr;)*) => {
            fn has_example(error: &Error) {
                match error { $(Error::$variant $({ $($field: _),* })? => (),)* }
            }
            const EXAMPLES: &[(Error, Kind, Option<i64>, &str)] =
                &[$((Error::$variant $({ $($field: $value),* })?, Kind::$kind, $record, $text)),*];
        };
    }

    examples! {
        NoOffsets { column: Column::Response } => Store, None,
            "response_offsets is empty; n records need n + 1 offsets, the first of them 0";
        FirstOffset { column: Column::PrefixWith, found: 3 } => Store, None,
            "prefix_with_offsets starts at 3, not at 0; prepare the data again";
        DecreasingOffset { column: Column::Response, record: 17, start: 9, end: 4 } => Store, Some(17),
            "record 17: response ends at offset 4, before it starts at 9; prepare the data again";
        LastOffset { column: Column::PrefixWithout, found: 8, tokens: 7 } => Store, None,
            "prefix_without_offsets ends at 8, but prefix_without holds 7 ids; prepare the data again";
        RecordCount { column: Column::Response, found: 2, expected: 3 } => Store, None,
            "response holds 2 records, prefix_with 3; prepare the data again";
        EmptyRow { column: Column::Response, record: 5 } => Store, Some(5),
            "record 5: response has no tokens; drop the record or prepare the data again";
        NegativeToken { column: Column::PrefixWith, record: 5, offset: 2, token: -100 } => Store, Some(5),
            "record 5: prefix_with has id -100 at position 2; ids are 0 or more, prepare the data again";
        Changed { column: Column::Response, record: 1 } => Store, Some(1),
            "record 1: response was changed after the store was opened; open it again";
        RecordOutOfRange { position: 1, record: -4, records: 3 } => Packing, Some(-4),
            "record -4 (position 1 of the batch) is not in the store of 3 records; pack this store's own lengths";
        BatchTooLong { stream: Stream::With, record: 3 } => Packing, Some(3),
            "record 3 takes the batch's stream with profile past 2147483647 tokens; use smaller batches";
        BufferLength { buffer: "labels", needed: 8, found: 7 } => Packing, None,
            "buffer labels has length 7, the batch needs 8; size buffers by measure()";
        LengthCount { with: 2, without: 3 } => Packing, None,
            "2 lengths with profile, 3 without; give both lengths of every record";
        NonPositiveLength { stream: Stream::Without, record: 4, length: 0 } => Packing, Some(4),
            "record 4: length 0 without profile; a record has at least one token, drop it";
        RecordTooLong { stream: Stream::With, record: 4, length: 20, capacity: 16 } => Packing, Some(4),
            "record 4: 20 tokens with profile do not fit into 16; raise max_tokens or prepare with a smaller max_length";
        CapacityOutOfRange { stream: Stream::With, capacity: 0 } => Packing, None,
            "capacity 0 with profile is out of range; give 1 to 2147483647 tokens";
        TooManyRecords { records: 4_294_967_295 } => Packing, None,
            "4294967295 records are more than one plan can hold (4294967294); split the data";
        EmptyBatch => Packing, None, "batch_size is 0; give 1 or more records";
        RankOutOfRange { rank: 2, world_size: 2 } => Packing, None,
            "rank 2 is not in a world of 2; give 0 <= rank < world_size";
        NegativeBin { position: 0, bin: -1 } => Packing, None,
            "bin -1 at position 0 of the order is negative; give epoch_order()'s permutation";
    }

    #[test]
    fn every_variant_says_where_and_what_to_do() {
        for (error, kind, record, text) in EXAMPLES {
            has_example(error);
            assert_eq!(error.to_string(), *text);
            assert_eq!(error.kind(), *kind, "{text}");
            assert_eq!(error.record(), *record, "{text}");
        }
    }
}
