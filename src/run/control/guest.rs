//! The guest's end: a seat at an engine in another process.

use std::{io, path::Path};

use tokio::{
    io::BufReader,
    net::UnixStream,
    sync::mpsc::{Receiver, Sender, channel},
};

use super::wire::{self, FromGuest, FromHolder, HOLDER_LINE, Stay, VERSION};
use crate::engine::{Command, Handle, Update};

/// Commands and updates that may wait at this end.
const QUEUE: usize = 256;

/// A connection to the holder, greeted.
#[derive(Debug)]
pub(crate) struct Guest {
    stream: BufReader<UnixStream>,
}

/// Connects and greets. The inner error is the holder's refusal, in words for people.
///
/// # Errors
/// When nobody listens there, or what listens is no grotto.
pub(crate) async fn connect(socket: &Path, stay: Stay) -> io::Result<Result<Guest, String>> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await?);
    if stream.get_ref().peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        return Ok(Err("the control socket belongs to another user; nothing was sent".to_owned()));
    }
    wire::write_line(&mut stream, &FromGuest::Hello { version: VERSION, stay }).await?;
    match wire::read_line(&mut stream, HOLDER_LINE).await? {
        Some(FromHolder::Welcome { .. }) => Ok(Ok(Guest { stream })),
        Some(FromHolder::Refused { reason }) => Ok(Err(reason)),
        Some(FromHolder::Update(_)) | None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Guest {
    /// The handle to work with, and what must run beside the work. The latter never ends by
    /// itself; when the holder is gone the handle's updates end.
    pub(crate) fn split(self) -> (Handle, impl Future<Output = ()>) {
        let (commands, to_send) = channel(QUEUE);
        let (received, updates) = channel(QUEUE);
        let pump = async move {
            carry(self.stream, to_send, received).await;
            std::future::pending::<()>().await;
        };
        (Handle { commands, updates }, pump)
    }
}

/// Carries lines both ways until either way ends.
async fn carry(
    stream: BufReader<UnixStream>,
    commands: Receiver<Command>,
    updates: Sender<Update>,
) {
    let (reader, writer) = stream.into_inner().into_split();
    tokio::select! {
        ended = receive(BufReader::new(reader), updates) => {
            tracing::debug!(in_order = ended.is_ok(), "the holder ended");
        }
        ended = send(writer, commands) => {
            tracing::debug!(in_order = ended.is_ok(), "nothing more to ask");
        }
    }
}

async fn receive(
    mut reader: BufReader<tokio::net::unix::OwnedReadHalf>,
    updates: Sender<Update>,
) -> io::Result<()> {
    while let Some(line) = wire::read_line(&mut reader, HOLDER_LINE).await? {
        if let FromHolder::Update(update) = line
            && updates.send(update).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

async fn send(
    mut writer: tokio::net::unix::OwnedWriteHalf,
    mut commands: Receiver<Command>,
) -> io::Result<()> {
    while let Some(command) = commands.recv().await {
        wire::write_line(&mut writer, &FromGuest::Command(command)).await?;
    }
    Ok(())
}
