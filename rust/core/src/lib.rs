//! Pair packing, plans, collation and the score ledger for perce: slices in, slices out.
//!
//! A *record* has two prefixes (with the user's profile, without it) and one response, spliced after both. The way of
//! a record through this crate: [`TokenStore`] views and validates prepared token ids, [`pack_pairs`] (or
//! [`group_records`]) puts records into [`Bins`] once a run, [`epoch_order`] permutes the bins for an epoch,
//! [`rank_bins`] deals them out to ranks, and [`collate`] writes one bin into the caller's memory.
//!
//! The ledger remembers what was computed for every response token: [`Scores`] is its state, a [`JournalWriter`] keeps
//! every visit on disk, [`History`] reads journals back, [`write_snapshot`] and [`read_snapshot`] keep the state of a
//! checkpoint, and [`histogram()`] sums values up over ranks.
//!
//! Nothing here knows Python, spawns a thread, or reads a clock. Apart from the ledger's files, every function is a
//! pure function of its arguments.
#![forbid(unsafe_code)]

mod bins;
mod collate;
mod convert;
mod crc;
mod durable;
mod error;
mod finite;
mod frame;
mod histogram;
mod history;
mod journal;
mod journal_header;
mod journal_reader;
mod ledger_error;
mod max_tree;
mod open_bins;
mod pack;
mod plan;
mod rng;
mod scores;
mod snapshot;
mod tokens;

pub use bins::Bins;
pub use collate::{IGNORED_LABEL, IGNORED_LEDGER, collate};
pub use error::{Column, Error, Kind, Stream};
pub use histogram::{HISTOGRAM_BINS, histogram, quantiles};
pub use history::{Block, History};
pub use journal::JournalWriter;
pub use ledger_error::{LedgerError, LedgerFile, Value};
pub use pack::pack_pairs;
pub use plan::{epoch_order, group_records, rank_bins};
pub use scores::Scores;
pub use snapshot::{read_snapshot, write_snapshot};
pub use tokens::{Ragged, Sizes, TokenStore};
