//! Writing a journal: every visit is appended, and nothing that was appended is ever changed.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::convert::index;
use crate::durable::sync_folder;
use crate::finite::check_finite;
use crate::frame::{FRAME_BYTES, VALUE_BYTES, Visit};
use crate::journal_header;
use crate::journal_reader::JournalReader;
use crate::ledger_error::LedgerError;

/// A journal that is open for appending.
///
/// Frames are handed to the operating system as they are appended: a killed process loses none of them, a machine
/// that loses power those since [`JournalWriter::sync`].
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    /// `None` once closed, or where a failed write could not be undone.
    file: Option<File>,
    /// Length up to the last whole frame.
    length: u64,
    step: Option<u32>,
    dropped_frames: u64,
    dropped_bytes: u64,
}

impl JournalWriter {
    /// Opens a journal behind its last whole frame, or makes a new one.
    ///
    /// The rest of a write that was cut short is dropped, and so are, with `keep_to`, the frames of later steps: in one
    /// change of the file's length, synced before anything is appended.
    ///
    /// # Errors
    /// [`LedgerError::Io`], [`LedgerError::Foreign`], [`LedgerError::Version`], [`LedgerError::StepsGoBack`], or
    /// [`LedgerError::DamagedJournal`] for damage before frames that would be kept; the file is as it was then.
    pub fn open(path: &Path, keep_to: Option<u32>) -> Result<Self, LedgerError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(LedgerError::io("open", path))?;
        let twin = file.try_clone().map_err(LedgerError::io("open", path))?;
        let mut reader = JournalReader::new(twin, path)?;
        let beyond = |step: u32| keep_to.is_some_and(|last| step > last);
        let mut dropped_frames = 0;
        // Bytes that are kept, and the step of the last frame among them.
        let mut kept = None;
        loop {
            let next = match reader.peek() {
                // Where all whole frames behind the damage go as well, it may: power was lost after the last sync.
                Err(LedgerError::DamagedJournal { offset, next_step, .. }) if beyond(next_step) => {
                    kept.get_or_insert((offset, reader.step()));
                    None
                }
                next => next?,
            };
            let Some(header) = next else { break };
            if beyond(header.step) {
                kept.get_or_insert((reader.position(), reader.step()));
                dropped_frames += 1;
            }
            reader.take();
        }
        let (length, step) = kept.unwrap_or((reader.position(), reader.step()));
        let dropped_bytes = reader.length() - length;
        let mut journal =
            Self { path: path.to_owned(), file: Some(file), length, step, dropped_frames, dropped_bytes };
        journal.settle()?;
        Ok(journal)
    }

    /// Whole frames that were dropped on opening, as their steps lie beyond `keep_to`.
    #[must_use]
    pub fn dropped_frames(&self) -> u64 {
        self.dropped_frames
    }

    /// Bytes that were dropped on opening: those of dropped frames and of a write that was cut short.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Cuts the file to its whole frames, writes the header where there is none, and syncs both to disk.
    fn settle(&mut self) -> Result<(), LedgerError> {
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        let start = self.length == 0;
        let mut settle = || {
            file.set_len(self.length)?;
            self.length = file.seek(SeekFrom::End(0))?;
            if start {
                file.write_all(&journal_header::encode())?;
                self.length = file.stream_position()?;
            }
            file.sync_all()
        };
        settle().map_err(LedgerError::io("write", &self.path))?;
        if start { sync_folder(&self.path) } else { Ok(()) }
    }

    /// Appends the visits of one batch and returns their frames, for other ranks to apply.
    ///
    /// Steps never go back within a journal. `lengths` are the records' numbers of response tokens, `pir` and
    /// `logp_without` their values, record after record.
    ///
    /// # Errors
    /// [`LedgerError::RecordOutOfRange`], [`LedgerError::ArrayLength`], [`LedgerError::NotFinite`],
    /// [`LedgerError::StepBefore`] and [`LedgerError::Closed`]; [`LedgerError::Io`] where the system takes only a part,
    /// as a full disk does: the file is cut back to what it held before.
    pub fn append(
        &mut self,
        step: u32,
        records: &[i64],
        lengths: &[i64],
        pir: &[f32],
        logp_without: &[f32],
    ) -> Result<Vec<u8>, LedgerError> {
        if let Some(last) = self.step.filter(|&last| step < last) {
            return Err(LedgerError::StepBefore { path: self.path.clone(), step, last });
        }
        let frames = encode(step, records, lengths, pir, logp_without)?;
        let Some(file) = self.file.as_mut() else {
            return Err(LedgerError::Closed { path: self.path.clone() });
        };
        if let Err(source) = file.write_all(&frames) {
            let cut = file.set_len(self.length).and_then(|()| file.seek(SeekFrom::Start(self.length)));
            if cut.is_err() {
                // What stands there now is torn: it is dropped when the journal is opened again.
                self.file = None;
            }
            return Err(LedgerError::Io { action: "append to", path: self.path.clone(), source });
        }
        self.length += frames.len() as u64;
        if !records.is_empty() {
            self.step = Some(step);
        }
        Ok(frames)
    }

    /// Waits until everything that was appended is on disk.
    ///
    /// # Errors
    /// [`LedgerError::Io`] and [`LedgerError::Closed`].
    pub fn sync(&mut self) -> Result<(), LedgerError> {
        match &self.file {
            Some(file) => file.sync_data().map_err(LedgerError::io("sync", &self.path)),
            None => Err(LedgerError::Closed { path: self.path.clone() }),
        }
    }

    /// Syncs and closes the file; closing again does nothing.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn close(&mut self) -> Result<(), LedgerError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.sync_data().map_err(LedgerError::io("sync", &self.path))
    }
}

/// The frames of a batch.
fn encode(
    step: u32,
    records: &[i64],
    lengths: &[i64],
    pir: &[f32],
    logp_without: &[f32],
) -> Result<Vec<u8>, LedgerError> {
    LedgerError::array_length("lengths", lengths.len(), records.len())?;
    // A negative length asks for more values than there can be.
    let tokens = |&length: &i64| usize::try_from(length).unwrap_or(usize::MAX);
    let expected = lengths.iter().map(tokens).fold(0, usize::saturating_add);
    LedgerError::array_length("pir", pir.len(), expected)?;
    LedgerError::array_length("logp_without", logp_without.len(), expected)?;
    check_finite(records.iter().copied().zip(lengths.iter().map(tokens)), pir, logp_without)?;
    let mut frames = Vec::with_capacity(records.len() * FRAME_BYTES + expected * VALUE_BYTES);
    let mut start = 0;
    for (&record, tokens) in records.iter().zip(lengths.iter().map(tokens)) {
        let span = start..start + tokens;
        start = span.end;
        let (pir, logp_without) = (&pir[span.clone()], &logp_without[span]);
        let Ok(record) = u32::try_from(record) else {
            return Err(LedgerError::RecordOutOfRange { record, records: index(u32::MAX) });
        };
        if u32::try_from(tokens).is_err() {
            return Err(LedgerError::TooLarge { entries: tokens });
        }
        Visit { step, record, pir, logp_without }.encode(&mut frames);
    }
    Ok(frames)
}
