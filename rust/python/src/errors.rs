//! Rust errors as `perce.errors`, with `.record` and, for files, `.path` set.

use perce_core::{Error, Kind, LedgerError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

static STORE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static PACKING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static LEDGER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static KERNEL: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The Python exception for an error of the core.
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    let class = match error.kind() {
        Kind::Store => STORE.import(py, "perce.errors", "StoreError"),
        Kind::Packing => PACKING.import(py, "perce.errors", "PackingError"),
    };
    let build = |class: &Bound<'_, PyType>| -> PyResult<PyErr> {
        let exception = class.call1((error.to_string(),))?;
        exception.setattr("record", error.record())?;
        Ok(PyErr::from_value(exception))
    };
    // Where perce.errors cannot be imported, that failure is the error to show.
    class.and_then(build).unwrap_or_else(|failure| failure)
}

/// The Python exception for an error of the ledger.
pub(crate) fn raise_ledger(py: Python<'_>, error: &LedgerError) -> PyErr {
    let path = error.path().map(|path| path.to_string_lossy().into_owned());
    let build = |class: &Bound<'_, PyType>| -> PyResult<PyErr> {
        Ok(PyErr::from_value(class.call1((error.to_string(), path, error.record()))?))
    };
    LEDGER.import(py, "perce.errors", "LedgerError").and_then(build).unwrap_or_else(|failure| failure)
}

/// The Python exception for an error of the CUDA kernels.
pub(crate) fn raise_kernel(py: Python<'_>, error: &perce_cuda::Error) -> PyErr {
    let build = |class: &Bound<'_, PyType>| Ok(PyErr::from_value(class.call1((error.to_string(),))?));
    KERNEL.import(py, "perce.errors", "KernelError").and_then(build).unwrap_or_else(|failure| failure)
}
