//! The ledger's state against one entry a token in a map, worked out in the order of the visits.

use std::collections::HashMap;

use perce_core::{LedgerError, Scores, Value};
use proptest::prelude::*;

/// Records of 0 to 6 tokens and batches that visit them, a record more than once now and then.
fn runs() -> impl Strategy<Value = (Vec<i64>, f32, Vec<Batch>)> {
    let lengths = proptest::collection::vec(0_usize..=6, 1..8);
    let decay = prop_oneof![Just(0.0_f32), Just(0.5), 0.0_f32..1.0];
    (lengths, decay).prop_flat_map(|(lengths, decay)| {
        let records = proptest::collection::vec(0..lengths.len(), 0..5);
        let values = lengths.clone();
        let batch = (records, any::<u64>(), 0_u32..1_000).prop_map(move |(records, seed, step)| {
            let tokens: usize = records.iter().map(|&record| values[record]).sum();
            Batch {
                step,
                pir: noise(seed, tokens),
                logp_without: noise(!seed, tokens),
                records: records.into_iter().map(|record| i64::try_from(record).expect("small")).collect(),
            }
        });
        (Just(offsets(&lengths)), Just(decay), proptest::collection::vec(batch, 0..12))
    })
}

#[derive(Clone, Debug)]
struct Batch {
    step: u32,
    records: Vec<i64>,
    pir: Vec<f32>,
    logp_without: Vec<f32>,
}

/// Numbers from -8 to 8 that look alike on every machine.
fn noise(seed: u64, length: usize) -> Vec<f32> {
    let next = |state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    };
    let states = std::iter::successors(next(&seed), next).take(length);
    states
        .map(|state| f32::from(i16::from_le_bytes([state.to_le_bytes()[6], state.to_le_bytes()[7]])) / 4096.0)
        .collect()
}

fn offsets(lengths: &[usize]) -> Vec<i64> {
    let mut offsets = vec![0];
    for &length in lengths {
        offsets.push(offsets[offsets.len() - 1] + i64::try_from(length).expect("small"));
    }
    offsets
}

fn at(number: i64) -> usize {
    usize::try_from(number).expect("an index")
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_token_holds_what_a_map_holds((offsets, decay, batches) in runs()) {
        let mut scores = Scores::new(&offsets, decay)?;
        let mut tokens: HashMap<i64, (f32, f32)> = HashMap::new();
        let mut records: HashMap<i64, (u32, u32)> = HashMap::new();
        for Batch { step, records: visited, pir, logp_without } in &batches {
            scores.update(*step, visited, pir, logp_without)?;
            let mut values = pir.iter().zip(logp_without);
            for record in visited {
                let visits = records.get(record).map_or(0, |entry| entry.0);
                records.insert(*record, (visits + 1, *step));
                for token in offsets[at(*record)]..offsets[at(*record) + 1] {
                    let (&pir, &last) = values.next().expect("as many values as tokens");
                    let mean = tokens.get(&token).map_or(pir, |&(mean, _)| decay * mean + (1.0 - decay) * pir);
                    tokens.insert(token, (mean, last));
                }
            }
        }
        let expected: Vec<(f32, f32)> =
            (0..offsets[offsets.len() - 1]).map(|token| tokens.get(&token).copied().unwrap_or((f32::NAN, f32::NAN))).collect();
        let (means, lasts): (Vec<f32>, Vec<f32>) = expected.into_iter().unzip();
        prop_assert_eq!(bits(scores.pir()), bits(&means));
        prop_assert_eq!(bits(scores.logp_without()), bits(&lasts));
        let of_records: Vec<(u32, u32)> =
            (0..).take(scores.len()).map(|record| records.get(&record).copied().unwrap_or((0, 0))).collect();
        prop_assert_eq!((scores.visits(), scores.last_step()), {
            let (visits, last): (Vec<u32>, Vec<u32>) = of_records.into_iter().unzip();
            (&visits.clone()[..], &last.clone()[..])
        });
        let all: Vec<i64> = (0..).take(means.len()).collect();
        prop_assert_eq!(bits(&scores.gather_logp_without(&all)?), bits(&lasts));
    }

    #[test]
    fn visits_one_by_one_are_the_batch((offsets, decay, batches) in runs()) {
        let (mut whole, mut single) = (Scores::new(&offsets, decay)?, Scores::new(&offsets, decay)?);
        for Batch { step, records, pir, logp_without } in &batches {
            whole.update(*step, records, pir, logp_without)?;
            let lengths: Vec<i64> = records.iter().map(|&record| offsets[at(record) + 1] - offsets[at(record)]).collect();
            single.replay(&vec![*step; records.len()], records, &lengths, pir, logp_without)?;
        }
        prop_assert_eq!(bits(whole.pir()), bits(single.pir()));
        prop_assert_eq!(bits(whole.logp_without()), bits(single.logp_without()));
        prop_assert_eq!((whole.visits(), whole.last_step()), (single.visits(), single.last_step()));
    }

    #[test]
    fn a_batch_with_one_fault_changes_nothing(
        (offsets, decay, batches) in runs(),
        place: prop::sample::Index,
        fault in prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
        in_pir: bool,
    ) {
        let mut scores = Scores::new(&offsets, decay)?;
        let before = scores.clone();
        let Some(mut batch) = batches.into_iter().find(|batch| !batch.pir.is_empty()) else { return Ok(()) };
        let values = if in_pir { &mut batch.pir } else { &mut batch.logp_without };
        let place = place.index(values.len());
        values[place] = fault;
        let error = scores.update(batch.step, &batch.records, &batch.pir, &batch.logp_without).expect_err("not finite");
        // The record and the position within it that the place falls on.
        let mut left = place;
        let record = batch.records.iter().find(|&&record| {
            let length = at(offsets[at(record) + 1] - offsets[at(record)]);
            if left < length { true } else { left -= length; false }
        });
        let expected = if in_pir { Value::Pir } else { Value::LogpWithout };
        let named = matches!(error, LedgerError::NotFinite { value, position, .. } if value == expected && position == left);
        prop_assert!(named, "{}", error);
        prop_assert_eq!(error.record(), record.copied());
        prop_assert_eq!(bits(scores.pir()), bits(before.pir()));
        prop_assert_eq!(scores.visits(), before.visits());
    }

    #[test]
    fn any_arguments_give_scores_or_an_error(
        offsets in proptest::collection::vec(prop_oneof![0_i64..9, any::<i64>()], 0..5),
        decay: f32,
        records in proptest::collection::vec(prop_oneof![-2_i64..5, any::<i64>()], 0..4),
        lengths in proptest::collection::vec(prop_oneof![-2_i64..5, any::<i64>()], 0..4),
        steps: Vec<u32>,
        pir: Vec<f32>,
        logp_without: Vec<f32>,
    ) {
        let sorted = { let mut sorted = offsets.clone(); sorted.sort_unstable(); sorted };
        for offsets in [offsets, sorted] {
            let _ = Scores::new(&offsets, decay);
            let Ok(mut scores) = Scores::new(&offsets, 0.5) else { continue };
            let _ = scores.update(1, &records, &pir, &logp_without);
            let _ = scores.replay(&steps, &records, &lengths, &pir, &logp_without);
            let _ = scores.gather_logp_without(&records);
        }
    }
}

