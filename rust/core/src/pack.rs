//! Pair packing: both variants of a record into the same bin, within one capacity a stream.

use crate::bins::Bins;
use crate::convert::index;
use crate::error::{Error, Stream};
use crate::open_bins::OpenBins;

/// Best-fit decreasing over the long stream, with the short stream as a second capacity.
///
/// Records are taken from the longest (with profile) to the shortest, equal ones in stored order. Each goes to the bin
/// with the least long room left that takes both of its variants; among equals to the one with the most short room,
/// then to the one opened first; where none takes it, a bin is opened. No randomness. Time is about linear in the
/// number of records, memory in records plus the long capacity.
///
/// # Errors
/// [`Error::LengthCount`], [`Error::CapacityOutOfRange`], [`Error::TooManyRecords`], or, naming the first record at
/// fault, [`Error::NonPositiveLength`] and [`Error::RecordTooLong`].
pub fn pack_pairs(
    lengths_with: &[i64],
    lengths_without: &[i64],
    capacity_with: i64,
    capacity_without: i64,
) -> Result<Bins, Error> {
    let records = lengths_with.len();
    if lengths_without.len() != records {
        return Err(Error::LengthCount { with: records, without: lengths_without.len() });
    }
    // Bins are numbered from 1 in 32 bits, and there are no more of them than records.
    if u32::try_from(records).map_or(true, |records| records == u32::MAX) {
        return Err(Error::TooManyRecords { records });
    }
    let (long, capacity_with) = checked(lengths_with, capacity_with, Stream::With)?;
    let (short, capacity_without) = checked(lengths_without, capacity_without, Stream::Without)?;
    // A bin cannot hold more than everything: the clamp shifts all residuals alike and bounds the memory.
    let total: u64 = long.iter().map(|&length| u64::from(length)).sum();
    let capacity_with = u32::try_from(total).map_or(capacity_with, |total| total.min(capacity_with));

    let mut open = OpenBins::new(capacity_with);
    let mut bin_of = vec![0; records];
    for Item { record, long, short } in longest_first(&long, &short) {
        bin_of[index(record)] = open
            .place(long, short)
            .unwrap_or_else(|| open.open(capacity_with - long, capacity_without - short));
    }
    Ok(Bins::from_assignment(&bin_of, open.len()))
}

/// Lengths, each within 1 and the capacity, and the capacity, as 32-bit numbers.
fn checked(lengths: &[i64], capacity: i64, stream: Stream) -> Result<(Vec<u32>, u32), Error> {
    // `cu_seqlens` are signed 32-bit numbers: no stream can be longer.
    let Ok(Ok(bounded @ 1..)) = i32::try_from(capacity).map(u32::try_from) else {
        return Err(Error::CapacityOutOfRange { stream, capacity });
    };
    let check = |(record, &length): (usize, &i64)| {
        if length > capacity {
            return Err(Error::RecordTooLong { stream, record, length, capacity });
        }
        match u32::try_from(length) {
            Ok(positive @ 1..) => Ok(positive),
            _ => Err(Error::NonPositiveLength { stream, record, length }),
        }
    };
    let lengths = lengths.iter().enumerate().map(check).collect::<Result<_, _>>()?;
    Ok((lengths, bounded))
}

/// A record to be packed, with its lengths beside it, so that packing reads memory in order.
#[derive(Clone, Copy, Default)]
struct Item {
    record: u32,
    long: u32,
    short: u32,
}

/// Items from the longest to the shortest, equal ones in stored order: a counting sort.
fn longest_first(long: &[u32], short: &[u32]) -> Vec<Item> {
    let longest = long.iter().copied().max().unwrap_or(0);
    let mut next = vec![0_u32; index(longest) + 1];
    for &length in long {
        next[index(length)] += 1;
    }
    let mut longer = 0;
    for count in next.iter_mut().rev() {
        longer += std::mem::replace(count, longer);
    }
    let mut items = vec![Item::default(); long.len()];
    for ((record, &long), &short) in (0..).zip(long).zip(short) {
        items[index(next[index(long)])] = Item { record, long, short };
        next[index(long)] += 1;
    }
    items
}
