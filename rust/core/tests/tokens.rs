//! Opening a store: what is valid opens, what is not is named, and nothing panics.

mod common;

use common::{Columns, columns};
use perce_core::{Column, Error, Kind, Sizes, TokenStore};
use proptest::prelude::*;

/// Three records: prefixes of 2, 1, 3 with and 1, 1, 1 without; responses of 1, 2, 1.
fn example() -> Columns {
    Columns {
        prefix_with: (vec![1, 2, 3, 4, 5, 6], vec![0, 2, 3, 6]),
        prefix_without: (vec![7, 8, 9], vec![0, 1, 2, 3]),
        response: (vec![10, 11, 12, 13], vec![0, 1, 3, 4]),
    }
}

fn fails_after(change: impl FnOnce(&mut Columns)) -> Error {
    let mut columns = example();
    change(&mut columns);
    columns.open().expect_err("the change is to be noticed")
}

#[test]
fn a_valid_store_opens_and_measures() {
    let columns = example();
    let store = columns.open().expect("valid");
    assert_eq!((store.len(), store.is_empty(), store.response_tokens()), (3, false, 4));
    assert_eq!(store.lengths(), (vec![3, 3, 4], vec![2, 3, 2]));
    let sizes = Sizes { tokens_with: 7, tokens_without: 4, response: 2, longest_with: 4, longest_without: 2 };
    assert_eq!(store.measure(&[2, 0]), Ok(sizes));
    assert_eq!(store.measure(&[]), Ok(Sizes::default()));
}

#[test]
fn a_store_without_records_is_valid() {
    let empty = || (vec![], vec![0]);
    let columns = Columns { prefix_with: empty(), prefix_without: empty(), response: empty() };
    assert!(columns.open().expect("valid").is_empty());
}

#[test]
fn every_fault_is_named() {
    let column = Column::Response;
    assert_eq!(fails_after(|c| c.response.1.clear()), Error::NoOffsets { column });
    assert_eq!(fails_after(|c| c.response.1[0] = 1), Error::FirstOffset { column, found: 1 });
    assert_eq!(
        fails_after(|c| c.response.1[2] = 0),
        Error::DecreasingOffset { column, record: 1, start: 1, end: 0 }
    );
    assert_eq!(fails_after(|c| c.response.1[2] = 1), Error::EmptyRow { column, record: 1 });
    assert_eq!(fails_after(|c| c.response.1[3] = 9), Error::LastOffset { column, found: 9, tokens: 4 });
    assert_eq!(fails_after(|c| c.response.0.push(1)), Error::LastOffset { column, found: 4, tokens: 5 });
    assert_eq!(
        fails_after(|c| c.response.0[2] = -5),
        Error::NegativeToken { column, record: 1, offset: 1, token: -5 }
    );
    assert_eq!(
        fails_after(|c| c.prefix_without = (vec![7, 8], vec![0, 1, 2])),
        Error::RecordCount { column: Column::PrefixWithout, found: 2, expected: 3 }
    );
}

#[test]
fn a_batch_of_unknown_records_is_refused() {
    let columns = example();
    let store = columns.open().expect("valid");
    for record in [-1, 3, i64::MIN, i64::MAX] {
        assert_eq!(
            store.measure(&[0, record]),
            Err(Error::RecordOutOfRange { position: 1, record, records: 3 })
        );
    }
}

proptest! {
    #[test]
    fn one_flipped_offset_is_an_error_or_another_valid_store(
        mut columns in columns(),
        which in 0_usize..3,
        at: prop::sample::Index,
        value in prop_oneof![-2_i64..40, any::<i64>()],
    ) {
        let offsets = [&mut columns.prefix_with.1, &mut columns.prefix_without.1, &mut columns.response.1];
        let [a, b, c] = offsets;
        let offsets = [a, b, c].into_iter().nth(which).expect("three");
        let at = at.index(offsets.len());
        offsets[at] = value;

        let records = common::all(columns.records());
        // A store opened before the change: reading gives an error or a row, never a panic.
        let _ = columns.reopen().measure(&records);
        match columns.open() {
            Ok(store) => { store.measure(&records)?; }
            Err(error) => prop_assert_eq!(error.kind(), Kind::Store),
        }
    }

    #[test]
    fn a_negative_id_anywhere_is_found(mut columns in columns(), which in 0_usize..3, at: prop::sample::Index) {
        let (ids, offsets) = match which {
            0 => &mut columns.prefix_with,
            1 => &mut columns.prefix_without,
            _ => &mut columns.response,
        };
        let at = at.index(ids.len());
        ids[at] = -7;
        let position = i64::try_from(at).expect("small");
        let expected = offsets.iter().rposition(|&start| start <= position).expect("the first offset is 0");
        let found = TokenStore::new(common::view(&columns.prefix_with), common::view(&columns.prefix_without), common::view(&columns.response));
        let error = found.expect_err("negative");
        prop_assert_eq!(error.record(), i64::try_from(expected).ok());
        let named = matches!(error, Error::NegativeToken { token: -7, .. });
        prop_assert!(named, "{}", error);
    }
}
