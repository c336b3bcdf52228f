//! Journals that crash: between any two writes, cut at any byte, with any bit flipped, or made of anything.

mod scratch;

use std::fs;
use std::path::Path;

use perce_core::{Block, History, JournalWriter, LedgerError, Scores};
use proptest::prelude::*;
use scratch::{Scratch, change};

const HEADER: usize = 16;

/// One visit, and where its frame ends in the file.
#[derive(Clone, Debug, PartialEq)]
struct Visit {
    step: u32,
    record: i64,
    pir: Vec<f32>,
    logp_without: Vec<f32>,
    end: usize,
}

/// What a test does to a journal.
#[derive(Clone, Debug)]
enum Action {
    /// Appends a batch some steps later: a record and its number of tokens each.
    Append(u32, Vec<(i64, usize)>),
    /// Closes the journal and opens it again.
    Reopen,
    /// Closes it and opens it again, keeping steps up to a share of those reached.
    GoBack(prop::sample::Index),
    /// Cuts the file at any byte, as a crash does, and opens it again.
    Crash(prop::sample::Index),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let batch = proptest::collection::vec((0_i64..9, 0_usize..5), 0..4);
    let append = || (0_u32..3, batch.clone()).prop_map(|(steps, batch)| Action::Append(steps, batch));
    let action = prop_oneof![
        6 => append(),
        1 => Just(Action::Reopen),
        1 => any::<prop::sample::Index>().prop_map(Action::GoBack),
        2 => any::<prop::sample::Index>().prop_map(Action::Crash),
    ];
    proptest::collection::vec(action, 1..12)
}

/// The journal beside what it should hold.
struct Machine {
    scratch: Scratch,
    journal: Option<JournalWriter>,
    visits: Vec<Visit>,
    step: u32,
    next_value: f32,
}

impl Machine {
    fn new() -> Self {
        let scratch = Scratch::new();
        let journal = JournalWriter::open(&scratch.path("journal"), None).expect("a new journal");
        Self { scratch, journal: Some(journal), visits: Vec::new(), step: 0, next_value: 0.0 }
    }

    /// A journal that went through these actions.
    fn after(actions: Vec<Action>) -> Self {
        let mut machine = Self::new();
        for action in actions {
            machine.act(action);
        }
        machine
    }

    fn path(&self) -> std::path::PathBuf {
        self.scratch.path("journal")
    }

    fn end(&self) -> usize {
        self.visits.last().map_or(HEADER, |visit| visit.end)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Append(steps, batch) => self.append(steps, &batch),
            Action::Reopen => self.open(None, 0, 0),
            Action::GoBack(share) => {
                let last = u32::try_from(share.index(usize::try_from(self.step).expect("small") + 1))
                    .expect("small");
                let before = (self.visits.len(), self.end());
                self.visits.retain(|visit| visit.step <= last);
                self.open(Some(last), before.0 - self.visits.len(), before.1 - self.end());
            }
            Action::Crash(at) => {
                let at = at.index(self.end() + 1);
                change(&self.path(), |bytes| bytes.truncate(at));
                self.visits.retain(|visit| visit.end <= at);
                // A file that is cut within its header has lost that as well.
                let whole = if at < HEADER { 0 } else { self.end() };
                self.open(None, 0, at - whole);
            }
        }
        self.check();
    }

    fn append(&mut self, steps: u32, batch: &[(i64, usize)]) {
        self.step += steps;
        let (mut pir, mut logp_without) = (Vec::new(), Vec::new());
        for &(record, length) in batch {
            let mut values = || -> Vec<f32> {
                (0..length)
                    .map(|_| {
                        self.next_value += 0.5;
                        self.next_value
                    })
                    .collect()
            };
            let visit = Visit { step: self.step, record, pir: values(), logp_without: values(), end: 0 };
            pir.extend(&visit.pir);
            logp_without.extend(&visit.logp_without);
            let end = self.end() + 24 + 8 * length;
            self.visits.push(Visit { end, ..visit });
        }
        let (records, lengths): (Vec<i64>, Vec<i64>) =
            batch.iter().map(|&(record, length)| (record, i64::try_from(length).expect("small"))).unzip();
        let before = fs::metadata(self.path()).expect("there").len();
        let journal = self.journal.as_mut().expect("open");
        let frames = journal.append(self.step, &records, &lengths, &pir, &logp_without).expect("fits");
        let file = fs::read(self.path()).expect("readable");
        assert_eq!(
            file[usize::try_from(before).expect("small")..],
            frames,
            "what is returned is what is written"
        );
    }

    fn open(&mut self, keep_to: Option<u32>, dropped_frames: usize, dropped_bytes: usize) {
        drop(self.journal.take());
        let journal = JournalWriter::open(&self.path(), keep_to).expect("whole frames and a torn tail");
        assert_eq!(journal.dropped_frames(), dropped_frames as u64);
        assert_eq!(journal.dropped_bytes(), dropped_bytes as u64);
        self.journal = Some(journal);
        // The frames left say which step the journal goes on from.
        self.step = self.visits.last().map_or(0, |visit| visit.step);
    }

    fn check(&self) {
        assert_eq!(fs::metadata(self.path()).expect("there").len(), self.end() as u64);
        assert_eq!(read(&self.path(), 3).expect("whole"), (self.visits.clone(), 0));
    }
}

