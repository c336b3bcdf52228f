//! Collation against an oracle that pushes one token at a time.

mod common;

use common::batch::{Batch, JUNK, Stream, slow};
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
    fn agrees_with_the_oracle((columns, records) in batches(), ignore: bool) {
        let store = columns.open()?;
        let mut batch = Batch::junk(records.len(), &store.measure(&records)?);
        let sizes = collate(&store, &records, ignore, &mut batch.buffers())?;
        prop_assert_eq!(sizes, store.measure(&records)?);
        prop_assert_eq!(batch, slow(&columns, &records, ignore));
    }

    #[test]
    fn the_streams_are_aligned((columns, records) in batches()) {
        let store = columns.open()?;
        let mut batch = Batch::junk(records.len(), &store.measure(&records)?);
        collate(&store, &records, false, &mut batch.buffers())?;
        let predicted = |stream: &Stream| -> Vec<i64> {
            stream.rows.iter().map(|&row| stream.ids[usize::try_from(row + 1).expect("index")]).collect()
        };
        prop_assert_eq!(&predicted(&batch.with), &batch.labels);
        prop_assert_eq!(&predicted(&batch.without), &batch.labels);
    }

    #[test]
    fn a_buffer_of_another_length_is_refused_and_nothing_written(
        (columns, records) in batches(),
        which in 0_usize..11,
        longer: bool,
    ) {
        let store = columns.open()?;
        let mut batch = Batch::junk(records.len(), &store.measure(&records)?);
        let wide = [
            &mut batch.with.ids, &mut batch.with.positions, &mut batch.with.rows, &mut batch.without.ids,
            &mut batch.without.positions, &mut batch.without.rows, &mut batch.labels, &mut batch.segment,
            &mut batch.ledger,
        ];
        let resized = |length: usize| if longer || length == 0 { length + 1 } else { length - 1 };
        if let Some(buffer) = wide.into_iter().nth(which) {
            buffer.resize(resized(buffer.len()), JUNK);
        } else {
            let buffer = if which == 9 { &mut batch.with.cu_seqlens } else { &mut batch.without.cu_seqlens };
            buffer.resize(resized(buffer.len()), i32::MIN);
        }
        let before = batch.clone();
        let error = collate(&store, &records, false, &mut batch.buffers()).expect_err("another length");
        let named = matches!(error, Error::BufferLength { .. });
        prop_assert!(named, "{}", error);
        prop_assert_eq!(batch, before);
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
        let mut batch = Batch::junk(2, &sizes);
        let error = collate(&columns.reopen(), &[0, 1], false, &mut batch.buffers()).expect_err("changed");
        assert_eq!(error, Error::Changed { column: perce_core::Column::Response, record: 1 });
        assert_eq!(batch, Batch::junk(2, &sizes));
    }
}
