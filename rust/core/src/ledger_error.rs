//! Everything that can be wrong with a score ledger: its files, and what is written to it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The two kinds of file that a ledger consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerFile {
    /// What was computed, visit after visit.
    Journal,
    /// The state after a step.
    Snapshot,
}

/// The two values of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Its personal influence ratio.
    Pir,
    /// Its log-prob without the profile.
    LogpWithout,
}

/// What is wrong, where (file, record, position), and, as text, what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum LedgerError {
    /// The system refused to read or write.
    Io {
        /// What was tried: "open", "write", …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that does not start as a ledger's files do.
    Foreign {
        /// What it should be.
        file: LedgerFile,
        /// The file.
        path: PathBuf,
    },
    /// A file in a format of another release.
    Version {
        /// What it is.
        file: LedgerFile,
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this release reads.
        known: u32,
    },
    /// A journal with bytes that are no frame before frames that are: damage, not the end of a write cut short.
    DamagedJournal {
        /// The file.
        path: PathBuf,
        /// Where the damage starts, in bytes.
        offset: u64,
        /// Step of the first whole frame after it.
        next_step: u32,
    },
    /// A journal whose steps go back: two runs wrote into it.
    StepsGoBack {
        /// The file.
        path: PathBuf,
        /// Where the frame starts, in bytes.
        offset: u64,
        /// The frame's step.
        step: u32,
        /// The step before.
        before: u32,
    },
    /// A snapshot that is not as long as it says, or not what was written.
    DamagedSnapshot {
        /// The file.
        path: PathBuf,
    },
    /// A snapshot of other data.
    OtherData {
        /// The file.
        path: PathBuf,
        /// Its number of records.
        records: u64,
        /// Its number of response tokens.
        tokens: u64,
        /// The data's number of records.
        expected_records: usize,
        /// The data's number of response tokens.
        expected_tokens: usize,
    },
    /// A journal that was closed, or could not be cut back after a write that failed.
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// Bytes exchanged between ranks that are not whole frames.
    DamagedFrames {
        /// Where the damage starts, in bytes.
        offset: usize,
    },
    /// Offsets that do not start at 0, or decrease, or are none.
    Offsets,
    /// More entries than memory holds.
    TooLarge {
        /// The number of entries.
        entries: usize,
    },
    /// A decay outside of 0 (the last value alone) to below 1.
    Decay {
        /// The decay asked for.
        decay: f32,
    },
    /// A step that lies before what the journal holds.
    StepBefore {
        /// The file.
        path: PathBuf,
        /// The step asked for.
        step: u32,
        /// The journal's last step.
        last: u32,
    },
    /// A record that the data do not hold.
    RecordOutOfRange {
        /// The record asked for.
        record: i64,
        /// The number of records.
        records: usize,
    },
    /// A visit with another number of tokens than the record has.
    RecordLength {
        /// The record at fault.
        record: i64,
        /// The visit's number of tokens.
        found: i64,
        /// The record's number of response tokens.
        expected: i64,
    },
    /// An array that is not as long as the records it is for need.
    ArrayLength {
        /// The array's name.
        name: &'static str,
        /// Its length.
        found: usize,
        /// The length needed.
        expected: usize,
    },
    /// A value that is infinite or not a number.
    NotFinite {
        /// Which value.
        value: Value,
        /// The record at fault.
        record: i64,
        /// Position of the token within the response.
        position: usize,
    },
    /// An index of a token that the data do not hold.
    TokenOutOfRange {
        /// The index asked for.
        index: i64,
        /// The number of response tokens.
        tokens: usize,
    },
    /// Counts of a histogram that are negative, or too many to add.
    Counts {
        /// The bin at fault.
        bin: usize,
    },
    /// A quantile outside of 0 to 1.
    Quantile {
        /// The quantile asked for.
        quantile: f64,
    },
}