/// The visits of a journal, read in blocks, and its torn bytes.
fn read(path: &Path, block_tokens: usize) -> Result<(Vec<Visit>, u64), LedgerError> {
    let mut history = History::open(&[path], None, None)?;
    let mut visits = Vec::new();
    let mut end = HEADER;
    while let Some(block) = history.next_block(block_tokens)? {
        for visit in split(block) {
            end += 24 + 8 * visit.pir.len();
            visits.push(Visit { end, ..visit });
        }
    }
    let torn = history.torn_bytes().sum();
    Ok((visits, torn))
}

fn split(block: Block) -> Vec<Visit> {
    let (mut pir, mut logp_without) = (block.pir.into_iter(), block.logp_without.into_iter());
    let visits =
        block.steps.into_iter().zip(block.records).zip(block.lengths).map(|((step, record), length)| {
            let take = |values: &mut std::vec::IntoIter<f32>| {
                values.take(usize::try_from(length).expect("small")).collect()
            };
            Visit { step, record, pir: take(&mut pir), logp_without: take(&mut logp_without), end: 0 }
        });
    visits.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_journal_holds_every_whole_frame_whatever_happens(actions in actions()) {
        Machine::after(actions);
    }

    #[test]
    fn readers_drop_a_torn_tail_and_change_nothing(actions in actions(), at: prop::sample::Index) {
        let machine = Machine::after(actions);
        let at = at.index(machine.end() + 1);
        change(&machine.path(), |bytes| bytes.truncate(at));
        let (visits, torn) = read(&machine.path(), 1)?;
        let whole: Vec<Visit> = machine.visits.iter().filter(|visit| visit.end <= at).cloned().collect();
        let end = if at < HEADER { 0 } else { whole.last().map_or(HEADER, |visit| visit.end) };
        prop_assert_eq!((visits, torn), (whole, (at - end) as u64));
        prop_assert_eq!(fs::metadata(machine.path()).expect("there").len(), at as u64);
    }

    #[test]
    fn a_flipped_bit_is_a_dropped_tail_or_an_error(actions in actions(), at: prop::sample::Index, bit in 0..8) {
        let machine = Machine::after(actions);
        let at = at.index(machine.end());
        change(&machine.path(), |bytes| bytes[at] ^= 1_u8 << bit);
        let before = fs::read(machine.path()).expect("readable");
        let whole = machine.visits.iter().take_while(|visit| visit.end <= at).count();
        let result = read(&machine.path(), 2);
        if at >= HEADER && whole + 1 == machine.visits.len() {
            let (visits, torn) = result?;
            prop_assert_eq!(&visits[..], &machine.visits[..whole]);
            prop_assert_eq!(torn, (machine.end() - visits.last().map_or(HEADER, |visit| visit.end)) as u64);
        } else {
            let error = result.expect_err("damage before whole frames");
            prop_assert_eq!(error.path(), Some(&*machine.path()));
            JournalWriter::open(&machine.path(), None).expect_err("the same damage");
            prop_assert_eq!(fs::read(machine.path()).expect("readable"), before, "an error changes nothing");
        }
    }

    #[test]
    fn damage_goes_with_the_steps_that_go(actions in actions(), at: prop::sample::Index, bit in 0..8) {
        let machine = Machine::after(actions);
        let Some(hit) = (machine.end() > HEADER).then(|| HEADER + at.index(machine.end() - HEADER)) else { return Ok(()) };
        change(&machine.path(), |bytes| bytes[hit] ^= 1_u8 << bit);
        let whole = machine.visits.iter().take_while(|visit| visit.end <= hit).count();
        // Steps before that of the damaged frame are kept; those from the next frame's on cannot be.
        if let Some(keep_to) = machine.visits[whole].step.checked_sub(1) {
            drop(JournalWriter::open(&machine.path(), Some(keep_to))?);
            let kept: Vec<Visit> = machine.visits.iter().filter(|visit| visit.step <= keep_to).cloned().collect();
            prop_assert_eq!(read(&machine.path(), 2)?, (kept, 0));
        }
    }

    #[test]
    fn journals_of_ranks_are_one_history(
        ranks in proptest::collection::vec(actions(), 1..4),
        after in proptest::option::of(0_u32..6),
        through in proptest::option::of(0_u32..12),
        block_tokens in 0_usize..20,
    ) {
        let machines: Vec<Machine> = ranks.into_iter().map(Machine::after).collect();
        let paths: Vec<_> = machines.iter().map(Machine::path).collect();
        let mut expected: Vec<Visit> = machines.iter().flat_map(|machine| machine.visits.clone()).collect();
        expected.retain(|visit| after.is_none_or(|step| visit.step > step) && through.is_none_or(|step| visit.step <= step));
        // Stable: within a step the order of the journals, and of the frames within them.
        expected.sort_by_key(|visit| visit.step);
        let mut history = History::open(&paths, after, through)?;
        let mut found = Vec::new();
        while let Some(block) = history.next_block(block_tokens)? {
            prop_assert!(!block.steps.is_empty());
            let last = usize::try_from(block.lengths[block.lengths.len() - 1]).expect("small");
            prop_assert!(block.pir.len() < block_tokens.max(1) + last.max(1), "a block ends with the visit that fills it");
            found.extend(split(block));
        }
        let strip = |visits: Vec<Visit>| -> Vec<Visit> { visits.into_iter().map(|visit| Visit { end: 0, ..visit }).collect() };
        prop_assert_eq!(found, strip(expected));
    }

    #[test]
    fn exchanged_frames_are_the_update_they_came_from(actions in actions(), at: prop::sample::Index, bit in 0..8) {
        // Records of one length, as the ledger's are: 4 tokens.
        let offsets: Vec<i64> = (0..=9).map(|record| record * 4).collect();
        let mut visits = Machine::after(actions).visits;
        visits.retain(|visit| visit.pir.len() == 4);
        let scratch = Scratch::new();
        let mut journal = JournalWriter::open(&scratch.path("journal"), None)?;
        let (mut own, mut other) = (Scores::new(&offsets, 0.5)?, Scores::new(&offsets, 0.5)?);
        let mut frames = Vec::new();
        for visit in &visits {
            own.update(visit.step, &[visit.record], &visit.pir, &visit.logp_without)?;
            frames.extend(journal.append(visit.step, &[visit.record], &[4], &visit.pir, &visit.logp_without)?);
        }
        prop_assert_eq!(other.apply_frames(&frames)?, visits.len());
        prop_assert_eq!(own.visits(), other.visits());
        prop_assert_eq!(own.last_step(), other.last_step());
        prop_assert!(own.pir().iter().zip(other.pir()).all(|(a, b)| a.to_bits() == b.to_bits()));
        if !frames.is_empty() {
            let at = at.index(frames.len());
            let cut = other.apply_frames(&frames[..at]);
            prop_assert_eq!(cut.is_ok(), at % 56 == 0, "a frame of 4 tokens has 56 bytes");
            frames[at] ^= 1_u8 << bit;
            let error = own.apply_frames(&frames).expect_err("damaged");
            let named = matches!(error, LedgerError::DamagedFrames { offset } if offset == at / 56 * 56);
            prop_assert!(named, "{}", error);
        }
    }

    #[test]
    fn any_bytes_give_an_error_or_nothing(bytes: Vec<u8>, with_header: bool) {
        let machine = Machine::new();
        change(&machine.path(), |file| if with_header { file.extend(&bytes) } else { *file = bytes.clone() });
        match read(&machine.path(), 1) {
            Ok((visits, torn)) => {
                prop_assert!(visits.is_empty());
                prop_assert_eq!(torn, bytes.len() as u64);
                prop_assert_eq!(JournalWriter::open(&machine.path(), None)?.dropped_bytes(), torn);
            }
            Err(error) => {
                prop_assert!(!with_header, "{}", error);
                JournalWriter::open(&machine.path(), None).expect_err("the same");
                prop_assert_eq!(fs::read(machine.path()).expect("readable"), bytes);
            }
        }
    }
}

