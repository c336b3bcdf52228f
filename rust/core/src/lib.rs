//! Pair packing, plans and collation for perce: slices in, slices out.
//!
//! A *record* has two prefixes (with the user's profile, without it) and one response, spliced after both. The way of
//! a record through this crate: [`TokenStore`] views and validates prepared token ids, [`pack_pairs`] (or
//! [`group_records`]) puts records into [`Bins`] once a run, [`epoch_order`] permutes the bins for an epoch,
//! [`rank_bins`] deals them out to ranks, and [`collate`] writes one bin into the caller's [`Buffers`].
//!
//! Nothing here knows Python, spawns a thread, or reads a clock: every function is a pure function of its arguments.
#![forbid(unsafe_code)]

mod bins;
mod collate;
mod convert;
mod error;
mod max_tree;
mod open_bins;
mod pack;
mod plan;
mod rng;
mod tokens;

pub use bins::Bins;
pub use collate::{Buffers, IGNORED_LABEL, IGNORED_LEDGER, StreamBuffers, collate};
pub use error::{Column, Error, Kind, Stream};
pub use pack::pack_pairs;
pub use plan::{epoch_order, group_records, rank_bins};
pub use tokens::{Ragged, Sizes, TokenStore};
