//! The CUDA kernels of perce: from the logits of a chunk of rows to log-probabilities, weights and gradients.
//!
//! The kernels (`kernels/`) are compiled at build time and embedded; at run time the driver's library is opened, never
//! linked, so that one wheel serves machines with and without a GPU. [`load`] brings the kernels onto a device,
//! [`weighted_rows`] and [`logp_rows`] launch them on a stream and return at once.

mod arguments;
mod driver;
mod error;
mod image;
mod kernels;
mod launch;

pub use arguments::{Arguments, Element, Objective};
pub use error::Error;
pub use image::architectures;
pub use kernels::load;
pub use launch::{Stream, logp_rows, weighted_rows};
