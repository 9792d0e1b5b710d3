//! Files and folders that only their owner may read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

use super::error::OpenError;

/// Makes a folder, and what is missing above it, for the owner alone.
pub(super) fn make_folder(dir: &Path) -> Result<(), OpenError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).and_then(|()| restrict(dir, 0o700)).map_err(|e| OpenError::io(dir, e))
}

/// Opens a file for reading and writing, making it for the owner alone when it is missing.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Replaces a file in one step: after a crash there is the old content or the new.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    remove(&fresh)?;
    let mut file = open_private(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder(path)
}

/// Reads a small file whole; `None` when it is missing.
///
/// # Errors
/// When it cannot be read, or is larger than any that we write.
pub(super) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    const LIMIT: u64 = 4096;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Room for all of it at once, so that no copy of a key is left behind by a growing buffer.
    let mut content = Vec::with_capacity(4096);
    file.take(LIMIT).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Overwrites what a file holds. On copying file systems and flash the old blocks may survive.
pub(super) fn overwrite(mut file: &File) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a rename or removal in the folder of `path` survive a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        #[cfg(unix)]
        Some(folder) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Refuses a file or folder that others may read or write.
#[cfg(unix)]
pub(super) fn check_private(path: &Path, wanted: u32) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).map_err(|e| OpenError::io(path, e))?.permissions().mode();
    let others = mode & 0o077;
    if others == 0 {
        return Ok(());
    }
    Err(OpenError::Exposed { path: path.to_owned(), mode: mode & 0o7777, wanted })
}

/// Where there are no modes, the profile folder's own protection has to do.
#[cfg(not(unix))]
pub(super) fn check_private(_path: &Path, _wanted: u32) -> Result<(), OpenError> {
    Ok(())
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn restrict(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}
