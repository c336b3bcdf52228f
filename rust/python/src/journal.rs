//! Journals: appending to one, reading several as one history.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::read;
use crate::errors::raise_ledger;

type Object<'a, 'py> = &'a Bound<'py, PyAny>;
type Block<'py> = (
    Bound<'py, PyArray1<u32>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f32>>,
    Bound<'py, PyArray1<f32>>,
);

/// A journal that is open for appending.
#[pyclass(frozen, module = "perce._core")]
pub(crate) struct JournalWriter {
    // Waited for without the GIL, as for scores.
    journal: Mutex<perce_core::JournalWriter>,
}

impl JournalWriter {
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut perce_core::JournalWriter) -> R + Send,
    ) -> R {
        py.detach(|| call(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl JournalWriter {
    #[new]
    #[pyo3(signature = (path, *, keep_to=None))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts paths by value")]
    fn new(py: Python<'_>, path: PathBuf, keep_to: Option<u32>) -> PyResult<Self> {
        let journal = py.detach(|| perce_core::JournalWriter::open(&path, keep_to));
        Ok(Self { journal: Mutex::new(journal.map_err(|error| raise_ledger(py, &error))?) })
    }

    /// Whole frames that were dropped on opening.
    #[getter]
    fn dropped_frames(&self, py: Python<'_>) -> u64 {
        self.with(py, |journal| journal.dropped_frames())
    }

    /// Bytes that were dropped on opening.
    #[getter]
    fn dropped_bytes(&self, py: Python<'_>) -> u64 {
        self.with(py, |journal| journal.dropped_bytes())
    }

    /// Appends the visits of a batch and returns their frames.
    fn append<'py>(
        &self,
        py: Python<'py>,
        step: u32,
        records: Object<'_, 'py>,
        lengths: Object<'_, 'py>,
        pir: Object<'_, 'py>,
        logp_without: Object<'_, 'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let records = read::<i64>("records", records)?;
        let lengths = read::<i64>("lengths", lengths)?;
        let pir = read::<f32>("pir", pir)?;
        let logp_without = read::<f32>("logp_without", logp_without)?;
        let (records, lengths) = (records.as_slice()?, lengths.as_slice()?);
        let (pir, logp_without) = (pir.as_slice()?, logp_without.as_slice()?);
        let frames = self.with(py, |journal| journal.append(step, records, lengths, pir, logp_without));
        Ok(PyBytes::new(py, &frames.map_err(|error| raise_ledger(py, &error))?))
    }

    /// Waits until everything that was appended is on disk.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, perce_core::JournalWriter::sync).map_err(|error| raise_ledger(py, &error))
    }

    /// Syncs and closes the file.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, perce_core::JournalWriter::close).map_err(|error| raise_ledger(py, &error))
    }
}

/// An iterator over the visits of journals, in blocks.
#[pyclass(frozen, module = "perce._core")]
pub(crate) struct JournalReader {
    history: Mutex<perce_core::History>,
    block_tokens: usize,
}

#[pymethods]
impl JournalReader {
    #[new]
    #[pyo3(signature = (paths, *, block_tokens=1_048_576, after=None, through=None))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts paths by value")]
    fn new(
        py: Python<'_>,
        paths: Vec<PathBuf>,
        block_tokens: usize,
        after: Option<u32>,
        through: Option<u32>,
    ) -> PyResult<Self> {
        let history = py.detach(|| perce_core::History::open(&paths, after, through));
        let history = Mutex::new(history.map_err(|error| raise_ledger(py, &error))?);
        Ok(Self { history, block_tokens })
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    /// The next block: steps, records, lengths, PIRs and log-probs without the profile.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Block<'py>>> {
        let block = py.detach(|| {
            self.history.lock().unwrap_or_else(PoisonError::into_inner).next_block(self.block_tokens)
        });
        let block = block.map_err(|error| raise_ledger(py, &error))?;
        Ok(block.map(|block| {
            (
                block.steps.into_pyarray(py),
                block.records.into_pyarray(py),
                block.lengths.into_pyarray(py),
                block.pir.into_pyarray(py),
                block.logp_without.into_pyarray(py),
            )
        }))
    }

    /// Bytes at the end of each journal that are no whole frame.
    #[getter]
    fn torn_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u64>> {
        let torn: Vec<u64> =
            py.detach(|| self.history.lock().unwrap_or_else(PoisonError::into_inner).torn_bytes().collect());
        torn.into_pyarray(py)
    }
}
