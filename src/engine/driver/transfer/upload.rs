//! One file to the server: read, encrypted, sent in chunks as the server has room.

use serde_json::Value;
use std::io::Cursor;

use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _},
};

use super::line::{FromServer, Line, impossible, refused};
use crate::{
    e2ee::{Encryptor, FileKey},
    engine::{Secrecy, TransferEvent, TransferFailure, Upload, UploadSource},
    matrix::MxcUri,
    store::{FilePlace, UploadedFile},
    wire::{
        ChunkEnd, ChunkFrame, ClientFrame, Limits, MAX_CHUNK_BYTES, MediaInfo, RequestFrame,
        ResponseFrame,
    },
};

/// Carries a file to the server.
pub(super) async fn run(order: Upload, line: Line) -> TransferEvent {
    upload(order, line).await.map_or_else(TransferEvent::Failed, TransferEvent::Uploaded)
}

async fn upload(order: Upload, mut line: Line) -> Result<UploadedFile, TransferFailure> {
    let (mut file, size) = open(&order).await?;
    let content_type = match &order.secrecy {
        Secrecy::Encrypted => "application/octet-stream".to_owned(),
        Secrecy::Clear { content_type } => content_type.clone(),
    };
    let request = RequestFrame {
        id: line.id,
        method: "POST".to_owned(),
        path: "/_matrix/media/v3/upload".to_owned(),
        upload: Some(MediaInfo { content_type, length: Some(size) }),
        ..RequestFrame::default()
    };
    line.send(ClientFrame::Request(request)).await?;
    let mut sealing = Sealing::new(&order.secrecy)?;
    let mut window = Limits::default().window_chunks;
    let mut done = 0;
    loop {
        // An answer before the end is a refusal.
        while let Some(message) = line.heard() {
            widen(&mut window, message)?;
        }
        while window == 0 {
            widen(&mut window, line.hear().await?)?;
        }
        let mut payload = piece(&mut file, size - done).await?;
        sealing.seal(&mut payload);
        done += u64::try_from(payload.len()).unwrap_or_default();
        let end = if done == size { ChunkEnd::Last } else { ChunkEnd::More };
        window -= 1;
        line.send(ClientFrame::Chunk(ChunkFrame { id: line.id, end, payload })).await?;
        line.tell(done, Some(size));
        if end == ChunkEnd::Last {
            break;
        }
    }
    let url = loop {
        match line.hear().await? {
            FromServer::Response(response) => break address(&response)?,
            FromServer::Window(_) | FromServer::Chunk(_) | FromServer::Refused(_) => {}
        }
    };
    Ok(UploadedFile { place: sealing.place(url), size })
}

/// How the bytes leave.
enum Sealing {
    Encrypted(Box<Encryptor>),
    Clear,
}

impl Sealing {
    /// With a key that no other upload has, this file's earlier ones neither: it may have been
    /// changed meanwhile.
    fn new(secrecy: &Secrecy) -> Result<Self, TransferFailure> {
        match secrecy {
            Secrecy::Encrypted => {
                let key = FileKey::generate()
                    .map_err(|error| impossible("no_randomness", error.to_string()))?;
                Ok(Self::Encrypted(Box::new(Encryptor::new(key))))
            }
            Secrecy::Clear { .. } => Ok(Self::Clear),
        }
    }

    fn seal(&mut self, piece: &mut [u8]) {
        match self {
            Self::Encrypted(encryptor) => encryptor.encrypt(piece),
            Self::Clear => {}
        }
    }

    fn place(self, url: MxcUri) -> FilePlace {
        match self {
            Self::Encrypted(encryptor) => FilePlace::Encrypted(encryptor.finish().at(url)),
            Self::Clear => FilePlace::Clear(url),
        }
    }
}

/// What is read.
type Reader = Box<dyn AsyncRead + Unpin>;

/// Opens what is to be sent, if it is something that the server takes; its length.
async fn open(order: &Upload) -> Result<(Reader, u64), TransferFailure> {
    let (reader, size): (Reader, u64) = match &order.source {
        UploadSource::File(path) => {
            let (file, size) = open_file(path).await?;
            (Box::new(file), size)
        }
        UploadSource::Memory(bytes) => {
            let size = u64::try_from(bytes.expose().len()).unwrap_or(u64::MAX);
            (Box::new(Cursor::new(bytes.expose().clone())), size)
        }
    };
    match order.limit {
        Some(limit) if limit < size => Err(impossible(
            "M_TOO_LARGE",
            format!("the file has {size} bytes; this server takes at most {limit}"),
        )),
        Some(_) | None => Ok((reader, size)),
    }
}

async fn open_file(path: &str) -> Result<(File, u64), TransferFailure> {
    let cannot =
        |error: &std::io::Error| impossible("file", format!("{path} cannot be read: {error}"));
    // A pipe must not be opened: that would wait for its other end.
    let kind = tokio::fs::metadata(path).await.map_err(|error| cannot(&error))?;
    if !kind.is_file() {
        return Err(impossible("file", format!("{path} is no file")));
    }
    let file = File::open(path).await.map_err(|error| cannot(&error))?;
    let size = file.metadata().await.map_err(|error| cannot(&error))?.len();
    Ok((file, size))
}

/// The next piece: a chunk full, or what is left.
async fn piece(file: &mut Reader, left: u64) -> Result<Vec<u8>, TransferFailure> {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(MAX_CHUNK_BYTES);
    let mut piece = vec![0; length];
    match file.read_exact(&mut piece).await {
        Ok(_) => Ok(piece),
        Err(error) => Err(impossible(
            "file",
            format!("the file cannot be read to its end, or was changed meanwhile: {error}"),
        )),
    }
}

fn widen(window: &mut u32, message: FromServer) -> Result<(), TransferFailure> {
    match message {
        FromServer::Window(chunks) => *window = window.saturating_add(chunks),
        FromServer::Response(response) => return Err(refused(&response)),
        FromServer::Chunk(_) | FromServer::Refused(_) => {}
    }
    Ok(())
}

/// Where the server put it.
fn address(response: &ResponseFrame) -> Result<MxcUri, TransferFailure> {
    if !(200..300).contains(&response.status) {
        return Err(refused(response));
    }
    let body: Value = serde_json::from_str(response.body.get()).unwrap_or_default();
    let uri = body.get("content_uri").and_then(Value::as_str).unwrap_or_default();
    MxcUri::parse(uri).map_err(|_bad| {
        impossible("M_BAD_JSON", "the server took the file and does not say where it lies")
    })
}
