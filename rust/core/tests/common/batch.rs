//! A batch's buffers, and an oracle that pushes one token at a time.

use perce_core::{Buffers, IGNORED_LABEL, IGNORED_LEDGER, Sizes, StreamBuffers};

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
}

pub const JUNK: i64 = i64::MIN;

impl Batch {
    /// Buffers of the right sizes, full of what no batch contains.
    pub fn junk(records: usize, sizes: &Sizes) -> Self {
        let stream = |tokens| Stream {
            ids: vec![JUNK; tokens],
            positions: vec![JUNK; tokens],
            cu_seqlens: vec![i32::MIN; records + 1],
            rows: vec![JUNK; sizes.response],
        };
        Self {
            with: stream(sizes.tokens_with),
            without: stream(sizes.tokens_without),
            labels: vec![JUNK; sizes.response],
            segment: vec![JUNK; sizes.response],
            ledger: vec![JUNK; sizes.response],
        }
    }

    pub fn buffers(&mut self) -> Buffers<'_> {
        fn stream(stream: &mut Stream) -> StreamBuffers<'_> {
            StreamBuffers {
                ids: &mut stream.ids,
                positions: &mut stream.positions,
                cu_seqlens: &mut stream.cu_seqlens,
                rows: &mut stream.rows,
            }
        }
        Buffers {
            with: stream(&mut self.with),
            without: stream(&mut self.without),
            labels: &mut self.labels,
            segment: &mut self.segment,
            ledger: &mut self.ledger,
        }
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