impl LedgerError {
    /// The file at fault, where one is.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. }
            | Self::Foreign { path, .. }
            | Self::Version { path, .. }
            | Self::DamagedJournal { path, .. }
            | Self::StepsGoBack { path, .. }
            | Self::DamagedSnapshot { path }
            | Self::OtherData { path, .. }
            | Self::StepBefore { path, .. }
            | Self::Closed { path } => Some(path),
            _ => None,
        }
    }

    /// Index of the record at fault, where one is.
    #[must_use]
    pub fn record(&self) -> Option<i64> {
        match *self {
            Self::RecordOutOfRange { record, .. }
            | Self::RecordLength { record, .. }
            | Self::NotFinite { record, .. } => Some(record),
            _ => None,
        }
    }

    /// The closure that names what was tried on which file when the system refuses.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn array_length(name: &'static str, found: usize, expected: usize) -> Result<(), Self> {
        if found == expected { Ok(()) } else { Err(Self::ArrayLength { name, found, expected }) }
    }
}

impl fmt::Display for LedgerFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Journal => "journal",
            Self::Snapshot => "snapshot",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pir => "pir",
            Self::LogpWithout => "logp_without",
        })
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::Foreign { file, path } => {
                write!(
                    f,
                    "{} does not start as a {file} does; give the path of one or restore it",
                    path.display()
                )
            }
            Self::Version { file, path, found, known } => write!(
                f,
                "{} is a {file} of format {found}, this release reads {known}; use the release that wrote it",
                path.display()
            ),
            Self::DamagedJournal { path, offset, next_step } => write!(
                f,
                "{} is damaged at byte {offset}, and frames of step {next_step} follow; restore the file, or resume \
                 from a checkpoint before that step, which drops what follows",
                path.display()
            ),
            Self::StepsGoBack { path, offset, step, before } => write!(
                f,
                "{} goes back from step {before} to {step} at byte {offset}: two runs wrote into it; keep one run a \
                 folder and resume from a checkpoint before step {step}",
                path.display()
            ),
            Self::DamagedSnapshot { path } => {
                write!(f, "{} is torn or damaged; resume from the checkpoint before it", path.display())
            }
            Self::OtherData { path, records, tokens, expected_records, expected_tokens } => write!(
                f,
                "{} is of other data ({records} records, {tokens} response tokens, not {expected_records} and \
                 {expected_tokens} in the same places); give the data that it was made with",
                path.display()
            ),
            Self::StepBefore { path, step, last } => write!(
                f,
                "step {step} lies before step {last} in {}; open the journal with keep_to to go back",
                path.display()
            ),
            Self::Closed { path } => {
                write!(f, "{} is closed; open the journal again to write to it", path.display())
            }
            Self::DamagedFrames { offset } => write!(
                f,
                "the frames of another rank are damaged at byte {offset}; resume from the last checkpoint"
            ),
            Self::Offsets => {
                f.write_str("response_offsets must start at 0 and never decrease; prepare the data again")
            }
            Self::TooLarge { entries } => {
                write!(f, "{entries} entries do not fit into memory; split the data")
            }
            Self::Decay { decay } => write!(f, "decay {decay} is out of range; give 0 <= decay < 1"),
            Self::RecordOutOfRange { record, records } => write!(
                f,
                "record {record} is not among the ledger's {records} records; give the data that it was made with"
            ),
            Self::RecordLength { record, found, expected } => write!(
                f,
                "record {record}: {found} values for {expected} response tokens; give the data that the ledger was \
                 made with"
            ),
            Self::ArrayLength { name, found, expected } => {
                write!(f, "{name} has length {found}, not {expected}; give arrays that fit each other")
            }
            Self::NotFinite { value, record, position } => write!(
                f,
                "record {record}: {value} at position {position} of the response is not a finite number; leave the \
                 record out or stop the run"
            ),
            Self::TokenOutOfRange { index, tokens } => write!(
                f,
                "index {index} is not among the ledger's {tokens} response tokens; give the data that it was made with"
            ),
            Self::Counts { bin } => write!(
                f,
                "count of bin {bin} is negative or too large to add; start the histogram from zeros"
            ),
            Self::Quantile { quantile } => {
                write!(f, "quantile {quantile} is out of range; give 0 <= quantile <= 1")
            }
        }
    }
}

impl std::error::Error for LedgerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
