//! The Python module `perce._core`: borrow `NumPy` arrays, release the GIL, call `perce-core` and `perce-cuda`, map
//! errors. No logic.

mod arrays;
mod cuda;
mod errors;
mod histogram;
mod journal;
mod plan;
mod scores;
mod store;

use pyo3::prelude::*;

/// Packing, plans, collation and the score ledger over `NumPy` arrays, and the CUDA kernels over device memory. See the stub beside it for shapes and dtypes.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::cuda::{cuda_architectures, cuda_load, cuda_logp_rows, cuda_weighted_rows};
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
