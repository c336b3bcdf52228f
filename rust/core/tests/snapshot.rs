//! Snapshots come back as they were written, or not at all.

mod scratch;

use std::fs;

use perce_core::{LedgerError, Scores, read_snapshot, write_snapshot};
use proptest::prelude::*;
use scratch::{Scratch, change};

/// Places of records, and scores with some visits.
fn states() -> impl Strategy<Value = (Vec<i64>, Scores)> {
    let lengths = proptest::collection::vec(0_u8..5, 0..8);
    (lengths, 0.0_f32..1.0, proptest::collection::vec(any::<prop::sample::Index>(), 0..9)).prop_map(
        |(lengths, decay, visits)| {
            let mut offsets = vec![0];
            for &length in &lengths {
                offsets.push(offsets[offsets.len() - 1] + i64::from(length));
            }
            let mut scores = Scores::new(&offsets, decay).expect("valid");
            for (step, record) in (1..).zip(visits).take(if lengths.is_empty() { 0 } else { 9 }) {
                let record = record.index(lengths.len());
                let values = vec![f32::from(lengths[record]) - 1.5; usize::from(lengths[record])];
                let record = i64::try_from(record).expect("small");
                scores.update(step, &[record], &values, &values).expect("valid");
            }
            (offsets, scores)
        },
    )
}

fn same(a: &Scores, b: &Scores) -> bool {
    let bits = |scores: &Scores| -> Vec<u32> {
        scores.pir().iter().chain(scores.logp_without()).map(|value| value.to_bits()).collect()
    };
    bits(a) == bits(b)
        && (a.visits(), a.last_step()) == (b.visits(), b.last_step())
        && a.decay().to_bits() == b.decay().to_bits()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_was_written_is_read((offsets, scores) in states(), step: u32) {
        let scratch = Scratch::new();
        let path = scratch.path("snapshot");
        write_snapshot(&scores, &path, step)?;
        let (again, its_step) = read_snapshot(&path, &offsets)?;
        prop_assert!(same(&again, &scores));
        prop_assert_eq!(its_step, step);
        prop_assert!(!scratch.path("snapshot.tmp").exists());
    }

    #[test]
    fn a_cut_or_flipped_or_longer_file_is_an_error(
        (offsets, scores) in states(), at: prop::sample::Index, bit in 0..8, more in proptest::collection::vec(any::<u8>(), 1..9),
    ) {
        let scratch = Scratch::new();
        let path = scratch.path("snapshot");
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("writable");
            read_snapshot(&path, &offsets).expect_err("not what was written").path() == Some(&path)
        };
        write_snapshot(&scores, &path, 3)?;
        let whole = fs::read(&path).expect("readable");
        let at = at.index(whole.len());
        prop_assert!(refused(&whole[..at]));
        let mut flipped = whole.clone();
        flipped[at] ^= 1_u8 << bit;
        prop_assert!(refused(&flipped));
        prop_assert!(refused(&[whole, more].concat()));
    }

    #[test]
    fn other_data_are_refused((offsets, scores) in states(), at: prop::sample::Index) {
        let scratch = Scratch::new();
        let path = scratch.path("snapshot");
        write_snapshot(&scores, &path, 3)?;
        // One record more, and the border between two records elsewhere.
        let longer = [&offsets[..], &[offsets[offsets.len() - 1] + 1]].concat();
        let mut shifted = offsets.clone();
        if offsets.len() > 2 {
            let at = 1 + at.index(offsets.len() - 2);
            shifted[at] = if shifted[at] < offsets[at + 1] { shifted[at] + 1 } else { offsets[at - 1] };
        }
        for other in [longer, shifted] {
            if other != offsets {
                let error = read_snapshot(&path, &other).expect_err("other data");
                let named = matches!(error, LedgerError::OtherData { .. });
                prop_assert!(named, "{}", error);
            }
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_older_one() {
    let scratch = Scratch::new();
    let path = scratch.path("snapshot");
    let scores = Scores::new(&[0, 1], 0.5).expect("valid");
    write_snapshot(&scores, &path, 1).expect("writable");
    // A folder stands where the new file is to be written first.
    fs::create_dir(scratch.path("snapshot.tmp")).expect("free");
    let error = write_snapshot(&scores, &path, 2).expect_err("in the way");
    assert!(matches!(error, LedgerError::Io { action: "write", .. }), "{error}");
    assert_eq!(read_snapshot(&path, &[0, 1]).expect("as it was").1, 1);
}

#[test]
fn a_snapshot_of_another_format_or_none_is_named() {
    let scratch = Scratch::new();
    let path = scratch.path("snapshot");
    assert!(matches!(read_snapshot(&path, &[0]), Err(LedgerError::Io { action: "open", .. })));
    fs::write(&path, b"something else, longer than a snapshot's header is").expect("writable");
    assert!(matches!(read_snapshot(&path, &[0]), Err(LedgerError::Foreign { .. })));
    write_snapshot(&Scores::new(&[0], 0.5).expect("valid"), &path, 1).expect("writable");
    change(&path, |bytes| bytes.truncate(20));
    assert!(matches!(read_snapshot(&path, &[0]), Err(LedgerError::DamagedSnapshot { .. })));
}
