//! The Python module `perce._core`: borrow `NumPy` arrays, release the GIL, call `perce-core`, map errors. No logic.

mod arrays;
mod errors;
mod histogram;
mod journal;
mod plan;
mod scores;
mod store;

use pyo3::prelude::*;

/// Packing, plans, collation and the score ledger over `NumPy` arrays. See the stub beside it for shapes and dtypes.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::histogram::{histogram, quantiles};
    #[pymodule_export]
    use crate::journal::{JournalReader, JournalWriter};
    #[pymodule_export]
    use crate::plan::{epoch_order, group_records, pack_pairs, rank_bins};
    #[pymodule_export]
    use crate::scores::Scores;
    #[pymodule_export]
    use crate::store::TokenStore;
}
