//! The ledger's state after a step as one file, which is whole or not there.
//!
//! Little-endian: a name, the format's number, the decay, the step, the checksum of the records' places, the numbers
//! of records and of response tokens (64 bits each), and the checksum of these 40 bytes; every record's visits, every
//! record's last step, every token's moving average, every token's last log-prob; and the checksum of all of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::crc;
use crate::durable;
use crate::frame::word;
use crate::ledger_error::{LedgerError, LedgerFile};
use crate::scores::Scores;

const NAME: &[u8; 8] = b"PERCEsnp";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 44;
const CHECKSUM_BYTES: usize = 4;

/// Words of 32 bits that are encoded and written, or read and decoded, at once.
const CHUNK_WORDS: usize = 1 << 16;

/// Writes the scores after a step: to a file beside, synced and renamed into place.
///
/// # Errors
/// [`LedgerError::Io`]; an older file of that name is as it was then.
pub fn write_snapshot(scores: &Scores, path: &Path, step: u32) -> Result<(), LedgerError> {
    durable::replace(path, |file| {
        let mut out = Writer { file, checksum: 0, chunk: Vec::with_capacity(CHUNK_WORDS * 4) };
        out.bytes(&Header::of(scores, step).encode())?;
        out.words(&scores.visits, u32::to_le_bytes)?;
        out.words(&scores.last_step, u32::to_le_bytes)?;
        out.words(&scores.pir, f32::to_le_bytes)?;
        out.words(&scores.logp_without, f32::to_le_bytes)?;
        let checksum = out.checksum;
        out.file.write_all(&checksum.to_le_bytes())
    })
}

/// Reads the scores of these records and the step that they stand after.
///
/// # Errors
/// [`LedgerError::Io`], [`LedgerError::Foreign`], [`LedgerError::Version`], [`LedgerError::DamagedSnapshot`] for a
/// file that is not what was written, [`LedgerError::OtherData`] for one of other records, and
/// [`LedgerError::Offsets`].
pub fn read_snapshot(path: &Path, offsets: &[i64]) -> Result<(Scores, u32), LedgerError> {
    let mut file = File::open(path).map_err(LedgerError::io("open", path))?;
    let length = file.metadata().map_err(LedgerError::io("read", path))?.len();
    let mut head = Vec::with_capacity(HEADER_BYTES);
    let limit = HEADER_BYTES as u64;
    Read::take(&mut file, limit).read_to_end(&mut head).map_err(LedgerError::io("read", path))?;
    let header = Header::decode(&head, path)?;
    let damaged = || LedgerError::DamagedSnapshot { path: path.to_owned() };
    if header.file_bytes() != Some(length) {
        return Err(damaged());
    }
    let mut scores = Scores::new(offsets, header.decay)?;
    if header != Header::of(&scores, header.step) {
        return Err(LedgerError::OtherData {
            path: path.to_owned(),
            records: header.records,
            tokens: header.tokens,
            expected_records: scores.len(),
            expected_tokens: scores.pir.len(),
        });
    }
    let mut input = Reader { file, checksum: crc::extend(0, &head), chunk: vec![0; CHUNK_WORDS * 4] };
    let mut read = || {
        input.words(&mut scores.visits, u32::from_le_bytes)?;
        input.words(&mut scores.last_step, u32::from_le_bytes)?;
        input.words(&mut scores.pir, f32::from_le_bytes)?;
        input.words(&mut scores.logp_without, f32::from_le_bytes)?;
        let mut checksum = [0; CHECKSUM_BYTES];
        input.file.read_exact(&mut checksum)?;
        Ok(word(&checksum, 0) == input.checksum)
    };
    if read().map_err(LedgerError::io("read", path))? { Ok((scores, header.step)) } else { Err(damaged()) }
}

/// What a snapshot says about itself.
#[derive(Clone, Copy, PartialEq)]
struct Header {
    decay: f32,
    step: u32,
    places: u32,
    records: u64,
    tokens: u64,
}

impl Header {
    fn of(scores: &Scores, step: u32) -> Self {
        let add = |checksum, &offset: &usize| crc::extend(checksum, &(offset as u64).to_le_bytes());
        Self {
            decay: scores.decay(),
            step,
            places: scores.offsets().iter().fold(0, add),
            records: scores.len() as u64,
            tokens: scores.pir.len() as u64,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = NAME.to_vec();
        for word in [FORMAT, self.decay.to_bits(), self.step, self.places] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for count in [self.records, self.tokens] {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        let checksum = crc::extend(0, &bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, LedgerError> {
        let (file, path) = (LedgerFile::Snapshot, path.to_owned());
        let named = bytes.len().min(NAME.len());
        if bytes[..named] != NAME[..named] {
            return Err(LedgerError::Foreign { file, path });
        }
        if bytes.len() < HEADER_BYTES || crc::extend(0, &bytes[..40]) != word(bytes, 40) {
            return Err(LedgerError::DamagedSnapshot { path });
        }
        let format = word(bytes, 8);
        if format != FORMAT {
            return Err(LedgerError::Version { file, path, found: format, known: FORMAT });
        }
        let count = |at| u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32;
        Ok(Self {
            decay: f32::from_bits(word(bytes, 12)),
            step: word(bytes, 16),
            places: word(bytes, 20),
            records: count(24),
            tokens: count(32),
        })
    }

    /// Length of the whole file; `None` where no file is as long.
    fn file_bytes(&self) -> Option<u64> {
        let values = self.records.checked_add(self.tokens)?.checked_mul(8)?;
        values.checked_add((HEADER_BYTES + CHECKSUM_BYTES) as u64)
    }
}

struct Writer<'a> {
    file: &'a mut File,
    checksum: u32,
    chunk: Vec<u8>,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum = crc::extend(self.checksum, bytes);
        self.file.write_all(bytes)
    }

    fn words<T: Copy>(&mut self, words: &[T], encode: fn(T) -> [u8; 4]) -> io::Result<()> {
        for words in words.chunks(CHUNK_WORDS) {
            let mut chunk = std::mem::take(&mut self.chunk);
            chunk.resize(words.len() * 4, 0);
            for (bytes, &word) in chunk.chunks_exact_mut(4).zip(words) {
                bytes.copy_from_slice(&encode(word));
            }
            self.bytes(&chunk)?;
            self.chunk = chunk;
        }
        Ok(())
    }
}

struct Reader {
    file: File,
    checksum: u32,
    chunk: Vec<u8>,
}

impl Reader {
    fn words<T>(&mut self, words: &mut [T], decode: fn([u8; 4]) -> T) -> io::Result<()> {
        for words in words.chunks_mut(CHUNK_WORDS) {
            let chunk = &mut self.chunk[..words.len() * 4];
            self.file.read_exact(chunk)?;
            self.checksum = crc::extend(self.checksum, chunk);
            for (word, bytes) in words.iter_mut().zip(chunk.chunks_exact(4)) {
                *word = decode([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        Ok(())
    }
}
