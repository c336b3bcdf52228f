//! The CUDA kernels over device memory, which Python names by its addresses.
#![expect(
    clippy::too_many_arguments,
    reason = "keywords of one flat call: the stub beside the module lists them"
)]

use perce_cuda::{Arguments, Error, Objective, Stream};
use pyo3::prelude::*;

use crate::errors::raise_kernel;

#[pyfunction]
pub(crate) fn cuda_architectures() -> Vec<&'static str> {
    perce_cuda::architectures().collect()
}

#[pyfunction]
pub(crate) fn cuda_load(py: Python<'_>, device: i32) -> PyResult<()> {
    run(py, || perce_cuda::load(device))
}

#[pyfunction]
#[pyo3(signature = (
    *, device, stream, n_rows, vocab, logits, logits_dtype, logits_stride, grad, grad_dtype, grad_stride, labels,
    logp_without, weights_given, bias, logp, weights, entropy, logit_scale, logit_softcap, objective, params
))]
pub(crate) fn cuda_weighted_rows(
    py: Python<'_>,
    device: i32,
    stream: u64,
    n_rows: i64,
    vocab: i32,
    logits: u64,
    logits_dtype: &str,
    logits_stride: i64,
    grad: u64,
    grad_dtype: &str,
    grad_stride: i64,
    labels: u64,
    logp_without: u64,
    weights_given: u64,
    bias: u64,
    logp: u64,
    weights: u64,
    entropy: u64,
    logit_scale: f32,
    logit_softcap: f32,
    objective: &str,
    params: (f32, f32),
) -> PyResult<()> {
    run(py, || {
        let arguments = Arguments {
            logits,
            grad,
            labels,
            logp_without,
            weights_given,
            bias,
            logp,
            weights,
            entropy,
            n_rows,
            logits_stride,
            grad_stride,
            vocab,
            objective: objective.parse()?,
            params: params.into(),
            scale: logit_scale,
            softcap: logit_softcap,
        };
        let stream = Stream { device, handle: stream };
        perce_cuda::weighted_rows(stream, logits_dtype.parse()?, grad_dtype.parse()?, &arguments)
    })
}

#[pyfunction]
#[pyo3(signature = (
    *, device, stream, n_rows, vocab, logits, logits_dtype, logits_stride, labels, bias, logp, entropy, logit_scale,
    logit_softcap
))]
pub(crate) fn cuda_logp_rows(
    py: Python<'_>,
    device: i32,
    stream: u64,
    n_rows: i64,
    vocab: i32,
    logits: u64,
    logits_dtype: &str,
    logits_stride: i64,
    labels: u64,
    bias: u64,
    logp: u64,
    entropy: u64,
    logit_scale: f32,
    logit_softcap: f32,
) -> PyResult<()> {
    run(py, || {
        let arguments = Arguments {
            logits,
            grad: 0,
            labels,
            logp_without: 0,
            weights_given: 0,
            bias,
            logp,
            weights: 0,
            entropy,
            n_rows,
            logits_stride,
            grad_stride: 0,
            vocab,
            objective: Objective::Given,
            params: [0.0; 2],
            scale: logit_scale,
            softcap: logit_softcap,
        };
        perce_cuda::logp_rows(Stream { device, handle: stream }, logits_dtype.parse()?, &arguments)
    })
}

/// Calls without the GIL: loading takes its time, and a launch may wait for room in the stream's queue.
fn run(py: Python<'_>, call: impl FnOnce() -> Result<(), Error> + Send) -> PyResult<()> {
    py.detach(call).map_err(|error| raise_kernel(py, &error))
}
