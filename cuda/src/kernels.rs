//! The kernels of each device: loaded once, then looked up.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use crate::driver::{Attribute, Context, Driver, Function, Library};
use crate::image::{image, oldest_driver};
use crate::{Element, Error};

/// The oldest compute capability compiled for.
const OLDEST_CAPABILITY: (i32, i32) = (8, 0);

/// One of the kernels of `kernels/rows.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) logits: Element,
    /// Type of the gradient, or None for the read-only kernel.
    pub(crate) grad: Option<Element>,
    /// Whether there is a bias or a softcap.
    pub(crate) adjusted: bool,
}

impl Kernel {
    const ROWS: [(Element, Option<Element>); 8] = [
        (Element::Float32, Some(Element::Float32)),
        (Element::Float32, Some(Element::BFloat16)),
        (Element::Float32, Some(Element::Float16)),
        (Element::BFloat16, Some(Element::BFloat16)),
        (Element::Float16, Some(Element::Float16)),
        (Element::Float32, None),
        (Element::BFloat16, None),
        (Element::Float16, None),
    ];

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::ROWS
            .into_iter()
            .flat_map(|(logits, grad)| [false, true].map(|adjusted| Self { logits, grad, adjusted }))
    }

    /// Its name in the image.
    pub(crate) fn name(self) -> String {
        let head = if self.adjusted { "full" } else { "plain" };
        match self.grad {
            Some(grad) => format!("perce_weighted_{}_{}_{head}", self.logits.name(), grad.name()),
            None => format!("perce_logp_{}_{head}", self.logits.name()),
        }
    }
}

/// A device with all kernels loaded.
pub(crate) struct Ready {
    pub(crate) context: Context,
    pub(crate) multiprocessors: u32,
    functions: Vec<(Kernel, Function)>,
}

impl Ready {
    pub(crate) fn function(&self, kernel: Kernel) -> Result<Function, Error> {
        let found = self.functions.iter().find(|(known, _)| *known == kernel).map(|(_, function)| *function);
        found.ok_or_else(|| Error::Argument {
            name: "dtype",
            reason: format!("there is no kernel {}", kernel.name()),
        })
    }
}

/// What has been loaded. Devices stay for the life of the process, so launches hold no lock.
struct Loaded {
    library: Option<Library>,
    devices: BTreeMap<i32, &'static Ready>,
}

static LOADED: Mutex<Loaded> = Mutex::new(Loaded { library: None, devices: BTreeMap::new() });

/// Loads every kernel into a device's primary context, so that nothing is left to load while a graph is captured; once
/// that is done, costs next to nothing.
///
/// # Errors
/// No kernels in this build, no driver or one too old, no such device or one too old, or a failing call of the driver.
pub fn load(device: i32) -> Result<(), Error> {
    ready(device).map(|_| ())
}

/// The device with its kernels, loaded the first time.
pub(crate) fn ready(device: i32) -> Result<&'static Ready, Error> {
    let image = image().ok_or(Error::NoKernels)?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ready) = loaded.devices.get(&device) {
        return Ok(ready);
    }
    let driver = Driver::get()?;
    let (found, needed) = (driver.version()?, oldest_driver());
    if found < needed {
        return Err(Error::DriverTooOld { found, needed });
    }
    let handle = driver.device(device)?;
    let capability = (
        driver.attribute(handle, Attribute::CapabilityMajor)?,
        driver.attribute(handle, Attribute::CapabilityMinor)?,
    );
    if capability < OLDEST_CAPABILITY {
        return Err(Error::Unsupported { device, capability });
    }
    let multiprocessors = driver.attribute(handle, Attribute::Multiprocessors)?.unsigned_abs();
    let context = driver.primary_context(handle)?;
    let library = match loaded.library {
        Some(library) => library,
        None => *loaded.library.insert(driver.load(image)?),
    };
    let entered = driver.enter(context)?;
    let mut functions = Vec::new();
    for kernel in Kernel::all() {
        let name = CString::new(kernel.name()).unwrap_or_default();
        functions.push((kernel, entered.function(library, &name)?));
    }
    let ready: &'static Ready = Box::leak(Box::new(Ready { context, multiprocessors, functions }));
    loaded.devices.insert(device, ready);
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::Kernel;

    /// The kernels' source names exactly the kernels that are looked up.
    #[test]
    fn names_are_those_of_the_source() {
        let source = include_str!("../kernels/rows.cu");
        let mut named: Vec<String> = Vec::new();
        for line in source.lines() {
            let Some((sweep, rest)) = line
                .strip_prefix("PERCE_")
                .filter(|_| !line.ends_with('\\'))
                .and_then(|line| line.split_once('('))
            else {
                continue;
            };
            let types: Vec<&str> = rest.trim_end_matches(')').split(", ").step_by(2).collect();
            let types = types.join("_");
            named.extend(
                ["plain", "full"].map(|head| format!("perce_{}_{types}_{head}", sweep.to_lowercase())),
            );
        }
        let mut known: Vec<String> = Kernel::all().map(Kernel::name).collect();
        known.sort();
        named.sort();
        assert_eq!(known, named);
    }
}
