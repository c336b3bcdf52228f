//! The histogram's quantiles against sorted values, and its merging against addition.

use perce_core::{HISTOGRAM_BINS, LedgerError, histogram, quantiles};
use proptest::prelude::*;

fn counted(values: &[f32]) -> Vec<i64> {
    let mut counts = vec![0; HISTOGRAM_BINS];
    histogram(values, &mut counts).expect("as many counts as bins");
    counts
}

/// Values like PIRs: tiny, ordinary or large, of both signs, and exactly 0.
fn values() -> impl Strategy<Value = Vec<f32>> {
    let size = prop_oneof![1e-5_f32..1e-2, 1e-2_f32..1.0, 1.0_f32..600.0, Just(0.0)];
    proptest::collection::vec((size, any::<bool>()), 1..300)
        .prop_map(|sizes| sizes.into_iter().map(|(size, below)| if below { -size } else { size }).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_quantile_is_within_half_a_percent(mut values in values(), share in 0.0_f64..=1.0) {
        let found = quantiles(&counted(&values), &[share])?[0];
        values.sort_by(f32::total_cmp);
        // Smallest value that a share of the values is not above.
        let rank = (1..=values.len()).find(|&rank| f64::from(u16::try_from(rank).expect("small")) >= share * f64::from(u16::try_from(values.len()).expect("small")));
        let exact = f64::from(values[rank.expect("a share of 1 is all") - 1]);
        prop_assert!((found - exact).abs() <= 0.005 * exact.abs(), "{found} for {exact}");
    }

    #[test]
    fn merging_is_addition(first in values(), second in values()) {
        let both = counted(&[first.clone(), second.clone()].concat());
        let sums: Vec<i64> = counted(&first).iter().zip(counted(&second)).map(|(a, b)| a + b).collect();
        prop_assert_eq!(&both, &sums);
        let mut in_place = counted(&first);
        histogram(&second, &mut in_place)?;
        prop_assert_eq!(both, in_place);
    }

    #[test]
    fn any_bits_are_counted_once_unless_they_are_no_number(bits: u32) {
        let value = f32::from_bits(bits);
        let counts = counted(&[value]);
        prop_assert_eq!(counts.iter().sum::<i64>(), i64::from(!value.is_nan()));
        prop_assert!(counts.iter().all(|&count| count >= 0));
    }

    #[test]
    fn bins_follow_the_order_of_values(a in -700.0_f32..700.0, b in -700.0_f32..700.0) {
        let bin = |value: f32| counted(&[value]).iter().position(|&count| count == 1);
        prop_assert_eq!(a.min(b) <= a.max(b), bin(a.min(b)) <= bin(a.max(b)));
    }

    #[test]
    fn any_counts_give_quantiles_or_an_error(
        at: prop::sample::Index, count: i64, other: i64, share: f64,
    ) {
        let mut counts = vec![0; HISTOGRAM_BINS];
        counts[at.index(HISTOGRAM_BINS)] = count;
        counts[0] = other;
        let _ = quantiles(&counts, &[share]);
    }
}

#[test]
fn bins_are_where_they_are_documented() {
    let bin = |value: f32| counted(&[value]).iter().position(|&count| count == 1);
    let smallest = 2.0_f32.powi(-20);
    assert_eq!(bin(0.0), Some(2048));
    assert_eq!(bin(smallest * 0.999_999), Some(2048));
    assert_eq!((bin(smallest), bin(-smallest)), (Some(2049), Some(2047)));
    // 70 bins to an octave: 1 is 20 octaves from the start.
    assert_eq!(
        (bin(1.0), bin(0.999_999), bin(-1.0)),
        (Some(2049 + 1400), Some(2048 + 1400), Some(2047 - 1400))
    );
    assert_eq!((bin(f32::INFINITY), bin(-1e30), bin(606.0)), (Some(4096), Some(0), Some(4096)));
    assert_eq!(bin(f32::NAN), None);
}

#[test]
fn a_bin_holds_the_value_that_stands_for_it() {
    for bin in (0..HISTOGRAM_BINS).step_by(16) {
        let mut counts = vec![0; HISTOGRAM_BINS];
        counts[bin] = 1;
        let value = quantiles(&counts, &[0.5]).expect("valid")[0];
        let again = counted(&[value.to_string().parse().expect("a number")]);
        assert_eq!(again, counts, "bin {bin}: {value}");
    }
}

#[test]
fn nothing_has_no_quantiles_and_faults_are_named() {
    let zeros = vec![0; HISTOGRAM_BINS];
    assert!(quantiles(&zeros, &[0.5]).expect("valid")[0].is_nan());
    assert!(matches!(quantiles(&zeros, &[1.5]), Err(LedgerError::Quantile { .. })));
    assert!(matches!(quantiles(&zeros, &[f64::NAN]), Err(LedgerError::Quantile { .. })));
    assert!(matches!(quantiles(&zeros[1..], &[0.5]), Err(LedgerError::ArrayLength { .. })));
    assert!(matches!(histogram(&[], &mut [0; 7]), Err(LedgerError::ArrayLength { .. })));
    let mut counts = zeros;
    counts[5] = -1;
    assert!(matches!(quantiles(&counts, &[0.5]), Err(LedgerError::Counts { bin: 5 })));
}
