//! What can keep a kernel from running.

use std::fmt;

/// Why kernels cannot be loaded or launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The build found no nvcc.
    NoKernels,
    /// The driver's library cannot be opened, or lacks a function.
    NoDriver {
        /// What the system's loader said.
        reason: String,
    },
    /// The driver is older than the toolkit that compiled the kernels.
    DriverTooOld {
        /// CUDA version the driver supports, as 1000 * major + 10 * minor.
        found: i32,
        /// The one needed.
        needed: i32,
    },
    /// There is no device of this index.
    NoDevice {
        /// The index asked for.
        device: i32,
        /// How many devices the driver shows.
        count: i32,
    },
    /// The device is older than the oldest one compiled for.
    Unsupported {
        /// Its index.
        device: i32,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// An argument that no kernel can work with.
    Argument {
        /// Its name at the Python interface.
        name: &'static str,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A call to the driver failed.
    Call {
        /// The driver's function.
        function: &'static str,
        /// The driver's name of the error, such as `CUDA_ERROR_OUT_OF_MEMORY`.
        name: String,
    },
}

fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernels => f.write_str(
                "this build of perce has no CUDA kernels: install the wheel, or build where nvcc is (docs/guides/building.md)",
            ),
            Self::NoDriver { reason } => {
                write!(f, "NVIDIA's driver cannot be used ({reason}): install it, or choose the torch back end")
            }
            Self::DriverTooOld { found, needed } => write!(
                f,
                "the driver supports CUDA {}, the kernels need {}: update the driver, or choose the torch back end",
                version(*found),
                version(*needed)
            ),
            Self::NoDevice { device, count } => {
                write!(f, "there is no CUDA device {device}: the driver shows {count}")
            }
            Self::Unsupported { device, capability: (major, minor) } => write!(
                f,
                "CUDA device {device} has compute capability {major}.{minor}, the kernels need 8.0 or newer: choose the torch back end"
            ),
            Self::Argument { name, reason } => write!(f, "{name}: {reason}"),
            Self::Call { function, name } => write!(f, "{function} failed: {name}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn messages_name_the_cause_and_the_remedy() {
        let too_old = Error::DriverTooOld { found: 12080, needed: 13000 };
        assert_eq!(
            too_old.to_string(),
            "the driver supports CUDA 12.8, the kernels need 13.0: update the driver, or choose the torch back end"
        );
        let unsupported = Error::Unsupported { device: 1, capability: (7, 5) };
        assert!(unsupported.to_string().starts_with("CUDA device 1 has compute capability 7.5"));
        assert_eq!(
            Error::Call { function: "cuLaunchKernel", name: "CUDA_ERROR_LAUNCH_FAILED".into() }.to_string(),
            "cuLaunchKernel failed: CUDA_ERROR_LAUNCH_FAILED"
        );
    }
}
