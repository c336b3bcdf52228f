//! Damaged input of every kind: a typed error, or what was there before the damage; never a panic, never a wrong read.
//!
//! Each target runs a few hundred inputs with the fast tests and 200,000, a million in all, where ignored tests are
//! asked for: `cargo test --release -p perce-core --test fuzz -- --ignored`.

mod common;
mod scratch;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use common::batch::{Memory, slow};
use common::{Columns, columns};
use perce_core::{
    History, JournalWriter, Kind, Scores, collate, epoch_order, group_records, pack_pairs, rank_bins,
    read_snapshot, write_snapshot,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use scratch::{Scratch, overwrite};

/// Runs a target on so many inputs.
fn check<S: Strategy>(cases: u32, inputs: &S, target: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    if let Err(error) = TestRunner::new(config).run(inputs, target) {
        panic!("{error}");
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        mod fast {
            $(#[test] fn $name() { super::$name(256); })*
        }
        mod million {
            $(#[test] #[ignore = "minutes"] fn $name() { super::$name(200_000); })*
        }
    };
}

targets! { store plan frames journal snapshot }

/// What happens to bytes on their way.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Overwrite(prop::sample::Index, Vec<u8>),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Append(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<prop::sample::Index>;
    let junk = || proptest::collection::vec(any::<u8>(), 1..32);
    let damage = prop_oneof![
        at().prop_map(Damage::Cut),
        (at(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at(), junk()).prop_map(|(at, junk)| Damage::Overwrite(at, junk)),
        (at(), junk()).prop_map(|(at, junk)| Damage::Insert(at, junk)),
        // Two removals together are still shorter than a frame: one that goes as a whole leaves no trace.
        (at(), 1_usize..12).prop_map(|(at, length)| Damage::Remove(at, length)),
        junk().prop_map(Damage::Append),
    ];
    proptest::collection::vec(damage, 0..3)
}

/// The bytes after the damage, and how many at the start are as they were.
fn damaged(bytes: &[u8], damage: &[Damage]) -> (Vec<u8>, usize) {
    let mut changed = bytes.to_vec();
    for damage in damage {
        let length = changed.len();
        match damage {
            Damage::Cut(at) => changed.truncate(at.index(length + 1)),
            Damage::Flip(at, bit) if length > 0 => changed[at.index(length)] ^= 1 << bit,
            Damage::Overwrite(at, junk) => {
                let at = at.index(length + 1);
                changed.iter_mut().skip(at).zip(junk).for_each(|(byte, &junk)| *byte = junk);
            }
            Damage::Insert(at, junk) => {
                let at = at.index(length + 1);
                changed.splice(at..at, junk.iter().copied());
            }
            Damage::Remove(at, count) => {
                let at = at.index(length + 1);
                changed.drain(at..length.min(at + count));
            }
            Damage::Append(junk) => changed.extend(junk),
            Damage::Flip(..) => {}
        }
    }
    let same = changed.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    (changed, same)
}

/// What happens to one array of a token store.
#[derive(Clone, Debug)]
enum Change {
    Cut(prop::sample::Index),
    Set(prop::sample::Index, i64),
    Flip(prop::sample::Index, u32),
    Random(Vec<i64>),
}

fn change() -> impl Strategy<Value = (usize, Change)> {
    let at = any::<prop::sample::Index>;
    let number = || prop_oneof![-2_i64..40, any::<i64>()];
    let change = prop_oneof![
        at().prop_map(Change::Cut),
        (at(), number()).prop_map(|(at, number)| Change::Set(at, number)),
        (at(), 0_u32..64).prop_map(|(at, bit)| Change::Flip(at, bit)),
        proptest::collection::vec(number(), 0..6).prop_map(Change::Random),
    ];
    (0_usize..6, change)
}

fn alter(numbers: &mut Vec<i64>, change: &Change) {
    match change {
        Change::Cut(at) => numbers.truncate(at.index(numbers.len() + 1)),
        Change::Set(at, number) if !numbers.is_empty() => {
            let at = at.index(numbers.len());
            numbers[at] = *number;
        }
        Change::Flip(at, bit) if !numbers.is_empty() => {
            let at = at.index(numbers.len());
            numbers[at] ^= 1 << bit;
        }
        Change::Random(random) => numbers.clone_from(random),
        Change::Set(..) | Change::Flip(..) => {}
    }
}

fn alter_columns(columns: &mut Columns, which: usize, change: &Change) {
    let Columns { prefix_with, prefix_without, response } = columns;
    let column = match which / 2 {
        0 => prefix_with,
        1 => prefix_without,
        _ => response,
    };
    if which % 2 == 0 {
        alter(&mut column.1, change);
    } else {
        let mut ids: Vec<i64> = column.0.iter().map(|&id| i64::from(id)).collect();
        alter(&mut ids, change);
        // The low half of what an id became: any 32 bits.
        let low = |id: i64| i32::from_le_bytes(id.to_le_bytes()[..4].try_into().expect("four bytes"));
        column.0 = ids.into_iter().map(low).collect();
    }
}

/// A token store that is opened, changed and read: batches hold what the arrays hold, or there is an error.
fn store(cases: u32) {
    let records = proptest::collection::vec(prop_oneof![0_i64..8, any::<i64>()], 0..5);
    let inputs = (columns(), proptest::collection::vec(change(), 0..3), records, any::<bool>());
    check(cases, &inputs, |(mut columns, changes, records, ignore)| {
        for (which, change) in &changes {
            alter_columns(&mut columns, *which, change);
        }
        if let Err(error) = columns.open() {
            prop_assert!(!changes.is_empty());
            prop_assert_eq!(error.kind(), Kind::Store);
        }
        // Read without a check in between, as after a change under an open store.
        let store = columns.reopen();
        let Ok(sizes) = store.measure(&records) else { return Ok(()) };
        let mut memory = Memory::junk(records.len(), &sizes, 0);
        let Memory { block, cu_seqlens } = &mut memory;
        prop_assert_eq!(collate(&store, &records, ignore, block, cu_seqlens)?, sizes);
        prop_assert_eq!(memory.batch(records.len(), &sizes).0, slow(&columns, &records, ignore));
        if columns.open().is_ok() {
            let known =
                |&record: &i64| usize::try_from(record).is_ok_and(|record| record < columns.records());
            prop_assert!(records.iter().all(known));
        }
        Ok(())
    });
}

/// Plans of any numbers: every record once and within its capacity, or an error.
fn plan(cases: u32) {
    let length = || prop_oneof![8 => 1_i64..40, 1 => any::<i64>()];
    let lengths = proptest::collection::vec((length(), length()), 0..12);
    let capacity = || prop_oneof![20_i64..100, any::<i64>()];
    let seeds = (any::<u64>(), any::<u64>());
    let ranks = (prop_oneof![0_usize..5, any::<usize>()], prop_oneof![0_usize..5, any::<usize>()]);
    let change = proptest::option::of(change());
    let inputs = (lengths, capacity(), capacity(), seeds, ranks, change);
    check(cases, &inputs, |(lengths, capacity_with, capacity_without, seeds, ranks, change)| {
        let (with, without): (Vec<i64>, Vec<i64>) = lengths.into_iter().unzip();
        let once = |records: &[i64]| {
            let mut sorted = records.to_vec();
            sorted.sort_unstable();
            sorted.into_iter().eq((0..).take(with.len()))
        };
        if let Ok(bins) = pack_pairs(&with, &without, capacity_with, capacity_without) {
            prop_assert!(once(&bins.records));
            for pair in bins.offsets.windows(2) {
                let at = |offset: i64| usize::try_from(offset).expect("an offset");
                let sum = |lengths: &[i64]| -> i64 {
                    bins.records[at(pair[0])..at(pair[1])].iter().map(|&record| lengths[at(record)]).sum()
                };
                prop_assert!(sum(&with) <= capacity_with && sum(&without) <= capacity_without);
            }
        }
        let (rank, world_size) = ranks;
        if let Ok(bins) = group_records(with.len(), world_size, Some(seeds.0)) {
            prop_assert!(once(&bins.records));
        }
        let mut order = epoch_order(with.len(), seeds.0, seeds.1)?;
        prop_assert!(once(&order));
        if let Some((_, change)) = change {
            alter(&mut order, &change);
        }
        if let Ok(bins) = rank_bins(&order, rank, world_size) {
            prop_assert_eq!(bins.len(), order.len().div_ceil(world_size));
            let known = |&bin: &i64| order.contains(&bin.max(-1 - bin));
            prop_assert!(bins.iter().all(known));
        }
        Ok(())
    });
}

/// Places of the records of the ledger's targets.
const OFFSETS: [i64; 5] = [0, 3, 3, 4, 9];

/// A journal's file, its frames' ends, and a snapshot of the same visits.
struct Ledger {
    journal: Vec<u8>,
    ends: Vec<usize>,
    snapshot: Vec<u8>,
    scores: Scores,
}

static LEDGER: LazyLock<Ledger> = LazyLock::new(|| {
    let scratch = Scratch::new();
    let mut scores = Scores::new(&OFFSETS, 0.5).expect("valid");
    let mut journal = JournalWriter::open(&scratch.path("journal"), None).expect("new");
    let mut ends = vec![16];
    for (step, record) in (1_u8..).zip([3_usize, 0, 2, 1, 3, 0]) {
        let length = OFFSETS[record + 1] - OFFSETS[record];
        let values: Vec<f32> = (0..length).map(|_| f32::from(step)).collect();
        let record = i64::try_from(record).expect("small");
        scores.update(step.into(), &[record], &values, &values).expect("valid");
        let frames = journal.append(step.into(), &[record], &[length], &values, &values).expect("fits");
        ends.push(ends[ends.len() - 1] + frames.len());
    }
    write_snapshot(&scores, &scratch.path("snapshot"), 6).expect("writable");
    let read = |name| fs::read(scratch.path(name)).expect("readable");
    Ledger { journal: read("journal"), ends, snapshot: read("snapshot"), scores }
});

/// Bits of all that a state holds.
fn bits(scores: &Scores) -> Vec<u32> {
    let values = scores.pir().iter().chain(scores.logp_without()).map(|value| value.to_bits());
    values.chain(scores.visits().iter().copied()).chain(scores.last_step().iter().copied()).collect()
}

/// The state after the first frames of the journal.
fn state_after(frames: usize) -> Scores {
    let mut scores = Scores::new(&OFFSETS, 0.5).expect("valid");
    scores.apply_frames(&LEDGER.journal[16..LEDGER.ends[frames]]).expect("whole");
    scores
}

/// Frames from another rank: all of them are taken in, or none.
fn frames(cases: u32) {
    check(cases, &damage(), |damage| {
        let (bytes, same) = damaged(&LEDGER.journal[16..], &damage);
        let mut scores = Scores::new(&OFFSETS, 0.5)?;
        if let Ok(applied) = scores.apply_frames(&bytes) {
            // Cut between two frames, the bytes are whole.
            prop_assert_eq!(same, bytes.len());
            prop_assert_eq!(LEDGER.ends[applied] - 16, same);
            prop_assert_eq!(bits(&scores), bits(&state_after(applied)));
        } else {
            prop_assert_eq!(bits(&scores), bits(&state_after(0)));
        }
        Ok(())
    });
}

fn replay(path: &Path) -> Result<(usize, u64, Scores), perce_core::LedgerError> {
    let mut history = History::open(&[path], None, None)?;
    let mut scores = Scores::new(&OFFSETS, 0.5)?;
    let mut frames = 0;
    while let Some(block) = history.next_block(5)? {
        frames += block.steps.len();
        scores.replay(&block.steps, &block.records, &block.lengths, &block.pir, &block.logp_without)?;
    }
    let torn = history.torn_bytes().sum();
    Ok((frames, torn, scores))
}

/// A journal's file: the frames before the damage where nothing whole follows, and an error otherwise.
fn journal(cases: u32) {
    let scratch = Scratch::new();
    let path = scratch.path("journal");
    check(cases, &damage(), |damage| {
        let (bytes, same) = damaged(&LEDGER.journal, &damage);
        overwrite(&path, &bytes);
        match replay(&path) {
            Ok((frames, torn, scores)) => {
                let whole = LEDGER.ends.iter().rposition(|&end| end <= same);
                prop_assert_eq!(frames, whole.unwrap_or(0));
                prop_assert_eq!(torn, (bytes.len() - whole.map_or(0, |frames| LEDGER.ends[frames])) as u64);
                prop_assert_eq!(bits(&scores), bits(&state_after(frames)));
            }
            Err(error) => prop_assert!(same < LEDGER.journal.len(), "{}", error),
        }
        Ok(())
    });
}

/// A snapshot's file: what was written, and an error after any change.
fn snapshot(cases: u32) {
    let scratch = Scratch::new();
    let path = scratch.path("snapshot");
    check(cases, &damage(), |damage| {
        let (bytes, _) = damaged(&LEDGER.snapshot, &damage);
        overwrite(&path, &bytes);
        match read_snapshot(&path, &OFFSETS) {
            Ok((scores, step)) => {
                prop_assert_eq!(bytes, LEDGER.snapshot.clone());
                prop_assert_eq!((bits(&scores), step), (bits(&LEDGER.scores), 6));
            }
            Err(error) => {
                prop_assert_ne!(bytes, LEDGER.snapshot.clone());
                prop_assert_eq!(error.path(), Some(&*path));
            }
        }
        Ok(())
    });
}
