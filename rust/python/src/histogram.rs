//! The histogram of fixed layout.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::arrays::{read, write};
use crate::errors::raise_ledger;

/// Counts values into their bins.
#[pyfunction]
pub(crate) fn histogram<'py>(
    py: Python<'py>,
    values: &Bound<'py, PyAny>,
    counts: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let values = read::<f32>("values", values)?;
    let mut counts = write::<i64>("counts", counts)?;
    let (values, counts) = (values.as_slice()?, counts.as_slice_mut()?);
    py.detach(|| perce_core::histogram(values, counts)).map_err(|error| raise_ledger(py, &error))
}

/// Quantiles of what was counted.
#[pyfunction]
pub(crate) fn quantiles<'py>(
    py: Python<'py>,
    counts: &Bound<'py, PyAny>,
    q: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let counts = read::<i64>("counts", counts)?;
    let q = read::<f64>("q", q)?;
    let (counts, q) = (counts.as_slice()?, q.as_slice()?);
    let values = py.detach(|| perce_core::quantiles(counts, q));
    Ok(values.map_err(|error| raise_ledger(py, &error))?.into_pyarray(py))
}
