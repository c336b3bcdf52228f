//! A batch's memory and its parts, and an oracle that pushes one token at a time.

use perce_core::{IGNORED_LABEL, IGNORED_LEDGER, Sizes};

use super::Columns;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    pub ids: Vec<i64>,
    pub positions: Vec<i64>,
    pub cu_seqlens: Vec<i32>,
    pub rows: Vec<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub with: Stream,
    pub without: Stream,
    pub labels: Vec<i64>,
    pub segment: Vec<i64>,
    pub ledger: Vec<i64>,
    pub records: Vec<i64>,
}

pub const JUNK: i64 = i64::MIN;

/// Memory for a batch, and some more behind it, full of what no batch contains.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    pub block: Vec<i64>,
    pub cu_seqlens: Vec<i32>,
}

impl Memory {
    pub fn junk(records: usize, sizes: &Sizes, more: usize) -> Self {
        Self {
            block: vec![JUNK; sizes.block_len(records) + more],
            cu_seqlens: vec![i32::MIN; 2 * (records + 1) + more],
        }
    }

    /// The parts of a batch, and what stands behind them.
    pub fn batch(&self, records: usize, sizes: &Sizes) -> (Batch, &[i64], &[i32]) {
        let (mut block, mut cu_seqlens) = (&self.block[..], &self.cu_seqlens[..]);
        let batch = {
            let mut cut = |length: usize| {
                let part = block[..length].to_vec();
                block = &block[length..];
                part
            };
            let [ids, positions] = [(); 2].map(|()| cut(sizes.tokens_with));
            let [ids_without, positions_without] = [(); 2].map(|()| cut(sizes.tokens_without));
            let [rows, rows_without, labels, segment, ledger] = [(); 5].map(|()| cut(sizes.response));
            let mut cut_borders = || {
                let part = cu_seqlens[..=records].to_vec();
                cu_seqlens = &cu_seqlens[records + 1..];
                part
            };
            Batch {
                with: Stream { ids, positions, cu_seqlens: cut_borders(), rows },
                without: Stream {
                    ids: ids_without,
                    positions: positions_without,
                    cu_seqlens: cut_borders(),
                    rows: rows_without,
                },
                labels,
                segment,
                ledger,
                records: cut(records),
            }
        };
        (batch, block, cu_seqlens)
    }
}

pub fn slow(columns: &Columns, records: &[i64], ignore: bool) -> Batch {
    let row = |column: &(Vec<i32>, Vec<i64>), record: i64| -> Vec<i32> {
        let record = usize::try_from(record).expect("index");
        let at = |offset: i64| usize::try_from(offset).expect("offset");
        column.0[at(column.1[record])..at(column.1[record + 1])].to_vec()
    };
    let stream = |column| {
        let mut stream = Stream { cu_seqlens: vec![0], ..Stream::default() };
        for &record in records {
            let prefix = row(column, record);
            for (position, id) in (0..).zip(prefix.iter().chain(&row(&columns.response, record))) {
                if position >= i64::try_from(prefix.len()).expect("small") {
                    stream.rows.push(i64::try_from(stream.ids.len()).expect("small") - 1);
                }
                stream.ids.push(i64::from(*id));
                stream.positions.push(position);
            }
            stream.cu_seqlens.push(i32::try_from(stream.ids.len()).expect("small"));
        }
        stream
    };
    let mut batch = Batch {
        with: stream(&columns.prefix_with),
        without: stream(&columns.prefix_without),
        records: records.to_vec(),
        ..Batch::default()
    };
    for (segment, &record) in (0..).zip(records) {
        let start = columns.response.1[usize::try_from(record).expect("index")];
        for (ledger, id) in (start..).zip(row(&columns.response, record)) {
            batch.labels.push(if ignore { IGNORED_LABEL } else { i64::from(id) });
            batch.ledger.push(if ignore { IGNORED_LEDGER } else { ledger });
            batch.segment.push(segment);
        }
    }
    batch
}