#[test]
fn the_mean_of_two_visits_written_out() {
    let mut scores = Scores::new(&[0, 2, 3], 0.75).expect("valid");
    scores.update(7, &[0], &[1.0, -2.0], &[-0.5, -0.25]).expect("valid");
    scores.update(9, &[0], &[2.0, 2.0], &[-1.0, -8.0]).expect("valid");
    assert_eq!(scores.pir()[..2], [1.25, -1.0]);
    assert_eq!(scores.logp_without()[..2], [-1.0, -8.0]);
    assert!(scores.pir()[2].is_nan() && scores.logp_without()[2].is_nan());
    assert_eq!((scores.visits(), scores.last_step()), (&[2, 0][..], &[9, 0][..]));
    assert_eq!(scores.gather_logp_without(&[1, -1]).expect("valid"), [-8.0, 0.0]);
}

#[test]
fn what_does_not_fit_is_named() {
    let text = |error: LedgerError| error.to_string();
    let scores = || Scores::new(&[0, 2, 3], 0.5).expect("valid");
    assert_eq!(
        text(scores().update(1, &[1, 2], &[1.0], &[1.0]).expect_err("record")),
        "record 2 is not among the ledger's 2 records; give the data that it was made with"
    );
    assert_eq!(
        text(scores().update(1, &[0], &[1.0], &[1.0]).expect_err("length")),
        "pir has length 1, not 2; give arrays that fit each other"
    );
    assert_eq!(
        text(scores().replay(&[1], &[0], &[3], &[1.0; 3], &[1.0; 3]).expect_err("length")),
        "record 0: 3 values for 2 response tokens; give the data that the ledger was made with"
    );
    assert_eq!(
        text(scores().gather_logp_without(&[3]).expect_err("index")),
        "index 3 is not among the ledger's 3 response tokens; give the data that it was made with"
    );
    for offsets in [&[][..], &[1, 2], &[0, 3, 2], &[-1, 0]] {
        assert!(matches!(Scores::new(offsets, 0.5), Err(LedgerError::Offsets)), "{offsets:?}");
    }
    for decay in [1.0, -0.1, f32::NAN] {
        assert!(matches!(Scores::new(&[0], decay), Err(LedgerError::Decay { .. })), "{decay}");
    }
    assert!(matches!(Scores::new(&[0, 1 << 62], 0.5), Err(LedgerError::TooLarge { .. })));
}
