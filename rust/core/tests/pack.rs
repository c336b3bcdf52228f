//! Packing against a quadratic oracle that looks at every bin for every record.

use perce_core::{Bins, Error, Stream, pack_pairs};
use proptest::prelude::*;

/// Best-fit decreasing as its definition reads.
fn naive(with: &[i64], without: &[i64], capacity_with: i64, capacity_without: i64) -> Vec<Vec<i64>> {
    let mut order: Vec<usize> = (0..with.len()).collect();
    let capacity = capacity_with.min(with.iter().sum());
    let size = |record: usize| with[record] + without[record] * capacity / (4 * capacity_without);
    order.sort_by_key(|&record| std::cmp::Reverse(size(record)));
    let mut bins: Vec<(i64, i64, Vec<i64>)> = Vec::new();
    for record in order {
        let (a, b) = (with[record], without[record]);
        let fits = bins.iter_mut().filter(|(long, short, _)| *long >= a && *short >= b);
        // `min_by_key` keeps the first of equals: the bin that was opened first.
        let index = i64::try_from(record).expect("small");
        match fits.min_by_key(|(long, short, _)| (*long, -*short)) {
            Some((long, short, records)) => {
                *long -= a;
                *short -= b;
                records.push(index);
            }
            None => bins.push((capacity_with - a, capacity_without - b, vec![index])),
        }
    }
    let sorted = |mut records: Vec<i64>| {
        records.sort_unstable();
        records
    };
    bins.into_iter().map(|(_, _, records)| sorted(records)).collect()
}

fn rows(bins: &Bins) -> Vec<Vec<i64>> {
    let at = |offset: i64| usize::try_from(offset).expect("offsets are not negative");
    bins.offsets.windows(2).map(|pair| bins.records[at(pair[0])..at(pair[1])].to_vec()).collect()
}

/// Capacities and lengths within them. Small capacities make ties and full bins common; the short stream is drawn freely,
/// so that it often is what decides; the cubes of a fraction make many short records and few long ones.
fn problems() -> impl Strategy<Value = (Vec<i64>, Vec<i64>, i64, i64)> {
    let capacity =
        || prop_oneof![1_i64..20, 60_i64..70, 120_i64..135, 1_i64..5_000, Just(i64::from(i32::MAX))];
    (capacity(), capacity()).prop_flat_map(|(with, without)| {
        let (long, short) = (with.min(10_000), without.min(10_000));
        let lengths = proptest::collection::vec((1..=long, 1..=short, any::<bool>()), 0..200);
        lengths.prop_map(move |pairs| {
            let shrink = |length: i64, small: bool| if small { 1 + length / 7 } else { length };
            let (a, b) =
                pairs.iter().map(|&(a, b, small)| (shrink(a, small).min(a), shrink(b, small).min(b))).unzip();
            (a, b, with, without)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn agrees_with_the_oracle_bin_for_bin((with, without, capacity_with, capacity_without) in problems()) {
        let bins = pack_pairs(&with, &without, capacity_with, capacity_without)?;
        prop_assert_eq!(rows(&bins), naive(&with, &without, capacity_with, capacity_without));
    }

    #[test]
    fn every_record_is_in_one_bin_and_no_bin_is_over((with, without, capacity_with, capacity_without) in problems()) {
        let bins = pack_pairs(&with, &without, capacity_with, capacity_without)?;
        let mut seen = bins.records.clone();
        seen.sort_unstable();
        prop_assert!(seen.into_iter().eq((0..).take(with.len())));
        prop_assert_eq!(rows(&bins).len(), bins.len());
        for records in rows(&bins) {
            prop_assert!(!records.is_empty());
            let sum = |lengths: &[i64]| records.iter().map(|&r| lengths[usize::try_from(r).expect("index")]).sum::<i64>();
            prop_assert!(sum(&with) <= capacity_with);
            prop_assert!(sum(&without) <= capacity_without);
        }
    }

    #[test]
    fn any_numbers_give_bins_or_an_error(
        with in proptest::collection::vec(any::<i64>(), 0..5),
        without in proptest::collection::vec(any::<i64>(), 0..5),
        capacity_with in any::<i64>(),
        capacity_without in any::<i64>(),
    ) {
        let _ = pack_pairs(&with, &without, capacity_with, capacity_without);
    }
}

#[test]
fn no_records_need_no_bins() {
    let bins = pack_pairs(&[], &[], 8, 8).expect("nothing is wrong with nothing");
    assert_eq!(bins, Bins { offsets: vec![0], records: vec![] });
    assert!(bins.is_empty());
}

#[test]
fn the_short_stream_alone_can_close_a_bin() {
    let bins = pack_pairs(&[4, 4, 4], &[3, 3, 1], 12, 4).expect("fits");
    assert_eq!(rows(&bins), [vec![0, 2], vec![1]]);
}

#[test]
fn of_equally_long_records_the_one_that_takes_more_of_the_short_stream_comes_first() {
    // By length alone the third record would find room for its short variant nowhere.
    let bins = pack_pairs(&[4, 4, 4, 4], &[1, 1, 3, 3], 8, 4).expect("fits");
    assert_eq!(rows(&bins), [vec![0, 2], vec![1, 3]]);
}

#[test]
fn errors_name_the_first_record_at_fault() {
    assert_eq!(
        pack_pairs(&[4, 9, 10], &[1, 1, 1], 8, 8),
        Err(Error::RecordTooLong { stream: Stream::With, record: 1, length: 9, capacity: 8 })
    );
    assert_eq!(
        pack_pairs(&[4, 8], &[1, 9], 8, 8),
        Err(Error::RecordTooLong { stream: Stream::Without, record: 1, length: 9, capacity: 8 })
    );
    assert_eq!(
        pack_pairs(&[4, 0], &[1, 1], 8, 8),
        Err(Error::NonPositiveLength { stream: Stream::With, record: 1, length: 0 })
    );
    assert_eq!(pack_pairs(&[4], &[], 8, 8), Err(Error::LengthCount { with: 1, without: 0 }));
    assert_eq!(
        pack_pairs(&[4], &[4], 8, 1 << 31),
        Err(Error::CapacityOutOfRange { stream: Stream::Without, capacity: 1 << 31 })
    );
}
