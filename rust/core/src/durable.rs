//! Files that appear whole or not at all, also when power is lost.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::ledger_error::LedgerError;

/// Writes a file beside its place, syncs it, and renames it into place: a reader sees the old file or the new one.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), LedgerError> {
    let beside = beside(path);
    let written = File::create(&beside).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()
    });
    if let Err(source) = written.and_then(|()| fs::rename(&beside, path)) {
        // A second failure has nothing to add: the first one is what to act on.
        let _ = fs::remove_file(&beside);
        return Err(LedgerError::Io { action: "write", path: path.to_owned(), source });
    }
    sync_folder(path)
}

/// Makes a file's name in its folder durable, where the system has a notion of it.
pub(crate) fn sync_folder(path: &Path) -> Result<(), LedgerError> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(LedgerError::io("sync", folder))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}
