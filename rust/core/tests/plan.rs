//! Plans: permutations, groups and ranks.

use perce_core::{Error, epoch_order, group_records, rank_bins};
use proptest::prelude::*;

fn sorted(mut items: Vec<i64>) -> Vec<i64> {
    items.sort_unstable();
    items
}

proptest! {
    #[test]
    fn an_epoch_is_a_permutation_fixed_by_its_arguments(bins in 0_usize..500, seed: u64, epoch: u64) {
        let order = epoch_order(bins, seed, epoch)?;
        prop_assert_eq!(&order, &epoch_order(bins, seed, epoch)?);
        prop_assert!(sorted(order).into_iter().eq((0..).take(bins)));
    }

    #[test]
    fn groups_hold_every_record_once(records in 0_usize..500, size in 1_usize..600, seed: Option<u64>) {
        let bins = group_records(records, size, seed)?;
        prop_assert_eq!(bins.len(), records.div_ceil(size));
        prop_assert_eq!(bins.offsets.first(), Some(&0));
        let sizes: Vec<i64> = bins.offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if let Some((last, full)) = sizes.split_last() {
            let size = i64::try_from(size).expect("small");
            prop_assert!(full.iter().all(|&n| n == size));
            prop_assert!((1..=size).contains(last));
        }
        prop_assert!(sorted(bins.records).into_iter().eq((0..).take(records)));
    }

    #[test]
    fn ranks_are_as_long_as_each_other_and_share_the_order(bins in 0_usize..60, world in 1_usize..9, seed: u64) {
        let order = epoch_order(bins, seed, 0)?;
        let ranks: Vec<Vec<i64>> =
            (0..world).map(|rank| rank_bins(&order, rank, world)).collect::<Result<_, _>>()?;
        let mut dealt = Vec::new();
        for step in 0..bins.div_ceil(world) {
            for (rank, mine) in ranks.iter().enumerate() {
                prop_assert_eq!(mine.len(), bins.div_ceil(world));
                if step * world + rank < bins {
                    dealt.push(mine[step]);
                } else {
                    prop_assert!((-i64::try_from(bins).expect("small")..0).contains(&mine[step]));
                }
            }
        }
        prop_assert_eq!(dealt, order);
    }
}

#[test]
fn an_order_never_changes_between_releases() {
    // Worked out once by an independent program: a run that resumes under a new release must go on in the old order.
    assert_eq!(epoch_order(10, 0, 0).expect("small"), [1, 2, 5, 7, 0, 8, 4, 3, 9, 6]);
    assert_eq!(epoch_order(10, 0, 1).expect("small"), [2, 5, 6, 9, 0, 4, 7, 3, 8, 1]);
    assert_eq!(epoch_order(10, 1, 0).expect("small"), [6, 4, 7, 2, 9, 1, 5, 0, 8, 3]);
    assert_eq!(group_records(5, 2, Some(0)).expect("valid").records, [1, 2, 4, 3, 0]);
}

#[test]
fn groups_without_a_seed_keep_the_stored_order() {
    let bins = group_records(5, 2, None).expect("valid");
    assert_eq!((bins.offsets, bins.records), (vec![0, 2, 4, 5], vec![0, 1, 2, 3, 4]));
}

#[test]
fn a_world_larger_than_the_order_repeats_in_turn() {
    let ranks: Vec<_> = (0..5).map(|rank| rank_bins(&[1, 0], rank, 5).expect("valid")).collect();
    assert_eq!(ranks, [[1], [0], [-2], [-1], [-2]]);
}

#[test]
fn errors_say_what_is_out_of_range() {
    assert_eq!(group_records(3, 0, None), Err(Error::EmptyBatch));
    for entries in [1 << 60, usize::MAX] {
        assert_eq!(epoch_order(entries, 0, 0), Err(Error::PlanTooLarge { entries }));
        assert_eq!(group_records(entries, 1, None), Err(Error::PlanTooLarge { entries }));
        assert_eq!(group_records(entries, entries, Some(0)), Err(Error::PlanTooLarge { entries }));
    }
    assert_eq!(rank_bins(&[0], 2, 2), Err(Error::RankOutOfRange { rank: 2, world_size: 2 }));
    assert_eq!(rank_bins(&[0], 0, 0), Err(Error::RankOutOfRange { rank: 0, world_size: 0 }));
    assert_eq!(rank_bins(&[0, -1], 0, 2), Err(Error::NegativeBin { position: 1, bin: -1 }));
}
