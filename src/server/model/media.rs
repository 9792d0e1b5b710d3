//! Files: who may put them, who may have them, and where their pieces lie. The bytes come and go
//! piece by piece, so that no file is ever whole in memory.
//!
//! The id of a file is what gives access to it, together with any access token: it has 160 random
//! bits and stands in the messages of the room where the file was sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    accounts::tokens::identify,
    records::{MEDIA, MEDIA_OF, MEDIA_PIECES},
    refusal::Refusal,
    step::Step,
    table::Broken,
    usage,
};
use crate::{matrix::OwnedUserId, secret::Secret, time::Timestamp};

/// Bytes of a piece; the last one of a file may have fewer.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// Files that somebody may have begun and not finished.
const MAX_PENDING: usize = 16;
/// Longest file name and content type, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// A piece comes within this time: the network's limits see to it.
const PIECE_TIME: Duration = Duration::from_secs(300);
/// After this, a file that was begun and never finished no longer counts, and is taken away.
const PENDING_MILLIS: u64 = 24 * 3600 * 1000;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRecord {
    /// Who put it.
    pub owner: OwnedUserId,
    /// Its type, as its owner says.
    pub content_type: String,
    /// Its name, as its owner says.
    pub file_name: Option<String>,
    /// When it was begun.
    pub created: Timestamp,
    /// Its size in bytes, once it is whole.
    pub size: Option<u64>,
    /// Pieces that have come.
    pub pieces: u64,
    /// Bytes that have come.
    #[serde(default)]
    pub bytes: u64,
}

/// Something to do with a file.
pub enum MediaJob {
    /// Begin to put one.
    Begin {
        /// The access token.
        token: Option<Secret<String>>,
        /// The id that was made for it before, if one was.
        id: Option<String>,
        /// Its type.
        content_type: String,
        /// Its name.
        file_name: Option<String>,
        /// Its size in bytes, where it was announced.
        announced: Option<u64>,
    },
    /// Put the next piece: `PIECE_BYTES`, or what is left.
    Put {
        /// Which file.
        id: String,
        /// The bytes.
        piece: Vec<u8>,
    },
    /// It is whole.
    Finish {
        /// Which file.
        id: String,
        /// Its size in bytes.
        size: u64,
    },
    /// It will never be whole.
    Discard {
        /// Which file.
        id: String,
    },
    /// Ask for one.
    Open {
        /// The access token.
        token: Option<Secret<String>>,
        /// The server in its address.
        server: String,
        /// Which file.
        id: String,
    },
    /// Read a piece.
    Read {
        /// Which file.
        id: String,
        /// Which piece, from 0.
        piece: u64,
    },
}

impl std::fmt::Debug for MediaJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MediaJob(..)")
    }
}

/// What came of it.
#[derive(Debug)]
pub enum MediaDone {
    /// The file has this id.
    Begun(String),
    /// It is done.
    Done,
    /// The file.
    Opened(MediaRecord),
    /// A piece of it; empty after the last.
    Piece(Vec<u8>),
}

/// Does it.
pub(super) fn perform(step: &mut Step<'_>, job: MediaJob) -> Result<MediaDone, Refusal> {
    match job {
        MediaJob::Begin { token, id, content_type, file_name, announced } => {
            if announced.is_some_and(|size| step.settings.max_media_bytes < size) {
                return Err(too_large(step));
            }
            let owner = identify(step, token.as_ref())?.user;
            let file_name = file_name.as_deref().map(shortened);
            begin(step, owner, id, (shortened(&content_type), file_name))
        }
        MediaJob::Put { id, piece } => put(step, &id, piece),
        MediaJob::Finish { id, size } => {
            let mut record = unfinished(step, &id)?;
            record.size = Some(size);
            step.delete(MEDIA_OF, (&*record.owner, &id));
            step.put(MEDIA, (&id,), &record)?;
            Ok(MediaDone::Done)
        }
        MediaJob::Discard { id } => {
            let record = unfinished(step, &id)?;
            discard(step, &id, &record)?;
            Ok(MediaDone::Done)
        }
        MediaJob::Open { token, server, id } => open(step, token.as_ref(), (&server, &id)),
        MediaJob::Read { id, piece } => {
            let piece = step.get_bytes(MEDIA_PIECES, (&id, piece))?;
            Ok(MediaDone::Piece(piece.unwrap_or_default()))
        }
    }
}

fn begin(
    step: &mut Step<'_>,
    owner: OwnedUserId,
    id: Option<String>,
    (content_type, file_name): (String, Option<String>),
) -> Result<MediaDone, Refusal> {
    let id = match id {
        Some(id) => reserved(step, &owner, id)?,
        None => reserve(step, &owner)?,
    };
    let record = MediaRecord {
        owner,
        content_type,
        file_name,
        created: step.now,
        size: None,
        pieces: 0,
        bytes: 0,
    };
    step.put(MEDIA, (&id,), &record)?;
    go_on(step, &id);
    Ok(MediaDone::Begun(id))
}

