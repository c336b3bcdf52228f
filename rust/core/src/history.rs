//! What several journals hold, merged by step: the order in which the ledger took it in.

use std::path::Path;

use crate::convert::signed;
use crate::journal_reader::JournalReader;
use crate::ledger_error::LedgerError;

/// Visits as columns: one entry a visit, and the values of its tokens, visit after visit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Step of each visit.
    pub steps: Vec<u32>,
    /// Record of each visit.
    pub records: Vec<i64>,
    /// Number of response tokens of each visit.
    pub lengths: Vec<i64>,
    /// PIR of each token.
    pub pir: Vec<f32>,
    /// Log-prob without the profile of each token.
    pub logp_without: Vec<f32>,
}

/// Reads journals side by side, in the order of their steps; frames of one step in the order of the journals.
///
/// Never more than a block and a buffer for each journal is in memory.
#[derive(Debug)]
pub struct History {
    journals: Vec<JournalReader>,
    after: Option<u32>,
    through: Option<u32>,
}

impl History {
    /// Opens journals for the frames of steps above `after` and up to `through`, where they are given.
    ///
    /// # Errors
    /// [`LedgerError::Io`], [`LedgerError::Foreign`] or [`LedgerError::Version`].
    pub fn open(
        paths: &[impl AsRef<Path>],
        after: Option<u32>,
        through: Option<u32>,
    ) -> Result<Self, LedgerError> {
        let journals =
            paths.iter().map(|path| JournalReader::open(path.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { journals, after, through })
    }

    /// The next visits, of `tokens` response tokens or, by the last of them, a few more; `None` after the last.
    ///
    /// # Errors
    /// [`LedgerError::Io`], [`LedgerError::DamagedJournal`] or [`LedgerError::StepsGoBack`].
    pub fn next_block(&mut self, tokens: usize) -> Result<Option<Block>, LedgerError> {
        let (after, mut block) = (self.after, Block::default());
        while block.pir.len() < tokens.max(1) {
            let Some(journal) = self.next_journal()? else { break };
            let Some(frame) = journal.take() else { break };
            if after.is_some_and(|step| frame.header.step <= step) {
                continue;
            }
            block.steps.push(frame.header.step);
            block.records.push(i64::from(frame.header.record));
            block.lengths.push(signed(frame.pir().len()));
            block.pir.extend(frame.pir());
            block.logp_without.extend(frame.logp_without());
        }
        Ok(if block.steps.is_empty() { None } else { Some(block) })
    }

    /// Bytes at the end of each journal that are no whole frame, as far as the journals were read.
    pub fn torn_bytes(&self) -> impl Iterator<Item = u64> {
        self.journals.iter().map(JournalReader::torn_bytes)
    }

    /// The journal whose next frame has the lowest step, the first of equals.
    fn next_journal(&mut self) -> Result<Option<&mut JournalReader>, LedgerError> {
        let mut first: Option<(u32, usize)> = None;
        for (number, journal) in self.journals.iter_mut().enumerate() {
            let Some(header) = journal.peek()? else { continue };
            let within = self.through.is_none_or(|step| header.step <= step);
            if within && first.is_none_or(|(step, _)| header.step < step) {
                first = Some((header.step, number));
            }
        }
        Ok(first.map(|(_, number)| &mut self.journals[number]))
    }
}
