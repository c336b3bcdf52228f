//! The token store: references to `NumPy` arrays, memory-mapped or not, validated once.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use perce_core::{Ragged, Sizes};
use pyo3::prelude::*;

use crate::arrays::{borrow, read, vector, write};
use crate::errors::raise;

type Vector<'py> = Bound<'py, PyArray1<i64>>;
type Object<'a, 'py> = &'a Bound<'py, PyAny>;

/// Prepared token ids of records: two prefixes and a response each.
#[pyclass(frozen, module = "perce._core")]
pub(crate) struct TokenStore {
    prefix_with: Column,
    prefix_without: Column,
    response: Column,
}

/// A ragged column: references that keep the arrays, and with them any memory map, alive.
struct Column {
    ids: Py<PyArray1<i32>>,
    offsets: Py<PyArray1<i64>>,
}

impl Column {
    fn new(name: &str, ids: Object<'_, '_>, offsets: Object<'_, '_>) -> PyResult<Self> {
        let ids = vector::<i32>(name, ids)?.clone().unbind();
        let offsets = vector::<i64>(&format!("{name}_offsets"), offsets)?.clone().unbind();
        Ok(Self { ids, offsets })
    }

    fn borrow<'py>(&self, py: Python<'py>) -> PyResult<BorrowedColumn<'py>> {
        let ids = borrow("the store", self.ids.bind(py))?;
        let offsets = borrow("the store", self.offsets.bind(py))?;
        Ok(BorrowedColumn { ids, offsets })
    }
}

/// A column's arrays while a call reads them.
struct BorrowedColumn<'py> {
    ids: PyReadonlyArray1<'py, i32>,
    offsets: PyReadonlyArray1<'py, i64>,
}

impl BorrowedColumn<'_> {
    fn view(&self) -> PyResult<Ragged<'_>> {
        Ok(Ragged { ids: self.ids.as_slice()?, offsets: self.offsets.as_slice()? })
    }
}

/// The sizes of a batch as Python takes them.
type Measures = (usize, usize, usize, usize, usize);

fn measures(sizes: &Sizes) -> Measures {
    let Sizes { tokens_with, tokens_without, response, longest_with, longest_without } = *sizes;
    (tokens_with, tokens_without, response, longest_with, longest_without)
}

impl TokenStore {
    /// Borrows the arrays, views them as a store of the core, and runs `call` without the GIL.
    fn with_view<R: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(perce_core::TokenStore<'_>) -> R + Send,
    ) -> PyResult<R> {
        let columns = [&self.prefix_with, &self.prefix_without, &self.response];
        let [with, without, response] = columns.map(|column| column.borrow(py));
        let (with, without, response) = (with?, without?, response?);
        let store = perce_core::TokenStore::reopen(with.view()?, without.view()?, response.view()?);
        Ok(py.detach(|| call(store)))
    }
}

#[pymethods]
impl TokenStore {
    #[new]
    fn new(
        py: Python<'_>,
        prefix_with: Object<'_, '_>,
        prefix_with_offsets: Object<'_, '_>,
        prefix_without: Object<'_, '_>,
        prefix_without_offsets: Object<'_, '_>,
        response: Object<'_, '_>,
        response_offsets: Object<'_, '_>,
    ) -> PyResult<Self> {
        let store = Self {
            prefix_with: Column::new("prefix_with", prefix_with, prefix_with_offsets)?,
            prefix_without: Column::new("prefix_without", prefix_without, prefix_without_offsets)?,
            response: Column::new("response", response, response_offsets)?,
        };
        store.with_view(py, |store| store.validate())?.map_err(|error| raise(py, error))?;
        Ok(store)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.with_view(py, |store| store.len())
    }

    /// Number of response tokens over all records.
    #[getter]
    fn n_response_tokens(&self, py: Python<'_>) -> PyResult<usize> {
        self.with_view(py, |store| store.response_tokens())
    }

    /// Whole-sequence lengths of every record: (with profile, without).
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<(Vector<'py>, Vector<'py>)> {
        let (with, without) = self.with_view(py, |store| store.lengths())?;
        Ok((with.into_pyarray(py), without.into_pyarray(py)))
    }

    /// Sizes and longest sequences of a batch.
    fn measure(&self, py: Python<'_>, records: Object<'_, '_>) -> PyResult<Measures> {
        let records = read::<i64>("records", records)?;
        let records = records.as_slice()?;
        let sizes = self.with_view(py, |store| store.measure(records))?;
        sizes.map(|sizes| measures(&sizes)).map_err(|error| raise(py, error))
    }

    /// Writes a batch into the caller's arrays; returns what `measure` does.
    #[pyo3(signature = (records, block, cu_seqlens, *, ignore=false))]
    fn collate(
        &self,
        py: Python<'_>,
        records: Object<'_, '_>,
        block: Object<'_, '_>,
        cu_seqlens: Object<'_, '_>,
        ignore: bool,
    ) -> PyResult<Measures> {
        let records = read::<i64>("records", records)?;
        let mut block = write::<i64>("block", block)?;
        let mut cu_seqlens = write::<i32>("cu_seqlens", cu_seqlens)?;
        let (records, block, cu_seqlens) =
            (records.as_slice()?, block.as_slice_mut()?, cu_seqlens.as_slice_mut()?);
        let sizes =
            self.with_view(py, |store| perce_core::collate(&store, records, ignore, block, cu_seqlens))?;
        sizes.map(|sizes| measures(&sizes)).map_err(|error| raise(py, error))
    }
}
