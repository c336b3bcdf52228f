//! Collation against an oracle that pushes one token at a time.

mod common;

use common::batch::{JUNK, Memory, Stream, slow};
use common::{Columns, columns};
use perce_core::{Error, collate};
use proptest::prelude::*;

/// Columns and a batch of their records, any number of them, in any order, some of them twice.
fn batches() -> impl Strategy<Value = (Columns, Vec<i64>)> {
    columns().prop_flat_map(|columns| {
        let record = 0..i64::try_from(columns.records()).expect("small");
        (Just(columns), proptest::collection::vec(record, 0..10))
    })
}

proptest! {
    #[test]
    fn agrees_with_the_oracle((columns, records) in batches(), ignore: bool, more in 0_usize..3) {
        let store = columns.open()?;
        let mut memory = Memory::junk(records.len(), &store.measure(&records)?, more);
        let Memory { block, cu_seqlens } = &mut memory;
        let sizes = collate(&store, &records, ignore, block, cu_seqlens)?;
        prop_assert_eq!(sizes, store.measure(&records)?);
        let (batch, behind, borders_behind) = memory.batch(records.len(), &sizes);
        prop_assert_eq!(batch, slow(&columns, &records, ignore));
        prop_assert_eq!((behind, borders_behind), (&[JUNK; 3][..more], &[i32::MIN; 3][..more]));
    }

    #[test]
    fn the_streams_are_aligned((columns, records) in batches()) {
        let store = columns.open()?;
        let mut memory = Memory::junk(records.len(), &store.measure(&records)?, 0);
        let sizes = collate(&store, &records, false, &mut memory.block, &mut memory.cu_seqlens)?;
        let (batch, ..) = memory.batch(records.len(), &sizes);
        let predicted = |stream: &Stream| -> Vec<i64> {
            stream.rows.iter().map(|&row| stream.ids[usize::try_from(row + 1).expect("index")]).collect()
        };
        prop_assert_eq!(&predicted(&batch.with), &batch.labels);
        prop_assert_eq!(&predicted(&batch.without), &batch.labels);
    }

    #[test]
    fn a_buffer_that_is_too_short_is_refused_and_nothing_written(
        (columns, records) in batches(),
        borders: bool,
        missing in any::<prop::sample::Index>(),
    ) {
        let store = columns.open()?;
        let mut memory = Memory::junk(records.len(), &store.measure(&records)?, 0);
        let (name, needed, found) = if borders {
            let needed = memory.cu_seqlens.len();
            memory.cu_seqlens.truncate(missing.index(needed));
            ("cu_seqlens", needed, memory.cu_seqlens.len())
        } else {
            prop_assume!(!records.is_empty());
            let needed = memory.block.len();
            memory.block.truncate(missing.index(needed));
            ("block", needed, memory.block.len())
        };
        let before = memory.clone();
        let error = collate(&store, &records, false, &mut memory.block, &mut memory.cu_seqlens);
        prop_assert_eq!(error, Err(Error::BufferLength { buffer: name, needed, found }));
        prop_assert_eq!(memory, before);
    }
}

#[test]
fn a_column_changed_under_an_open_store_is_an_error_and_nothing_is_written() {
    let mut columns = Columns {
        prefix_with: common::ragged(&[vec![1], vec![2]]),
        prefix_without: common::ragged(&[vec![3], vec![4]]),
        response: common::ragged(&[vec![5], vec![6]]),
    };
    let sizes = columns.open().and_then(|store| store.measure(&[0, 1])).expect("valid");
    // Past the end, and without a token: what would be a row of garbage, and a logits row before its sequence.
    for end in [99, 1] {
        columns.response.1[2] = end;
        let mut memory = Memory::junk(2, &sizes, 0);
        let Memory { block, cu_seqlens } = &mut memory;
        let error = collate(&columns.reopen(), &[0, 1], false, block, cu_seqlens).expect_err("changed");
        assert_eq!(error, Error::Changed { column: perce_core::Column::Response, record: 1 });
        assert_eq!(memory, Memory::junk(2, &sizes, 0));
    }
}
