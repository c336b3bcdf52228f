//! Every error says where and what to do.

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
    BufferLength { buffer: "block", needed: 8, found: 7 } => Packing, None,
        "buffer block has length 7, the batch needs 8; size buffers by measure()";
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
    PlanTooLarge { entries: 1 << 60 } => Packing, None,
        "a plan of 1152921504606846976 entries does not fit into memory; give the number that the data has";
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
