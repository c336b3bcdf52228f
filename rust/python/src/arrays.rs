//! Borrowing 1-D contiguous `NumPy` arrays, with errors that name the argument.

use numpy::{
    Element, PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadwriteArray1, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// The object as a 1-D, C-contiguous, aligned array of `T`, or a `TypeError` that names the argument.
pub(crate) fn vector<'a, 'py, T: Element>(
    name: &str,
    object: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyArray1<T>>> {
    match object.cast::<PyArray1<T>>() {
        Ok(array) if array.is_c_contiguous() && array.is_aligned() => Ok(array),
        _ => Err(mismatch::<T>(name, object)),
    }
}

/// Borrows an array for reading.
pub(crate) fn borrow<'py, T: Element>(
    name: &str,
    array: &Bound<'py, PyArray1<T>>,
) -> PyResult<PyReadonlyArray1<'py, T>> {
    array
        .try_readonly()
        .map_err(|_| PyTypeError::new_err(format!("{name} is in use as a buffer that is being written")))
}

/// Borrows an array for reading, straight from an argument.
pub(crate) fn read<'py, T: Element>(
    name: &str,
    object: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray1<'py, T>> {
    borrow(name, vector(name, object)?)
}

/// Borrows an array for writing, straight from an argument.
pub(crate) fn write<'py, T: Element>(
    name: &str,
    object: &Bound<'py, PyAny>,
) -> PyResult<PyReadwriteArray1<'py, T>> {
    let array = vector::<T>(name, object)?;
    array.try_readwrite().map_err(|_| {
        PyTypeError::new_err(format!(
            "{name} is read-only or overlaps another argument; give it memory of its own"
        ))
    })
}

fn mismatch<T: Element>(name: &str, object: &Bound<'_, PyAny>) -> PyErr {
    let py = object.py();
    let found = match object.cast::<PyUntypedArray>() {
        Ok(array) => {
            let layout = match (array.is_c_contiguous(), array.is_aligned()) {
                (true, true) => "contiguous",
                (true, false) => "misaligned",
                (false, _) => "strided",
            };
            format!("a {layout} {}-D array of {}", array.ndim(), array.dtype())
        }
        Err(_) => object.get_type().name().map_or_else(|_| "another object".into(), |name| name.to_string()),
    };
    let wanted = T::get_dtype(py);
    PyTypeError::new_err(format!("{name} must be a contiguous 1-D numpy array of {wanted}, not {found}"))
}
