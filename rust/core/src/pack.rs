//! Pair packing: both variants of a record into the same bin, within one capacity a stream.

use crate::bins::Bins;
use crate::convert::index;
use crate::error::{Error, Stream};
use crate::open_bins::OpenBins;

/// Best-fit decreasing over the long stream, with the short stream as a second capacity.
///
/// Records are taken from the largest to the smallest, equal ones in stored order. A record's size is its length with
/// the profile, and a quarter of its length without it, scaled by the ratio of the capacities and rounded down: records
/// that take much of the short stream come before it runs short. The quarter is measured: by length with the profile
/// alone bins of 16,384 tokens were filled to 0.979 at a short capacity of 1.25 times the mean ratio, so to 0.990, and
/// with a half to 0.989. Each record goes to the bin
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

    let sizes = sizes(&long, &short, capacity_with, capacity_without);
    let mut open = OpenBins::new(capacity_with);
    let mut bin_of = vec![0; records];
    for Item { record, long, short } in largest_first(&sizes, &long, &short) {
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

/// What records are ordered by: the long length, and a quarter of the short one's worth in long tokens.
fn sizes(long: &[u32], short: &[u32], capacity_with: u32, capacity_without: u32) -> Vec<u32> {
    let (worth, price) = (u64::from(capacity_with), 4 * u64::from(capacity_without));
    let size = |(&long, &short): (&u32, &u32)| {
        // A short length is at most its capacity, so this adds at most a quarter of the long capacity.
        long + u32::try_from(u64::from(short) * worth / price).expect("two bits below 31")
    };
    long.iter().zip(short).map(size).collect()
}

/// A record to be packed, with its lengths beside it, so that packing reads memory in order.
#[derive(Clone, Copy, Default)]
struct Item {
    record: u32,
    long: u32,
    short: u32,
}

/// Items from the largest to the smallest, equal ones in stored order: a counting sort.
fn largest_first(sizes: &[u32], long: &[u32], short: &[u32]) -> Vec<Item> {
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let mut next = vec![0_u32; index(largest) + 1];
    for &size in sizes {
        next[index(size)] += 1;
    }
    let mut larger = 0;
    for count in next.iter_mut().rev() {
        larger += std::mem::replace(count, larger);
    }
    let mut items = vec![Item::default(); sizes.len()];
    for (((record, &size), &long), &short) in (0..).zip(sizes).zip(long).zip(short) {
        let place = &mut next[index(size)];
        items[index(*place)] = Item { record, long, short };
        *place += 1;
    }
    items
}
