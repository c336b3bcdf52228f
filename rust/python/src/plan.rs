//! Packing and plans.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::arrays::read;
use crate::errors::raise;

type Vector<'py> = Bound<'py, PyArray1<i64>>;

fn arrays(py: Python<'_>, bins: perce_core::Bins) -> (Vector<'_>, Vector<'_>) {
    (bins.offsets.into_pyarray(py), bins.records.into_pyarray(py))
}

/// Packs records by best-fit decreasing, both variants of a record in the same bin.
#[pyfunction]
pub(crate) fn pack_pairs<'py>(
    py: Python<'py>,
    lengths_with: &Bound<'py, PyAny>,
    lengths_without: &Bound<'py, PyAny>,
    capacity_with: i64,
    capacity_without: i64,
) -> PyResult<(Vector<'py>, Vector<'py>)> {
    let with = read::<i64>("lengths_with", lengths_with)?;
    let without = read::<i64>("lengths_without", lengths_without)?;
    let (with, without) = (with.as_slice()?, without.as_slice()?);
    let bins = py.detach(|| perce_core::pack_pairs(with, without, capacity_with, capacity_without));
    Ok(arrays(py, bins.map_err(|error| raise(py, error))?))
}

/// Groups records into batches of a fixed number.
#[pyfunction]
#[pyo3(signature = (n_records, batch_size, seed=None))]
pub(crate) fn group_records(
    py: Python<'_>,
    n_records: usize,
    batch_size: usize,
    seed: Option<u64>,
) -> PyResult<(Vector<'_>, Vector<'_>)> {
    let bins = py.detach(|| perce_core::group_records(n_records, batch_size, seed));
    Ok(arrays(py, bins.map_err(|error| raise(py, error))?))
}

/// The order of the bins in an epoch.
#[pyfunction]
pub(crate) fn epoch_order(py: Python<'_>, n_bins: usize, seed: u64, epoch: u64) -> PyResult<Vector<'_>> {
    let order = py.detach(|| perce_core::epoch_order(n_bins, seed, epoch));
    Ok(order.map_err(|error| raise(py, error))?.into_pyarray(py))
}

/// The bins of one rank, repeats encoded as `-1 - bin`.
#[pyfunction]
pub(crate) fn rank_bins<'py>(
    py: Python<'py>,
    order: &Bound<'py, PyAny>,
    rank: usize,
    world_size: usize,
) -> PyResult<Vector<'py>> {
    let order = read::<i64>("order", order)?;
    let order = order.as_slice()?;
    let bins = py.detach(|| perce_core::rank_bins(order, rank, world_size));
    Ok(bins.map_err(|error| raise(py, error))?.into_pyarray(py))
}
