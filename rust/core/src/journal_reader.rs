//! Reading one journal, frame by frame, without holding more of it than a buffer.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::frame::{Frame, HEADER_BYTES, Header, MARK};
use crate::journal_header;
use crate::ledger_error::LedgerError;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// A journal's frames in the order in which they were written.
///
/// Bytes at the end that are no whole frame are what is left of a write that was cut short: they are not read, and
/// `torn_bytes` counts them. The same bytes before a whole frame are damage, an error.
#[derive(Debug)]
pub(crate) struct JournalReader {
    path: PathBuf,
    file: File,
    /// Length of the file when it was opened: what is appended later is not read.
    length: u64,
    /// What was read from the file and not used up, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Where `buffer[start]` stands in the file.
    offset: u64,
    /// The frame at `offset`, where it was found whole.
    next: Option<Header>,
    /// Where the torn bytes start, once they were met.
    torn_from: Option<u64>,
    /// Step of the frame before, where there is one.
    step: Option<u32>,
}

impl JournalReader {
    /// Reads a journal from its start, whose name is for errors.
    pub(crate) fn new(mut file: File, path: &Path) -> Result<Self, LedgerError> {
        let length = file.seek(SeekFrom::End(0)).map_err(LedgerError::io("read", path))?;
        file.rewind().map_err(LedgerError::io("read", path))?;
        let mut reader = Self {
            path: path.to_owned(),
            file,
            length,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            next: None,
            torn_from: None,
            step: None,
        };
        reader.fill(journal_header::BYTES)?;
        let head = &reader.buffer[..reader.buffer.len().min(journal_header::BYTES)];
        if journal_header::check(head, path)? {
            reader.skip(journal_header::BYTES);
        } else {
            reader.torn_from = Some(0);
        }
        Ok(reader)
    }

    /// Opens a journal for reading.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::new(File::open(path).map_err(LedgerError::io("open", path))?, path)
    }

    /// Where the next frame starts, or the torn bytes, or the end of the file.
    pub(crate) fn position(&self) -> u64 {
        self.torn_from.unwrap_or(self.offset)
    }

    /// Bytes at the end that are no whole frame; known once there is no next frame.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.torn_from.map_or(0, |from| self.length - from)
    }

    /// Length of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Step of the last frame that was taken.
    pub(crate) fn step(&self) -> Option<u32> {
        self.step
    }

    /// The header of the next frame, which is whole, or `None` at the end.
    pub(crate) fn peek(&mut self) -> Result<Option<Header>, LedgerError> {
        if self.next.is_some() || self.torn_from.is_some() || self.offset == self.length {
            return Ok(self.next);
        }
        self.next = self.whole_frame()?;
        match (self.next, self.step) {
            (Some(Header { step, .. }), Some(before)) if step < before => {
                Err(LedgerError::StepsGoBack { path: self.path.clone(), offset: self.offset, step, before })
            }
            (None, _) => {
                let offset = self.offset;
                if let Some(next_step) = self.step_of_a_later_frame()? {
                    return Err(LedgerError::DamagedJournal { path: self.path.clone(), offset, next_step });
                }
                self.torn_from = Some(offset);
                Ok(None)
            }
            _ => Ok(self.next),
        }
    }

    /// The frame that was peeked at; the next is the one after it.
    pub(crate) fn take(&mut self) -> Option<Frame<'_>> {
        let header = self.next.take()?;
        self.step = Some(header.step);
        let start = self.start;
        self.skip(header.bytes());
        Some(Frame::view(header, &self.buffer[start..self.start]))
    }

    /// The header of the frame that starts here, where it is whole.
    fn whole_frame(&mut self) -> Result<Option<Header>, LedgerError> {
        if !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let Some(header) = Header::decode(&self.buffer[self.start..]) else { return Ok(None) };
        let whole = self.fill(header.bytes())? && Frame::decode(&self.buffer[self.start..]).is_some();
        Ok(whole.then_some(header))
    }

    /// Looks for a whole frame after this place, whatever the bytes between; uses up the file.
    fn step_of_a_later_frame(&mut self) -> Result<Option<u32>, LedgerError> {
        loop {
            self.skip(1);
            if !self.fill(HEADER_BYTES)? {
                return Ok(None);
            }
            let unread = &self.buffer[self.start..];
            let Some(mark) = unread.windows(MARK.len()).position(|bytes| bytes == MARK) else {
                // The mark may begin in the last bytes; the next turn skips one of them.
                self.skip(unread.len() - MARK.len());
                continue;
            };
            self.skip(mark);
            if let Some(header) = self.whole_frame()? {
                return Ok(Some(header.step));
            }
        }
    }

    /// Makes at least this many bytes of the file stand in the buffer; `false` where the file ends before.
    fn fill(&mut self, bytes: usize) -> Result<bool, LedgerError> {
        let unread = self.buffer.len() - self.start;
        if unread >= bytes {
            return Ok(true);
        }
        // What a damaged length asks for is not allocated: the file does not hold it.
        let left = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX);
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.resize(bytes.max(CHUNK).min(left), 0);
        self.file.read_exact(&mut self.buffer[unread..]).map_err(LedgerError::io("read", &self.path))?;
        Ok(left >= bytes)
    }

    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }
}
