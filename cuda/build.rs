//! Compiles `kernels/rows.cu` into one fatbin for `src/image.rs` to embed.
//!
//! `PERCE_CUDA=off` builds without kernels; `required` fails where there is no nvcc; unset, a build without nvcc succeeds
//! with a warning. docs/kernel.md says where nvcc is looked for.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "cargo reads one and shows the other")]

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Compute capabilities compiled for; the last one as PTX, too, which later devices compile for themselves. A device
/// between two major ones (11.0) has neither: loading fails there, and the ops take `PyTorch`'s operations.
const CAPABILITIES: [&str; 6] = ["80", "86", "89", "90", "100", "120"];

/// Contraction is off so that the device rounds as the host build of the tests does.
const FLAGS: [&str; 5] = ["--std=c++20", "-O3", "--fmad=false", "--fatbin", "--compress-mode=size"];

/// The first toolkit that knows every capability and the compression.
const OLDEST_TOOLKIT: (u32, u32) = (12, 8);

const REMEDY: &str = "install the toolchain of requirements/kernels.txt, or set CUDA_HOME to a CUDA toolkit \
                      of 12.8 or newer; PERCE_CUDA=off builds without kernels";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-changed=build.rs");
    for variable in ["PERCE_CUDA", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "PYO3_PYTHON", "PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let folder = PathBuf::from(env::var("OUT_DIR")?);
    let mode = env::var("PERCE_CUDA").unwrap_or_default();
    let toolkit = match mode.as_str() {
        "off" => None,
        "" | "required" => match Toolkit::find() {
            Err(reason) if mode == "required" => return Err(format!("{reason}: {REMEDY}").into()),
            Err(reason) => {
                println!("cargo:warning=perce without CUDA kernels: {reason}: {REMEDY}");
                None
            }
            Ok(toolkit) => Some(toolkit),
        },
        other => return Err(format!("PERCE_CUDA={other}: give off, required, or leave it unset").into()),
    };
    let (image, architectures, major) = match toolkit {
        None => (without_kernels(&folder)?, String::new(), 0),
        Some(toolkit) => (toolkit.compile(&folder)?, architectures(), toolkit.version.0),
    };
    println!("cargo:rustc-env=PERCE_CUDA_IMAGE={}", image.display());
    println!("cargo:rustc-env=PERCE_CUDA_ARCHITECTURES={architectures}");
    println!("cargo:rustc-env=PERCE_CUDA_MAJOR={major}");
    Ok(())
}

fn without_kernels(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let image = folder.join("empty.fatbin");
    fs::write(&image, [])?;
    Ok(image)
}

/// What the fatbin holds, as `perce env` shows it.
fn architectures() -> String {
    let mut names: Vec<String> = CAPABILITIES.iter().map(|capability| format!("sm_{capability}")).collect();
    names.extend(CAPABILITIES.last().map(|newest| format!("compute_{newest}")));
    names.join(",")
}

/// An nvcc that can compile the kernels.
struct Toolkit {
    nvcc: PathBuf,
    version: (u32, u32),
    /// What `nvcc --version` says, whole.
    description: String,
}

impl Toolkit {
    /// The first nvcc of those looked for, or why it cannot be used.
    fn find() -> Result<Self, String> {
        let nvcc = candidates().into_iter().find(|path| path.is_file()).ok_or("no nvcc was found")?;
        let description = output(&nvcc, ["--version"])?;
        let version =
            release(&description).ok_or_else(|| format!("{} --version names no release", nvcc.display()))?;
        if version < OLDEST_TOOLKIT {
            return Err(format!("{} is of CUDA {}.{}", nvcc.display(), version.0, version.1));
        }
        Ok(Self { nvcc, version, description })
    }

    /// The fatbin, compiled unless this very one is there already: nvcc takes a minute for it.
    fn compile(&self, folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
        let image = folder.join(format!("rows-{:016x}.fatbin", self.fingerprint()?));
        if image.is_file() {
            return Ok(image);
        }
        let part = folder.join("rows.part");
        let mut command = Command::new(&self.nvcc);
        command.args(FLAGS).arg("--threads").arg(env::var("NUM_JOBS").unwrap_or_else(|_| "1".into()));
        for capability in CAPABILITIES {
            command.arg(format!("-gencode=arch=compute_{capability},code=sm_{capability}"));
        }
        if let Some(newest) = CAPABILITIES.last() {
            command.arg(format!("-gencode=arch=compute_{newest},code=compute_{newest}"));
        }
        command.arg("-o").arg(&part).arg("kernels/rows.cu");
        let result = command.output()?;
        if !result.status.success() {
            let said = String::from_utf8_lossy(&result.stderr);
            return Err(format!("{} failed on kernels/rows.cu: {REMEDY}\n{said}", self.nvcc.display()).into());
        }
        fs::rename(&part, &image)?;
        Ok(image)
    }

    /// Of all that decides about the fatbin.
    fn fingerprint(&self) -> Result<u64, Box<dyn Error>> {
        let mut hasher = DefaultHasher::new();
        (FLAGS, CAPABILITIES, &self.description).hash(&mut hasher);
        let mut sources: Vec<PathBuf> = fs::read_dir("kernels")?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        sources.sort();
        for source in sources {
            (&source, fs::read(&source)?).hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}

/// Where nvcc may be, best first.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os)
        .filter(|home| !home.is_empty())
        .map(|home| Path::new(&home).join("bin"))
        .collect();
    if let Some(path) = env::var_os("PATH") {
        folders.extend(env::split_paths(&path));
    }
    for python in pythons() {
        // PyPI's packages share the namespace `nvidia`; build isolation may spread it over several folders.
        let listing = "import nvidia; print('\\n'.join(nvidia.__path__))";
        if let Ok(paths) = output(&python, ["-c", listing]) {
            folders.extend(paths.lines().map(|path| Path::new(path).join("cu13/bin")));
        }
    }
    folders.into_iter().map(|folder| folder.join("nvcc")).collect()
}

/// The interpreters of the build environment.
fn pythons() -> Vec<PathBuf> {
    let chosen = env::var_os("PYO3_PYTHON").map(PathBuf::from);
    let of_environment = env::var_os("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python"));
    chosen.into_iter().chain(of_environment).chain([PathBuf::from("python3")]).collect()
}

fn output<const N: usize>(program: &Path, arguments: [&str; N]) -> Result<String, String> {
    let result = Command::new(program)
        .args(arguments.map(OsStr::new))
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if !result.status.success() {
        return Err(format!(
            "{} failed: {}",
            program.display(),
            String::from_utf8_lossy(&result.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// (13, 0) of "... release 13.0, V13.0.88 ...".
fn release(description: &str) -> Option<(u32, u32)> {
    let (_, rest) = description.split_once("release ")?;
    let (major, rest) = rest.split_once('.')?;
    let minor = rest.split(|character: char| !character.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
