//! One file from the server: received in chunks, decrypted, checked, and only then given its name.

use zeroize::{Zeroize as _, Zeroizing};

use super::{
    line::{FromServer, Line, broken, impossible, refused},
    save::Part,
};
use crate::{
    e2ee::Decryptor,
    engine::{Download, Place, Sink, TransferEvent, TransferFailure},
    matrix::MxcUri,
    secret::Secret,
    wire::{AnswerKind, ChunkEnd, ClientFrame, RequestFrame, WindowFrame},
};

/// Carries a file from the server.
pub(super) async fn run(order: Download, line: Line) -> TransferEvent {
    download(order, line).await.unwrap_or_else(TransferEvent::Failed)
}

async fn download(order: Download, mut line: Line) -> Result<TransferEvent, TransferFailure> {
    let mut store = Store::open(&order.sink).await?;
    line.send(ClientFrame::Request(request(line.id, order.place.url()))).await?;
    let total = announced(&mut line).await?;
    let mut decryptor = match &order.place {
        Place::Encrypted(file) => Some(Decryptor::new(file)),
        Place::Clear(_) => None,
    };
    let mut done: u64 = 0;
    loop {
        let mut chunk = match line.hear().await? {
            FromServer::Chunk(chunk) => chunk,
            FromServer::Response(_) | FromServer::Window(_) | FromServer::Refused(_) => continue,
        };
        if chunk.end == ChunkEnd::Aborted {
            return Err(broken("broken_off", "the download broke off; try again"));
        }
        done = done.saturating_add(u64::try_from(chunk.payload.len()).unwrap_or(u64::MAX));
        if order.limit < done {
            let words = format!("the file is larger than {} bytes; it was given up", order.limit);
            return Err(impossible("M_TOO_LARGE", words));
        }
        if let Some(decryptor) = &mut decryptor {
            decryptor.decrypt(&mut chunk.payload);
        }
        store.write(&chunk.payload).await?;
        // It may have been keys.
        chunk.payload.zeroize();
        line.tell(done, total);
        if chunk.end == ChunkEnd::Last {
            break;
        }
        let window = WindowFrame { id: line.id, chunks: 1 };
        line.send(ClientFrame::Window(window)).await?;
    }
    if let Some(decryptor) = decryptor {
        decryptor.finish().map_err(|error| impossible("hash", error.to_string()))?;
    }
    store.keep(done).await
}

/// Where the bytes wait until they are known to be right.
enum Store {
    Part(Part),
    Memory(Zeroizing<Vec<u8>>),
}

impl Store {
    async fn open(sink: &Sink) -> Result<Self, TransferFailure> {
        Ok(match sink {
            Sink::Save { to, name } => Self::Part(Part::create(to, name).await?),
            Sink::Memory => Self::Memory(Zeroizing::default()),
        })
    }

    async fn write(&mut self, piece: &[u8]) -> Result<(), TransferFailure> {
        match self {
            Self::Part(part) => part.write(piece).await,
            Self::Memory(bytes) => {
                make_room(bytes, piece.len());
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    async fn keep(self, size: u64) -> Result<TransferEvent, TransferFailure> {
        Ok(match self {
            Self::Part(part) => TransferEvent::Saved { path: part.keep().await?, size },
            Self::Memory(mut bytes) => {
                TransferEvent::Fetched(Secret::new(std::mem::take(&mut *bytes)))
            }
        })
    }
}

/// Makes room for so many bytes more, without a copy that a growing buffer would leave behind.
fn make_room(bytes: &mut Zeroizing<Vec<u8>>, more: usize) {
    let needed = bytes.len().saturating_add(more);
    if bytes.capacity() < needed {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.saturating_mul(2)));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
}

/// The request for a file. Its parts hold no character that would have to be encoded, brackets and
/// colons of addresses aside.
fn request(id: u64, url: &MxcUri) -> RequestFrame {
    let server = url.server().replace('[', "%5B").replace(']', "%5D").replace(':', "%3A");
    RequestFrame {
        id,
        method: "GET".to_owned(),
        path: format!("/_matrix/client/v1/media/download/{server}/{}", url.id()),
        answer: AnswerKind::Binary,
        ..RequestFrame::default()
    }
}

/// Waits for the answer; the length that it announces.
async fn announced(line: &mut Line) -> Result<Option<u64>, TransferFailure> {
    loop {
        if let FromServer::Response(response) = line.hear().await? {
            return match response.download {
                Some(info) => Ok(info.length),
                None => Err(refused(&response)),
            };
        }
    }
}
