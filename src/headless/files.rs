//! `send --file` and `download`: files there and back.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    errand::Errand,
    error::HeadlessError,
    output::Output,
    people::safe,
    resolve::{resolve, unexpected},
};
use crate::{
    engine::{CommandError, Outcome, Request, SaveTo},
    matrix::{OwnedEventId, OwnedRoomId},
};

/// Which file to save, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadOptions {
    /// The room, as typed.
    pub room: String,
    /// The message.
    pub event: OwnedEventId,
    /// Where to.
    pub to: Destination,
}

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A folder, or a file that does not exist.
    Path(PathBuf),
    /// Standard output, by way of a file in this folder that is gone before the first byte leaves:
    /// nothing leaves that was not checked.
    Stdout {
        /// Readable by the owner alone.
        spool: PathBuf,
    },
}

/// What was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Saved {
    path: String,
    size: u64,
    encrypted: bool,
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
}

/// Downloads the file of a message, checks it, and saves it or writes it to standard output.
///
/// # Errors
/// When there is no such message or file, it is not what was sent, or cannot be saved.
pub async fn download(
    errand: &mut Errand,
    output: &mut Output,
    options: &DownloadOptions,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let room = resolve(errand, &options.room).await?;
    let to = match &options.to {
        Destination::Path(path) => save_to(path)?,
        Destination::Stdout { spool } => SaveTo::File(text(&spool.join(spool_name()?))?),
    };
    let event = options.event.clone();
    let request = Request::Download { room: room.clone(), event: event.clone(), to };
    let outcome = errand.ask(request).await?;
    let Outcome::Saved { path, size, encrypted } = outcome else {
        return Err(unexpected(&outcome).into());
    };
    if let Destination::Stdout { .. } = options.to {
        let mut file = fs::File::open(&path).map_err(HeadlessError::Output)?;
        fs::remove_file(&path).map_err(HeadlessError::Output)?;
        return output.copy(&mut file);
    }
    let saved = Saved { path, size, encrypted, room_id: room, event_id: event };
    output.show(&saved, |saved| {
        let clear = if saved.encrypted { "" } else { " (it was NOT encrypted)" };
        Some(format!("{}{clear}", safe(&saved.path)))
    })
}

fn save_to(path: &Path) -> Result<SaveTo, HeadlessError> {
    let absolute = std::path::absolute(path).map_err(HeadlessError::Output)?;
    let is_folder = absolute.is_dir();
    let path = text(&absolute)?;
    Ok(if is_folder { SaveTo::Folder(path) } else { SaveTo::File(path) })
}

fn text(path: &Path) -> Result<String, HeadlessError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        HeadlessError::Output(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is not Unicode",
        ))
    })
}

/// A name that nobody else has.
fn spool_name() -> Result<String, HeadlessError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| CommandError {
        code: "no_randomness".to_owned(),
        message: format!("the system gives no random bytes: {error}"),
    })?;
    let mut name = String::from(".grotto-");
    for byte in bytes {
        write!(name, "{byte:02x}").unwrap_or_default();
    }
    Ok(name)
}
