//! The guest's end: a seat at an engine in another process.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::BufReader,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

use super::wire::{self, FromGuest, FromHolder, HOLDER_LINE, Stay, VERSION};
use crate::engine::{Command, Handle, Update};

/// Commands and updates that may wait at this end.
const QUEUE: usize = 256;

/// How long a holder may take to let us in; one that was stopped never does.
const WELCOME: Duration = Duration::from_secs(5);

/// A connection to the holder, greeted.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Kept from the greeting on: it may hold lines that came with the welcome.
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// Connects and greets. The inner error is the holder's refusal, in words for people.
///
/// # Errors
/// When nobody listens there, or what listens is no grotto.
pub(crate) async fn connect(socket: &Path, stay: Stay) -> io::Result<Result<Guest, String>> {
    let stream = UnixStream::connect(socket).await?;
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        return Ok(Err("the control socket belongs to another user; nothing was sent".to_owned()));
    }
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    wire::write_line(&mut writer, &FromGuest::Hello { version: VERSION, stay }).await?;
    let welcome = timeout(WELCOME, wire::read_line(&mut reader, HOLDER_LINE));
    match welcome.await.map_err(io::Error::from)?? {
        Some(FromHolder::Welcome { .. }) => Ok(Ok(Guest { reader, writer })),
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
            self.carry(to_send, received).await;
            std::future::pending::<()>().await;
        };
        (Handle { commands, updates }, pump)
    }

    /// Carries lines both ways until either way ends.
    async fn carry(self, commands: Receiver<Command>, updates: Sender<Update>) {
        tokio::select! {
            ended = receive(self.reader, updates) => {
                tracing::debug!(in_order = ended.is_ok(), "the holder ended");
            }
            ended = send(self.writer, commands) => {
                tracing::debug!(in_order = ended.is_ok(), "nothing more to ask");
            }
        }
    }
}

async fn receive(mut reader: BufReader<OwnedReadHalf>, updates: Sender<Update>) -> io::Result<()> {
    while let Some(line) = wire::read_line(&mut reader, HOLDER_LINE).await? {
        if let FromHolder::Update(update) = line
            && updates.send(update).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

async fn send(mut writer: OwnedWriteHalf, mut commands: Receiver<Command>) -> io::Result<()> {
    while let Some(command) = commands.recv().await {
        wire::write_line(&mut writer, &FromGuest::Command(command)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::{net::UnixListener, time::Instant};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_never_welcomes_us_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let silent = UnixListener::bind(&path).unwrap();
        let begin = Instant::now();
        let error = connect(&path, Stay::Brief).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() <= Duration::from_secs(6), "{:?}", begin.elapsed());
        drop(silent);
    }
}
