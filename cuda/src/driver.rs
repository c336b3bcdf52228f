//! The few functions of the CUDA driver that the kernels need, opened at run time, behind safe calls.
//!
//! All unsafe code of the workspace is here. References: the CUDA driver API, chapters on initialisation, primary
//! contexts, libraries and execution control.
#![allow(unsafe_code, reason = "the driver is a C library: to open and to call it is unsafe by nature")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;

use libloading::Library as SharedLibrary;

use crate::{Arguments, Error};

/// Declares the table of the driver's functions; each returns a `CUresult`.
macro_rules! functions {
    ($($name:ident = $symbol:literal ($($argument:ty),*);)*) => {
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Functions {
            /// Looks every function up.
            ///
            /// # Safety
            /// The library is the CUDA driver, whose functions have these signatures, and is never closed.
            unsafe fn of(library: &SharedLibrary) -> Result<Self, Error> {
                $(
                    // SAFETY: the caller vouches for the signature and for the library's life.
                    let $name = unsafe { library.get(concat!($symbol, "\0").as_bytes()) }
                        .map(|function| *function)
                        .map_err(|_| Error::NoDriver { reason: concat!("it has no ", $symbol).into() })?;
                )*
                Ok(Self { $($name,)* })
            }
        }
    };
}

functions! {
    init = "cuInit" (c_uint);
    driver_version = "cuDriverGetVersion" (*mut c_int);
    error_name = "cuGetErrorName" (c_int, *mut *const c_char);
    device_count = "cuDeviceGetCount" (*mut c_int);
    device = "cuDeviceGet" (*mut c_int, c_int);
    device_attribute = "cuDeviceGetAttribute" (*mut c_int, c_int, c_int);
    retain_context = "cuDevicePrimaryCtxRetain" (*mut Handle, c_int);
    push_context = "cuCtxPushCurrent_v2" (Handle);
    pop_context = "cuCtxPopCurrent_v2" (*mut Handle);
    load_library = "cuLibraryLoadData" (
        *mut Handle, *const c_void, *mut c_int, *mut *mut c_void, c_uint, *mut c_int, *mut *mut c_void, c_uint
    );
    library_kernel = "cuLibraryGetKernel" (*mut Handle, Handle, *const c_char);
    kernel_function = "cuKernelGetFunction" (*mut Handle, Handle);
    load_function = "cuFuncLoad" (Handle);
    occupancy = "cuOccupancyMaxActiveBlocksPerMultiprocessor" (*mut c_int, Handle, c_int, usize);
    launch = "cuLaunchKernel" (
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void
    );
}

/// A pointer that only the driver looks behind.
type Handle = *mut c_void;

/// A device's property, by its number in `CUdevice_attribute`.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(crate) enum Attribute {
    Multiprocessors = 16,
    CapabilityMajor = 75,
    CapabilityMinor = 76,
}

/// A device the driver has shown.
#[derive(Clone, Copy)]
pub(crate) struct Device(c_int);

/// A device's primary context, the one that `PyTorch` works in; retained for the life of the process.
#[derive(Clone, Copy)]
pub(crate) struct Context(Handle);

/// The embedded kernels, known to the driver; of no context.
#[derive(Clone, Copy)]
pub(crate) struct Library(Handle);

/// A kernel, loaded into a context.
#[derive(Clone, Copy)]
pub(crate) struct Function(Handle);

// SAFETY: the handles are names that the driver may be given from any thread; nothing here looks behind them.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Context {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// The driver, opened and initialised.
pub(crate) struct Driver {
    functions: Functions,
    /// Kept open: the functions live in it.
    _library: SharedLibrary,
}

