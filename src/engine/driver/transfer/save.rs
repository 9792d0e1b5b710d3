//! A file that is being saved: under a name of its own until it is whole and checked, gone if it
//! never is. Nothing that exists is overwritten, no link is followed into it, nothing is opened.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::{
    fs::{File, OpenOptions},
    io::AsyncWriteExt as _,
};

use super::line::impossible;
use crate::{
    engine::{SaveTo, TransferFailure},
    matrix::safe_file_name,
};

/// How many names beside the wanted one are tried.
const MOST_NAMES: u32 = 1000;

/// A file that is not whole yet.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    /// Where it is now; removed when this is dropped.
    path: Removed,
    target: Target,
}

/// What it will be called.
#[derive(Debug)]
enum Target {
    /// The first free one of the names that this one begins.
    Beside(PathBuf),
    /// This, or nothing.
    Exactly(PathBuf),
}

/// A file that goes when this does.
#[derive(Debug)]
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(kind = ?error.kind(), "a partial download stays"),
        }
    }
}

impl Part {
    /// Makes an empty file for the owner alone, beside where it will be.
    pub(super) async fn create(to: &SaveTo, name: &str) -> Result<Self, TransferFailure> {
        let target = match to {
            SaveTo::Folder(folder) => Target::Beside(Path::new(folder).join(safe_file_name(name))),
            SaveTo::File(path) => Target::Exactly(PathBuf::from(path)),
        };
        let wanted = match &target {
            Target::Beside(path) | Target::Exactly(path) => path,
        };
        if let Target::Exactly(path) = &target
            && fs::symlink_metadata(path).is_ok()
        {
            return Err(exists(path));
        }
        let folder = wanted.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let cannot = |error: io::Error| {
            impossible("file", format!("nothing can be saved in {}: {error}", folder.display()))
        };
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)
            .map_err(|error| impossible("no_randomness", error.to_string()))?;
        let path = folder.join(format!(".grotto-{:016x}.part", u64::from_be_bytes(bytes)));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let file = options.open(&path).await.map_err(cannot)?;
        Ok(Self { file, path: Removed(path), target })
    }

    /// Writes the next piece.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), TransferFailure> {
        let written = self.file.write_all(piece).await;
        written.map_err(|error| impossible("file", format!("the file cannot be written: {error}")))
    }

    /// It is whole and checked: gives it its name, on disk before that is said.
    pub(super) async fn keep(mut self) -> Result<String, TransferFailure> {
        let cannot =
            |error: io::Error| impossible("file", format!("the file cannot be saved: {error}"));
        self.file.flush().await.map_err(cannot)?;
        self.file.sync_all().await.map_err(cannot)?;
        let path = match &self.target {
            Target::Exactly(path) => match rename_new(&self.path.0, path) {
                Ok(()) => path.clone(),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(exists(path));
                }
                Err(error) => return Err(cannot(error)),
            },
            Target::Beside(path) => self.first_free(path).map_err(cannot)?,
        };
        Ok(path.display().to_string())
    }

    fn first_free(&self, wanted: &Path) -> io::Result<PathBuf> {
        for number in 1..=MOST_NAMES {
            let path = numbered(wanted, number);
            match rename_new(&self.path.0, &path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many files have this name"))
    }
}

fn exists(path: &Path) -> TransferFailure {
    let words = format!("{} exists already; nothing was overwritten", path.display());
    impossible("exists", words)
}

/// `name.ending`, `name (2).ending`, …
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number < 2 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(ending) => format!("{stem} ({number}).{}", ending.to_string_lossy()),
        None => format!("{stem} ({number})"),
    };
    path.with_file_name(name)
}

/// Gives a file a name that must be free. The system tells in the same step whether it was.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // File systems without hard links: the name is taken first, then what stands there.
        Err(_) => {
            drop(fs::OpenOptions::new().write(true).create_new(true).open(to)?);
            fs::rename(from, to).inspect_err(|_| drop(fs::remove_file(to)))
        }
    }
}
