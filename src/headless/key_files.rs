//! `keys export` and `keys import`: room keys to a file and back. The file is made and read here; the
//! engine only hands over keys and takes them, some at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{errand::Errand, error::HeadlessError, output::Output, resolve::unexpected};
use crate::engine::{
    ImportCounts, KeyFileError, KeyFileReader, KeyFileWriter, KeysAfter, Outcome, Request,
    SecretText,
};

/// Bytes of keys that go to the engine at once; a guest's line holds a megabyte.
const MOST_BYTES: usize = 256 << 10;
/// Keys that go to the engine at once: some milliseconds' work.
const MOST_KEYS: usize = 200;
/// How often progress is told, in keys.
const TELL_EVERY: u64 = 2_000;

/// Which file, and its passphrase.
#[derive(Clone, Debug)]
pub struct KeyFileOptions {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// What protects it.
    pub passphrase: SecretText,
}

/// What `keys export` prints.
#[derive(Debug, Serialize)]
struct Exported {
    path: String,
    keys: u64,
}

/// Writes all room keys to a new file, readable by its owner alone.
///
/// # Errors
/// When the file exists or cannot be written; what was written of it is removed then.
pub async fn export_keys(
    errand: &mut Errand,
    output: &mut Output,
    options: &KeyFileOptions,
) -> Result<(), HeadlessError> {
    let path = &options.path;
    let file = create(path).map_err(|error| key_file(path, error.into()))?;
    let keys = match write_all(errand, file, options).await {
        Ok(keys) => keys,
        Err(error) => {
            // The first error is the one to tell.
            drop(fs::remove_file(path));
            return Err(error);
        }
    };
    let exported = Exported { path: path.display().to_string(), keys };
    output.show(&exported, |it| {
        Some(format!("{} keys written to {}", it.keys, super::people::safe(&it.path)))
    })
}

/// A file that did not exist, and that only its owner may read.
fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

async fn write_all(
    errand: &mut Errand,
    file: File,
    options: &KeyFileOptions,
) -> Result<u64, HeadlessError> {
    let wrong = |error| key_file(&options.path, error);
    let mut writer =
        KeyFileWriter::new(BufWriter::new(file), options.passphrase.expose()).map_err(wrong)?;
    let (mut after, mut count): (Option<KeysAfter>, u64) = (None, 0);
    loop {
        errand.be_patient();
        let outcome = errand.ask(Request::ExportKeys { after }).await?;
        let Outcome::ExportedKeys { keys, next } = outcome else {
            return Err(unexpected(&outcome).into());
        };
        for key in &keys {
            writer.push(key.expose()).map_err(wrong)?;
        }
        tell("exported", count, keys.len() as u64);
        count += keys.len() as u64;
        after = next;
        if after.is_none() {
            break;
        }
    }
    let file = writer.finish().map_err(wrong)?;
    let file = file.into_inner().map_err(|error| wrong(error.into_error().into()))?;
    file.sync_all().map_err(|error| wrong(error.into()))?;
    Ok(count)
}

/// Takes all room keys of a file.
///
/// # Errors
/// When the file or its passphrase is wrong; then nothing was imported.
pub async fn import_keys(
    errand: &mut Errand,
    output: &mut Output,
    options: &KeyFileOptions,
) -> Result<(), HeadlessError> {
    let wrong = |error| key_file(&options.path, error);
    let file = File::open(&options.path).map_err(|error| wrong(error.into()))?;
    let mut reader =
        KeyFileReader::open(BufReader::new(file), options.passphrase.expose()).map_err(wrong)?;
    let mut counts = ImportCounts::default();
    let mut keys = Vec::new();
    let mut bytes = 0;
    while let Some(key) = reader.next().map_err(wrong)? {
        let Ok(key) = std::str::from_utf8(&key) else {
            counts.refused += 1;
            continue;
        };
        bytes += key.len();
        keys.push(SecretText::from(key.to_owned()));
        if MOST_BYTES <= bytes || MOST_KEYS <= keys.len() {
            bytes = 0;
            hand_over(errand, std::mem::take(&mut keys), &mut counts).await?;
        }
    }
    hand_over(errand, keys, &mut counts).await?;
    output.show(&counts, |counts| {
        let ImportCounts { improved, known, refused } = counts;
        Some(format!("{improved} keys are new or better, {known} were here, {refused} are no keys"))
    })
}

async fn hand_over(
    errand: &mut Errand,
    keys: Vec<SecretText>,
    counts: &mut ImportCounts,
) -> Result<(), HeadlessError> {
    let (before, more) = (counts.improved + counts.known + counts.refused, keys.len() as u64);
    errand.be_patient();
    let outcome = errand.ask(Request::ImportKeys { keys }).await?;
    let Outcome::ImportedKeys(some) = outcome else { return Err(unexpected(&outcome).into()) };
    counts.improved += some.improved;
    counts.known += some.known;
    counts.refused += some.refused;
    tell("imported", before, more);
    Ok(())
}

/// Progress, on standard error.
fn tell(what: &str, before: u64, more: u64) {
    let after = before + more;
    if before / TELL_EVERY != after / TELL_EVERY {
        writeln!(std::io::stderr(), "{after} keys {what}").unwrap_or_default();
    }
}

fn key_file(path: &Path, source: KeyFileError) -> HeadlessError {
    HeadlessError::KeyFile { path: path.to_owned(), source }
}
