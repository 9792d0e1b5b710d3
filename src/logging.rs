//! Tracing to a file, filtered, never to the terminal; a service's to standard error.
//!
//! Only lines of this program get in: libraries write URLs and frames into theirs. A line holds
//! kinds, counts and times: no names, no text, no keys; ids go through
//! [`crate::secret::Pseudonyms`].

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    panic,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt as _, util::TryInitError,
};

/// A file that is larger when a run begins makes room for a new one; one old file is kept.
const ROTATE_BYTES: u64 = 4 << 20;
/// What one run writes at most.
const RUN_BYTES: u64 = 16 << 20;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be written.
    #[error("the log file {path} cannot be written", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is a log already.
    #[error("logging was started twice")]
    Twice(#[from] TryInitError),
}

/// Starts logging into `path` (mode 0600; its folder is made, mode 0700), and sends panics there
/// too, by their place only: their words may hold anything.
///
/// # Errors
/// When the file cannot be written, or logging was started before.
pub fn start(path: &Path, level: LevelFilter) -> Result<(), LogError> {
    let file = open(path).map_err(|source| LogError::File { path: path.to_owned(), source })?;
    begin(fmt::layer().with_ansi(false).with_writer(Arc::new(Bounded::new(file))), level)
}

/// The same to standard error, as services do: whoever runs them keeps what they say.
///
/// # Errors
/// When logging was started before.
pub fn start_service(level: LevelFilter) -> Result<(), LogError> {
    begin(fmt::layer().with_ansi(false).with_writer(io::stderr), level)
}

fn begin(lines: impl Layer<Registry> + Send + Sync, level: LevelFilter) -> Result<(), LogError> {
    let ours = Targets::new().with_target("grotto", level);
    tracing_subscriber::registry().with(lines).with(ours).try_init()?;
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a thread panicked");
    }));
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    if fs::metadata(path).is_ok_and(|it| it.len() > ROTATE_BYTES) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A file that takes a limited number of bytes and forgets the rest.
struct Bounded {
    file: File,
    left: AtomicU64,
}

impl Bounded {
    fn new(file: File) -> Self {
        Self { file, left: AtomicU64::new(RUN_BYTES) }
    }
}

impl Write for &Bounded {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let fits = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(length));
        if fits.is_err() {
            return Ok(line.len());
        }
        (&self.file).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_for_its_owner_and_makes_room_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/grotto.log");
        open(&path).unwrap().write_all(b"line\n").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        }
        open(&path).unwrap().write_all(&vec![b'x'; 5 << 20]).unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 0);
        let old = fs::read(path.with_extension("log.old")).unwrap();
        assert!(old.starts_with(b"line\nx"), "what was there is appended to, then moved");
    }

    #[test]
    fn a_run_cannot_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grotto.log");
        let bounded = Bounded { file: open(&path).unwrap(), left: AtomicU64::new(10) };
        for _ in 0..5 {
            (&bounded).write_all(b"1234").unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"12341234");
    }

    #[test]
    fn only_our_lines_get_in_and_panics_say_their_place_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grotto.log");
        start(&path, LevelFilter::DEBUG).unwrap();
        tracing::debug!(target: "grotto::link", count = 3, "ours");
        tracing::trace!(target: "grotto::link", "too much");
        tracing::error!(target: "hyper::client", "theirs");
        let panicked = std::thread::spawn(|| panic!("hunter2")).join();
        assert!(panicked.is_err());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("ours count=3") && text.contains("logging.rs:"), "{text}");
        for absent in ["too much", "theirs", "hunter2", "\x1b"] {
            assert!(!text.contains(absent), "{text}");
        }
        drop(panic::take_hook());
    }
}