fn put(step: &mut Step<'_>, id: &str, piece: Vec<u8>) -> Result<MediaDone, Refusal> {
    let mut record = unfinished(step, id)?;
    record.bytes += piece.len() as u64;
    if step.settings.max_media_bytes < record.bytes {
        return Err(too_large(step));
    }
    usage::charge(step, &record.owner, piece.len())?;
    go_on(step, id);
    step.put_bytes(MEDIA_PIECES, (id, record.pieces), piece);
    record.pieces += 1;
    step.put(MEDIA, (id,), &record)?;
    Ok(MediaDone::Done)
}

fn open(
    step: &mut Step<'_>,
    token: Option<&Secret<String>>,
    (server, id): (&str, &str),
) -> Result<MediaDone, Refusal> {
    identify(step, token)?;
    let record = step.get(MEDIA, (id,))?.filter(|_| server == step.settings.name);
    match record {
        Some(record) if record.size.is_some() => Ok(MediaDone::Opened(record)),
        Some(_) => Err(Refusal::new(504, "M_NOT_YET_UPLOADED", "the file is not here yet")),
        None => Err(Refusal::not_found("no such file")),
    }
}

/// Makes an id for a file of this user.
pub(super) fn reserve(step: &mut Step<'_>, owner: &OwnedUserId) -> Result<String, Refusal> {
    let mut pending = 0;
    for (mut key, begun) in step.scan(MEDIA_OF, (&**owner,))? {
        key.text()?;
        let id = key.text()?;
        if let Some(record) = step.get(MEDIA, (&id,))?
            && !goes_on(step, &id)
        {
            discard(step, &id, &record)?;
        } else if step.now.0.saturating_sub(begun.0) < PENDING_MILLIS {
            pending += 1;
        } else if let Some(record) = step.get(MEDIA, (&id,))? {
            discard(step, &id, &record)?;
        } else {
            step.delete(MEDIA_OF, (&**owner, &id));
        }
    }
    if MAX_PENDING <= pending {
        let error = "too many uploads are begun and not finished";
        return Err(Refusal::new(429, "M_LIMIT_EXCEEDED", error));
    }
    let id = step.random_name(32);
    step.put(MEDIA_OF, (&**owner, &id), &step.now.clone())?;
    Ok(id)
}

/// An id that was made before, for this user, and has no file yet.
fn reserved(step: &mut Step<'_>, owner: &OwnedUserId, id: String) -> Result<String, Refusal> {
    let record = step.get(MEDIA, (&id,))?;
    if let Some(record) = &record
        && record.size.is_none()
        && record.owner == *owner
        && !goes_on(step, &id)
    {
        // Another try of an upload that broke off: with the id that was made for it.
        discard(step, &id, record)?;
        step.put(MEDIA_OF, (&**owner, &id), &record.created)?;
        return Ok(id);
    }
    if record.is_some() {
        return Err(Refusal::new(409, "M_CANNOT_OVERWRITE_MEDIA", "the file is there already"));
    }
    let is_ours = step.get(MEDIA_OF, (&**owner, &id))?.is_some();
    is_ours.then_some(id).ok_or_else(|| Refusal::forbidden("no such upload of yours was begun"))
}

/// Notes that an upload goes on. That is lost with the process, as the upload is.
fn go_on(step: &mut Step<'_>, id: &str) {
    let until = step.now.plus(PIECE_TIME);
    step.volatile.uploads.put(id.to_owned(), (until, ()), step.now);
}

fn goes_on(step: &Step<'_>, id: &str) -> bool {
    step.volatile.uploads.get(id, step.now).is_some()
}

fn unfinished(step: &Step<'_>, id: &str) -> Result<MediaRecord, Refusal> {
    let record = step.get(MEDIA, (id,))?.filter(|record| record.size.is_none());
    record.ok_or_else(|| Refusal::not_found("no such upload"))
}

fn discard(step: &mut Step<'_>, id: &str, record: &MediaRecord) -> Result<(), Broken> {
    usage::refund(step, &record.owner, record.bytes)?;
    for piece in 0..record.pieces {
        step.delete(MEDIA_PIECES, (id, piece));
    }
    step.delete(MEDIA, (id,));
    step.delete(MEDIA_OF, (&*record.owner, id));
    Ok(())
}

fn too_large(step: &Step<'_>) -> Refusal {
    let most = step.settings.max_media_bytes;
    Refusal::new(413, "M_TOO_LARGE", format!("a file has at most {most} bytes here"))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_NAME_BYTES / 4).collect()
}
