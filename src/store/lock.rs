//! The lock of an account: one process at a time, and whoever comes second learns who is first.
//!
//! It is the system's lock on an open file, so it ends with the process, however that ends. The
//! file itself stays: removing it would let two processes lock two files of the same name.

use std::{
    fmt,
    fs::{File, TryLockError},
    io::Write as _,
    path::Path,
    process,
};

use super::{
    error::OpenError,
    files::{open_private, read_small},
};

/// Name of the lock's file.
pub(super) const FILE: &str = "store.lock";

/// The lock, held until dropped.
pub(super) struct Lock {
    file: File,
}

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its program's name.
    pub program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.program, self.pid)
    }
}

impl Lock {
    /// Takes the lock of the account in `dir`.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(FILE);
        let io = |source| OpenError::io(&path, source);
        let mut file = open_private(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = read_small(&path).ok().flatten().unwrap_or_default();
                return Err(OpenError::Held { dir: dir.to_owned(), holder: parse(&text) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{} {}", process::id(), program()).map_err(io)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A name left behind would be wrong for a moment when the next process locks; no more.
        drop(self.file.set_len(0));
        // Unlocked by name: a child process that is just being started holds the same open file
        // until it runs its own program.
        drop(self.file.unlock());
    }
}

fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().map_or_else(|| "grotto".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Reads what a holder wrote; whoever can write into the folder can write here, so nothing but
/// a number and a printable name comes out.
fn parse(text: &[u8]) -> Option<Holder> {
    let text = String::from_utf8_lossy(text);
    let (pid, program) = text.lines().next()?.split_once(' ')?;
    let program = program.chars().filter(char::is_ascii_graphic).take(32).collect();
    Some(Holder { pid: pid.parse().ok()?, program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_process_learns_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let Err(OpenError::Held { holder: Some(holder), .. }) = Lock::take(dir.path()) else {
            panic!("locked twice");
        };
        assert_eq!(holder.pid, process::id());
        drop(first);
        assert!(Lock::take(dir.path()).is_ok());
    }

    #[test]
    fn the_name_of_the_holder_cannot_carry_escapes() {
        let program = "gro[2Jtto".to_owned();
        assert_eq!(parse(b"7 gro\x1b[2Jtto\nmore"), Some(Holder { pid: 7, program }));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"x y"), None);
    }
}
