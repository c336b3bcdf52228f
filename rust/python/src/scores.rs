//! The ledger's state and its snapshots.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::arrays::read;
use crate::errors::raise_ledger;

type Object<'a, 'py> = &'a Bound<'py, PyAny>;
type Floats<'py> = Bound<'py, PyArray1<f32>>;
type Counts<'py> = Bound<'py, PyArray1<u32>>;

/// Scores of response tokens: moving average of the PIR, last log-prob without the profile; visits a record.
#[pyclass(frozen, module = "perce._core")]
pub(crate) struct Scores {
    // Waited for without the GIL, so that threads that hold one and want the other cannot stop each other.
    state: RwLock<perce_core::Scores>,
}

impl Scores {
    fn wrap(scores: perce_core::Scores) -> Self {
        Self { state: RwLock::new(scores) }
    }

    /// Runs `call` on the state without the GIL.
    fn read<R: Send>(&self, py: Python<'_>, call: impl FnOnce(&perce_core::Scores) -> R + Send) -> R {
        py.detach(|| call(&self.state.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Runs `call` on the state without the GIL, alone.
    fn write<R: Send>(&self, py: Python<'_>, call: impl FnOnce(&mut perce_core::Scores) -> R + Send) -> R {
        py.detach(|| call(&mut self.state.write().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl Scores {
    #[new]
    fn new(py: Python<'_>, response_offsets: Object<'_, '_>, decay: f32) -> PyResult<Self> {
        let offsets = read::<i64>("response_offsets", response_offsets)?;
        let offsets = offsets.as_slice()?;
        let scores = py.detach(|| perce_core::Scores::new(offsets, decay));
        scores.map(Self::wrap).map_err(|error| raise_ledger(py, &error))
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.read(py, perce_core::Scores::len)
    }

    /// The share of the past in the moving average.
    #[getter]
    fn decay(&self, py: Python<'_>) -> f32 {
        self.read(py, perce_core::Scores::decay)
    }

    /// Takes in a batch.
    fn update(
        &self,
        py: Python<'_>,
        step: u32,
        records: Object<'_, '_>,
        pir: Object<'_, '_>,
        logp_without: Object<'_, '_>,
    ) -> PyResult<()> {
        let records = read::<i64>("records", records)?;
        let pir = read::<f32>("pir", pir)?;
        let logp_without = read::<f32>("logp_without", logp_without)?;
        let (records, pir, logp_without) = (records.as_slice()?, pir.as_slice()?, logp_without.as_slice()?);
        self.write(py, |scores| scores.update(step, records, pir, logp_without))
            .map_err(|error| raise_ledger(py, &error))
    }

    /// Takes in a block of a journal.
    fn replay(
        &self,
        py: Python<'_>,
        steps: Object<'_, '_>,
        records: Object<'_, '_>,
        lengths: Object<'_, '_>,
        pir: Object<'_, '_>,
        logp_without: Object<'_, '_>,
    ) -> PyResult<()> {
        let steps = read::<u32>("steps", steps)?;
        let records = read::<i64>("records", records)?;
        let lengths = read::<i64>("lengths", lengths)?;
        let pir = read::<f32>("pir", pir)?;
        let logp_without = read::<f32>("logp_without", logp_without)?;
        let (steps, records, lengths) = (steps.as_slice()?, records.as_slice()?, lengths.as_slice()?);
        let (pir, logp_without) = (pir.as_slice()?, logp_without.as_slice()?);
        self.write(py, |scores| scores.replay(steps, records, lengths, pir, logp_without))
            .map_err(|error| raise_ledger(py, &error))
    }

    /// Takes in frames of another rank; returns how many.
    fn apply_frames(&self, py: Python<'_>, frames: &[u8]) -> PyResult<usize> {
        self.write(py, |scores| scores.apply_frames(frames)).map_err(|error| raise_ledger(py, &error))
    }

    /// Moving average of every response token's PIR.
    fn pir<'py>(&self, py: Python<'py>) -> Floats<'py> {
        self.read(py, |scores| scores.pir().to_vec()).into_pyarray(py)
    }

    /// Last log-prob without the profile of every response token.
    fn logp_without<'py>(&self, py: Python<'py>) -> Floats<'py> {
        self.read(py, |scores| scores.logp_without().to_vec()).into_pyarray(py)
    }

    /// Last log-probs without the profile of some tokens.
    fn gather_logp_without<'py>(&self, py: Python<'py>, index: Object<'_, '_>) -> PyResult<Floats<'py>> {
        let index = read::<i64>("index", index)?;
        let index = index.as_slice()?;
        let values = self.read(py, |scores| scores.gather_logp_without(index));
        Ok(values.map_err(|error| raise_ledger(py, &error))?.into_pyarray(py))
    }

    /// Number of visits to every record.
    fn visits<'py>(&self, py: Python<'py>) -> Counts<'py> {
        self.read(py, |scores| scores.visits().to_vec()).into_pyarray(py)
    }

    /// Step of the last visit to every record.
    fn last_step<'py>(&self, py: Python<'py>) -> Counts<'py> {
        self.read(py, |scores| scores.last_step().to_vec()).into_pyarray(py)
    }

    /// Writes the state after a step to a file that appears whole or not at all.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts paths by value")]
    fn write_snapshot(&self, py: Python<'_>, path: PathBuf, step: u32) -> PyResult<()> {
        self.read(py, |scores| perce_core::write_snapshot(scores, &path, step))
            .map_err(|error| raise_ledger(py, &error))
    }

    /// Reads a snapshot of these records: the scores, and the step they stand after.
    #[staticmethod]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts paths by value")]
    fn read_snapshot(
        py: Python<'_>,
        path: PathBuf,
        response_offsets: Object<'_, '_>,
    ) -> PyResult<(Self, u32)> {
        let offsets = read::<i64>("response_offsets", response_offsets)?;
        let offsets = offsets.as_slice()?;
        let (scores, step) = py
            .detach(|| perce_core::read_snapshot(&path, offsets))
            .map_err(|error| raise_ledger(py, &error))?;
        Ok((Self::wrap(scores), step))
    }
}