impl Driver {
    /// Opens the driver the first time; what came of it stands for the life of the process.
    pub(crate) fn get() -> Result<&'static Self, Error> {
        static DRIVER: OnceLock<Result<Driver, Error>> = OnceLock::new();
        DRIVER.get_or_init(Self::open).as_ref().map_err(Clone::clone)
    }

    fn open() -> Result<Self, Error> {
        // SAFETY: the driver's library is made to be loaded into any process, and stays loaded.
        let library = unsafe { SharedLibrary::new("libcuda.so.1") }
            .map_err(|error| Error::NoDriver { reason: error.to_string() })?;
        // SAFETY: the signatures are those of cuda.h, and the library is kept beside the functions, in a static.
        let functions = unsafe { Functions::of(&library) }?;
        let driver = Self { functions, _library: library };
        // SAFETY: 0 is the only flag there is.
        driver.named("cuInit", unsafe { (driver.functions.init)(0) })?;
        Ok(driver)
    }

    /// The CUDA version it supports, 1000 * major + 10 * minor.
    pub(crate) fn version(&self) -> Result<i32, Error> {
        let mut version = 0;
        // SAFETY: the driver writes one int there.
        self.named("cuDriverGetVersion", unsafe { (self.functions.driver_version)(&raw mut version) })?;
        Ok(version)
    }

    pub(crate) fn device(&self, index: i32) -> Result<Device, Error> {
        let mut count = 0;
        // SAFETY: the driver writes one int there.
        self.named("cuDeviceGetCount", unsafe { (self.functions.device_count)(&raw mut count) })?;
        if !(0..count).contains(&index) {
            return Err(Error::NoDevice { device: index, count });
        }
        let mut device = 0;
        // SAFETY: the driver writes one int there.
        self.named("cuDeviceGet", unsafe { (self.functions.device)(&raw mut device, index) })?;
        Ok(Device(device))
    }

    pub(crate) fn attribute(&self, device: Device, attribute: Attribute) -> Result<i32, Error> {
        let mut value = 0;
        // SAFETY: the driver writes one int there.
        let result =
            unsafe { (self.functions.device_attribute)(&raw mut value, attribute as c_int, device.0) };
        self.named("cuDeviceGetAttribute", result)?;
        Ok(value)
    }

    pub(crate) fn primary_context(&self, device: Device) -> Result<Context, Error> {
        let mut context = ptr::null_mut();
        // SAFETY: the driver writes one handle there.
        let result = unsafe { (self.functions.retain_context)(&raw mut context, device.0) };
        self.named("cuDevicePrimaryCtxRetain", result)?;
        Ok(Context(context))
    }

    /// Makes a context this thread's current one until the guard is dropped.
    pub(crate) fn enter(&self, context: Context) -> Result<Entered<'_>, Error> {
        // SAFETY: the context is a primary one that is never released.
        self.named("cuCtxPushCurrent", unsafe { (self.functions.push_context)(context.0) })?;
        Ok(Entered { driver: self, of_this_thread: PhantomData })
    }

    pub(crate) fn load(&self, image: &'static [u8]) -> Result<Library, Error> {
        let mut library = ptr::null_mut();
        let none = ptr::null_mut;
        // SAFETY: the image is a whole fatbin that lives as long as the process; there are no options.
        let result = unsafe {
            let code = image.as_ptr().cast();
            (self.functions.load_library)(
                &raw mut library,
                code,
                none(),
                ptr::null_mut(),
                0,
                none(),
                ptr::null_mut(),
                0,
            )
        };
        self.named("cuLibraryLoadData", result)?;
        Ok(Library(library))
    }

    /// The driver's name of a result that is not success, as an error of the function.
    fn named(&self, function: &'static str, result: c_int) -> Result<(), Error> {
        if result == 0 {
            return Ok(());
        }
        let mut name = ptr::null();
        // SAFETY: the driver writes one pointer there.
        let known = unsafe { (self.functions.error_name)(result, &raw mut name) } == 0 && !name.is_null();
        let name = if known {
            // SAFETY: the driver's names are constant, terminated strings.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        } else {
            format!("error {result}")
        };
        Err(Error::Call { function, name })
    }
}

/// This thread works in a context; the one before it returns when this is dropped.
pub(crate) struct Entered<'a> {
    driver: &'a Driver,
    /// Contexts are a matter of the thread: the guard must not leave it.
    of_this_thread: PhantomData<*const ()>,
}

impl Entered<'_> {
    /// Loads a kernel into the context at once: while a graph is captured, nothing may load.
    pub(crate) fn function(&self, library: Library, name: &CStr) -> Result<Function, Error> {
        let Functions { library_kernel, kernel_function, load_function, .. } = self.driver.functions;
        let (mut kernel, mut function) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the library is loaded, the name terminated; the driver writes one handle there.
        let result = unsafe { library_kernel(&raw mut kernel, library.0, name.as_ptr()) };
        self.driver.named("cuLibraryGetKernel", result)?;
        // SAFETY: the kernel is the one just found; the driver writes one handle there.
        self.driver.named("cuKernelGetFunction", unsafe { kernel_function(&raw mut function, kernel) })?;
        // SAFETY: the function is the one just found.
        self.driver.named("cuFuncLoad", unsafe { load_function(function) })?;
        Ok(Function(function))
    }

    /// Blocks of so many threads that fit on a multiprocessor at once.
    pub(crate) fn occupancy(&self, function: Function, threads: u32) -> Result<u32, Error> {
        let mut blocks = 0;
        let threads = c_int::try_from(threads).unwrap_or(c_int::MAX);
        // SAFETY: the function is loaded; the driver writes one int there.
        let result = unsafe { (self.driver.functions.occupancy)(&raw mut blocks, function.0, threads, 0) };
        self.driver.named("cuOccupancyMaxActiveBlocksPerMultiprocessor", result)?;
        Ok(blocks.unsigned_abs())
    }

    /// Launches a kernel that takes [`Arguments`] on a stream of the context; does not wait for it.
    pub(crate) fn launch(
        &self,
        function: Function,
        (blocks, threads): (u32, u32),
        stream: u64,
        arguments: &Arguments,
    ) -> Result<(), Error> {
        let mut parameters = [ptr::from_ref(arguments).cast_mut().cast::<c_void>()];
        let stream = stream as Handle;
        // SAFETY: every kernel has the one parameter, of this layout, which the driver copies before it returns. The
        // stream is the caller's: a handle of PyTorch's, or 0 for the default one.
        let result = unsafe {
            let parameters = parameters.as_mut_ptr();
            (self.driver.functions.launch)(
                function.0,
                blocks,
                1,
                1,
                threads,
                1,
                1,
                0,
                stream,
                parameters,
                ptr::null_mut(),
            )
        };
        self.driver.named("cuLaunchKernel", result)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut context = ptr::null_mut();
        // SAFETY: the guard pushed a context on this thread's stack. A failure could not be told to anybody: the driver
        // is shutting down, or has told of its trouble before.
        unsafe { (self.driver.functions.pop_context)(&raw mut context) };
    }
}
