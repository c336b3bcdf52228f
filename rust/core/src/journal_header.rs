//! What a journal starts with, so that nothing else is taken for one.

use std::path::Path;

use crate::crc;
use crate::frame::word;
use crate::ledger_error::{LedgerError, LedgerFile};

/// Bytes of the header.
pub(crate) const BYTES: usize = 16;

const NAME: &[u8; 8] = b"PERCEjnl";
const FORMAT: u32 = 1;

/// The header: a name, the format's number, and the checksum of both.
pub(crate) fn encode() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(NAME);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    let checksum = crc::extend(0, &bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Whether a file starts as a journal: `false` where it ends within the header, which a write cut short leaves.
pub(crate) fn check(bytes: &[u8], path: &Path) -> Result<bool, LedgerError> {
    let file = LedgerFile::Journal;
    if bytes.len() < BYTES && encode().starts_with(bytes) {
        return Ok(false);
    }
    let whole =
        bytes.len() == BYTES && bytes.starts_with(NAME) && crc::extend(0, &bytes[..12]) == word(bytes, 12);
    if !whole {
        return Err(LedgerError::Foreign { file, path: path.to_owned() });
    }
    match word(bytes, 8) {
        FORMAT => Ok(true),
        found => Err(LedgerError::Version { file, path: path.to_owned(), found, known: FORMAT }),
    }
}
