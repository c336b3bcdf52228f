//! What a launch is told, and which of it cannot work.

use std::ops::Range;
use std::str::FromStr;

use crate::Error;

/// Type of the logits' or gradients' elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE single precision.
    Float32,
    /// The upper half of a single.
    BFloat16,
    /// IEEE half precision.
    Float16,
}

impl Element {
    /// Its name in `PyTorch` and in the kernels' names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::BFloat16 => "bfloat16",
            Self::Float16 => "float16",
        }
    }

    fn size(self) -> u64 {
        match self {
            Self::Float32 => 4,
            Self::BFloat16 | Self::Float16 => 2,
        }
    }
}

impl FromStr for Element {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [Self::Float32, Self::BFloat16, Self::Float16]
            .into_iter()
            .find(|element| element.name() == name)
            .ok_or_else(|| argument("dtype", format!("{name:?}: give float32, bfloat16 or float16")))
    }
}

/// Where the rows' weights come from; formulas in `kernels/weights.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Objective {
    /// From the caller.
    Given,
    /// 1.
    Ce,
    /// PIR between two bounds.
    Perce,
    /// exp(PIR), bounded.
    LongCe,
    /// Entropy.
    EntCe,
    /// Probability of the target.
    Dft,
    /// One of two values by the gain in probability.
    NextQuill,
}

impl Objective {
    const NAMES: [(&'static str, Self); 7] = [
        ("given", Self::Given),
        ("ce", Self::Ce),
        ("perce", Self::Perce),
        ("longce", Self::LongCe),
        ("entce", Self::EntCe),
        ("dft", Self::Dft),
        ("nextquill", Self::NextQuill),
    ];

    fn needs_logp_without(self) -> bool {
        matches!(self, Self::Perce | Self::LongCe | Self::NextQuill)
    }
}

impl FromStr for Objective {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, objective)| objective).ok_or_else(
            || {
                argument(
                    "objective",
                    format!("the kernels do not know {name:?}: give its weights, with \"given\""),
                )
            },
        )
    }
}

/// The kernels' argument, passed as it lies here: the twin of `Arguments` in `kernels/arguments.cuh`.
///
/// Addresses are those of device memory, 0 where absent. This crate never reads through them, and the device reports a
/// wrong one as an error of a later call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Arguments {
    /// `[n_rows, vocab]`.
    pub logits: u64,
    /// `[n_rows, vocab]`, or absent; it may be the logits' own memory.
    pub grad: u64,
    /// int64 `[n_rows]`.
    pub labels: u64,
    /// float32 `[n_rows]`, where the objective needs it.
    pub logp_without: u64,
    /// float32 `[n_rows]`, where weights are given.
    pub weights_given: u64,
    /// float32 `[vocab]`, or absent.
    pub bias: u64,
    /// float32 `[n_rows]`, written.
    pub logp: u64,
    /// float32 `[n_rows]`, written, or absent.
    pub weights: u64,
    /// float32 `[n_rows]`, written, or absent.
    pub entropy: u64,
    /// Number of rows.
    pub n_rows: i64,
    /// Elements from a row of logits to the next.
    pub logits_stride: i64,
    /// Elements from a row of gradients to the next.
    pub grad_stride: i64,
    /// Columns.
    pub vocab: i32,
    /// Where weights come from.
    pub objective: Objective,
    /// The objective's options, in the order of its signature.
    pub params: [f32; 2],
    /// Factor of the logits.
    pub scale: f32,
    /// Bound of the logits, 0 for none.
    pub softcap: f32,
}

const _: () = assert!(size_of::<Arguments>() == 120, "its twins have 120 bytes");

/// Columns above it would overflow the kernels' 32-bit arithmetic.
const MAX_VOCAB: i32 = 1 << 30;

fn argument(name: &'static str, reason: impl Into<String>) -> Error {
    Error::Argument { name, reason: reason.into() }
}

impl Arguments {
    /// Whether the logits are more than a multiple of the raw product.
    pub(crate) fn adjusted(&self) -> bool {
        self.bias != 0 || self.softcap != 0.0
    }

    /// Checks what both kernels read.
    pub(crate) fn check_logits(&self, logits: Element) -> Result<(), Error> {
        if self.n_rows < 0 {
            return Err(argument("n_rows", format!("{}: give 0 or more", self.n_rows)));
        }
        if !(1..=MAX_VOCAB).contains(&self.vocab) {
            return Err(argument("vocab", format!("{}: give 1 to {MAX_VOCAB}", self.vocab)));
        }
        for (name, value) in [("logit_scale", self.scale), ("logit_softcap", self.softcap)] {
            if !value.is_finite() || (name == "logit_softcap" && value < 0.0) {
                return Err(argument(name, format!("{value}: give a finite number, no softcap below 0")));
            }
        }
        for (name, address, size, needed) in [
            ("logits", self.logits, logits.size(), true),
            ("labels", self.labels, 8, true),
            ("logp", self.logp, 4, true),
            ("bias", self.bias, 4, false),
            ("entropy", self.entropy, 4, false),
        ] {
            check_address(name, address, size, needed)?;
        }
        check_stride("logits_stride", self.logits_stride, self.n_rows, self.vocab)
    }

    /// Checks what the weighted kernel reads and writes besides.
    pub(crate) fn check_weighting(&self, logits: Element, grad: Element) -> Result<(), Error> {
        let without = self.objective.needs_logp_without();
        let given = self.objective == Objective::Given;
        for (name, address, size, needed) in [
            ("logp_without", self.logp_without, 4, without),
            ("weights_given", self.weights_given, 4, given),
            ("weights", self.weights, 4, false),
            ("grad", self.grad, grad.size(), false),
        ] {
            check_address(name, address, size, needed)?;
        }
        if grad != logits && logits != Element::Float32 {
            let (from, to) = (logits.name(), grad.name());
            return Err(argument("grad_dtype", format!("{to} from {from} logits: give {from}")));
        }
        if self.grad == 0 {
            return Ok(());
        }
        check_stride("grad_stride", self.grad_stride, self.n_rows, self.vocab)?;
        let (read, written) = (
            self.bytes(self.logits, self.logits_stride, logits),
            self.bytes(self.grad, self.grad_stride, grad),
        );
        let apart = read.end <= written.start || written.end <= read.start;
        let same = self.logits == self.grad
            && (self.n_rows < 2
                || i128::from(self.logits_stride) * i128::from(logits.size())
                    == i128::from(self.grad_stride) * i128::from(grad.size()));
        if apart || same {
            return Ok(());
        }
        Err(argument(
            "grad",
            "it overlaps the logits: give memory of its own, or the logits' address with a row stride of as many bytes",
        ))
    }

    /// Addresses from the first row's begin to the last one's end.
    fn bytes(&self, address: u64, stride: i64, element: Element) -> Range<i128> {
        let elements = i128::from(self.n_rows - 1).max(0) * i128::from(stride) + i128::from(self.vocab);
        let start = i128::from(address);
        start..start + elements * i128::from(element.size())
    }
}

fn check_address(name: &'static str, address: u64, size: u64, needed: bool) -> Result<(), Error> {
    if needed && address == 0 {
        return Err(argument(name, "it is needed here: give its address"));
    }
    if address % size != 0 {
        return Err(argument(name, format!("address {address:#x} is no multiple of {size} bytes")));
    }
    Ok(())
}

fn check_stride(name: &'static str, stride: i64, n_rows: i64, vocab: i32) -> Result<(), Error> {
    if n_rows > 1 && stride < i64::from(vocab) {
        return Err(argument(name, format!("{stride}: rows of {vocab} would overlap")));
    }
    Ok(())
}
