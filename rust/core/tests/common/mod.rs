//! Owned columns for tests, and a strategy for them.
#![allow(dead_code, reason = "each test crate uses its part")]

pub mod batch;

use perce_core::{Error, Ragged, TokenStore};
use proptest::prelude::*;

type Column = (Vec<i32>, Vec<i64>);
type Row = Vec<i32>;

#[derive(Clone, Debug)]
pub struct Columns {
    pub prefix_with: Column,
    pub prefix_without: Column,
    pub response: Column,
}

pub fn view(column: &Column) -> Ragged<'_> {
    Ragged { ids: &column.0, offsets: &column.1 }
}

impl Columns {
    pub fn open(&self) -> Result<TokenStore<'_>, Error> {
        TokenStore::new(view(&self.prefix_with), view(&self.prefix_without), view(&self.response))
    }

    pub fn reopen(&self) -> TokenStore<'_> {
        TokenStore::reopen(view(&self.prefix_with), view(&self.prefix_without), view(&self.response))
    }

    pub fn records(&self) -> usize {
        self.response.1.len() - 1
    }
}

/// The indices of all records.
pub fn all(records: usize) -> Vec<i64> {
    (0..).take(records).collect()
}

pub fn ragged(rows: &[Vec<i32>]) -> Column {
    let mut offsets = vec![0];
    for row in rows {
        offsets.push(offsets[offsets.len() - 1] + i64::try_from(row.len()).expect("small"));
    }
    (rows.concat(), offsets)
}

/// Valid columns of 1 to 8 records; every third record has an empty profile, that is, equal prefixes.
pub fn columns() -> impl Strategy<Value = Columns> {
    let row = |longest| proptest::collection::vec(0..i32::MAX, 1..=longest);
    let record = (row(9), row(5), row(7), 0..3);
    proptest::collection::vec(record, 1..=8).prop_map(|records| {
        let pick =
            |part: fn(&(Row, Row, Row, i32)) -> Row| ragged(&records.iter().map(part).collect::<Vec<_>>());
        Columns {
            prefix_with: pick(|r| if r.3 == 0 { r.1.clone() } else { r.0.clone() }),
            prefix_without: pick(|r| r.1.clone()),
            response: pick(|r| r.2.clone()),
        }
    })
}