#[test]
fn steps_do_not_go_back_and_a_closed_journal_takes_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("journal");
    let mut journal = JournalWriter::open(&path, None).expect("new");
    journal.append(5, &[0], &[1], &[1.0], &[-1.0]).expect("fits");
    assert!(matches!(
        journal.append(4, &[0], &[1], &[1.0], &[-1.0]),
        Err(LedgerError::StepBefore { step: 4, last: 5, .. })
    ));
    journal.sync().expect("open");
    journal.close().expect("open");
    journal.close().expect("again does nothing");
    assert!(matches!(journal.append(6, &[0], &[1], &[1.0], &[-1.0]), Err(LedgerError::Closed { .. })));
    assert!(matches!(journal.sync(), Err(LedgerError::Closed { .. })));
    assert_eq!(read(&path, 9).expect("whole").0.len(), 1);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let scratch = Scratch::new();
    let path = scratch.path("journal");
    let mut journal = JournalWriter::open(&path, None).expect("new");
    let mut refuse = |records: &[i64], lengths: &[i64], pir: &[f32], logp: &[f32]| {
        journal.append(1, records, lengths, pir, logp).expect_err("does not fit").to_string()
    };
    assert!(refuse(&[0], &[], &[], &[]).starts_with("lengths has length 0"));
    assert!(refuse(&[0], &[2], &[1.0], &[1.0; 2]).starts_with("pir has length 1"));
    assert!(refuse(&[0], &[1], &[1.0], &[1.0; 2]).starts_with("logp_without has length 2"));
    assert!(refuse(&[0], &[-1], &[1.0], &[1.0]).starts_with("pir has length 1"));
    assert!(refuse(&[-1], &[1], &[1.0], &[1.0]).starts_with("record -1"));
    assert!(refuse(&[1 << 32], &[1], &[1.0], &[1.0]).starts_with("record 4294967296"));
    assert!(refuse(&[3], &[2], &[1.0, f32::NAN], &[1.0; 2]).starts_with("record 3: pir at position 1"));
    assert_eq!(fs::metadata(&path).expect("there").len(), 16);
}

#[test]
fn two_runs_in_one_journal_are_noticed() {
    let scratch = Scratch::new();
    let (path, other) = (scratch.path("journal"), scratch.path("other"));
    JournalWriter::open(&path, None).expect("new").append(9, &[0], &[1], &[1.0], &[1.0]).expect("fits");
    let frames =
        JournalWriter::open(&other, None).expect("new").append(3, &[0], &[1], &[1.0], &[1.0]).expect("fits");
    change(&path, |bytes| bytes.extend(frames));
    let error = read(&path, 1).expect_err("goes back");
    assert!(matches!(error, LedgerError::StepsGoBack { offset: 48, step: 3, before: 9, .. }), "{error}");
}

#[test]
fn files_of_other_kinds_and_formats_are_refused() {
    let scratch = Scratch::new();
    let path = scratch.path("journal");
    drop(JournalWriter::open(&path, None).expect("new"));
    change(&path, |bytes| bytes[0] ^= 1);
    assert!(matches!(read(&path, 1), Err(LedgerError::Foreign { .. })));
    assert!(matches!(read(&scratch.path("none"), 1), Err(LedgerError::Io { action: "open", .. })));
}
