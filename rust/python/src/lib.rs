//! The Python module `perce._core`.
use pyo3::prelude::*;

/// Buffers in, buffers out.
#[pymodule]
mod _core {}
