//! The compiled kernels, embedded.

/// The driver reads the image's header as 64-bit words.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

static IMAGE: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("PERCE_CUDA_IMAGE")));

const ARCHITECTURES: &str = env!("PERCE_CUDA_ARCHITECTURES");

/// The fatbin, or None in a build without nvcc.
pub(crate) fn image() -> Option<&'static [u8]> {
    (!IMAGE.0.is_empty()).then_some(&IMAGE.0)
}

/// What the embedded fatbin holds, `sm_80` to `compute_120`; nothing in a build without nvcc.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.split(',').filter(|name| !name.is_empty())
}

/// The lowest driver version that loads the image, as `cuDriverGetVersion` counts: that of the toolkit's major release.
pub(crate) fn oldest_driver() -> i32 {
    env!("PERCE_CUDA_MAJOR").parse::<i32>().unwrap_or(0) * 1000
}
