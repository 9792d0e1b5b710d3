//! The holder's end: lets guests in and carries lines between them and the engine.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::BufReader,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{
        mpsc::{Receiver, Sender},
        watch,
    },
    time::timeout,
};

use super::wire::{self, FromGuest, FromHolder, GUEST_LINE, Stay, VERSION};
use crate::engine::{Command, CommandError, Face, FaceKind, Request, Update, driver::face};

/// How long a greeting may take.
const GREETING: Duration = Duration::from_secs(5);

/// A bound control socket; removed when dropped.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Binds the socket for the owner alone. The caller holds the account's lock, so a socket that
    /// lies there is left from a process that was killed, and is removed. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the folder or the socket cannot be made, or others can write to the folder.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            check_owner(folder)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The next connection of our own user; others are turned away. Cancel-safe.
    pub(crate) async fn next(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if is_ours(&stream) => return stream,
                Ok(_) => tracing::warn!("another user knocked at the control socket"),
                // Out of files, most likely: leave time for some to be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// Whoever can write to the folder could put a socket of theirs in the place of ours.
fn check_owner(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let is_own = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && is_own && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let words = format!("{} can be written to by others", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, words))
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

/// What guests need: a way to the engine, and the count of those whom the holder waits for.
#[derive(Clone, Debug)]
pub(crate) struct Guests {
    /// Takes faces to the engine.
    pub faces: Sender<Face>,
    /// How many guests mean to stay briefly.
    pub brief: watch::Sender<usize>,
}

impl Guests {
    /// Serves one guest from its greeting to its end.
    pub(crate) async fn serve(self, stream: UnixStream) {
        if let Err(error) = self.talk(stream).await {
            tracing::debug!(kind = ?error.kind(), "a guest's connection broke");
        }
    }

    async fn talk(&self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let greeting = timeout(GREETING, wire::read_line(&mut reader, GUEST_LINE)).await??;
        let stay = match greeting {
            Some(FromGuest::Hello { version: VERSION, stay }) => stay,
            Some(FromGuest::Hello { version, .. }) => {
                let reason = format!(
                    "the grotto that holds this account is of another version (it speaks \
                     {VERSION}, this one {version}); quit that one first"
                );
                return wire::write_line(&mut writer, &FromHolder::Refused { reason }).await;
            }
            Some(FromGuest::Command(_)) | None => return Ok(()),
        };
        let _counted = (stay == Stay::Brief).then(|| Counted::new(&self.brief));
        wire::write_line(&mut writer, &FromHolder::Welcome { version: VERSION }).await?;
        let (handle, face) = face(FaceKind::Guest);
        if self.faces.send(face).await.is_err() {
            return Ok(());
        }
        // A refusal goes to the guest past the engine.
        let (refuse, refused) = tokio::sync::mpsc::channel(1);
        tokio::select! {
            ended = hear(reader, handle.commands, refuse) => ended,
            ended = tell(writer, handle.updates, refused) => ended,
        }
    }
}

/// Counts a guest for as long as it lives.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Takes a guest's commands to the engine. What would end the holder is not passed on.
async fn hear(
    mut reader: BufReader<OwnedReadHalf>,
    commands: Sender<Command>,
    refuse: Sender<Update>,
) -> io::Result<()> {
    while let Some(line) = wire::read_line(&mut reader, GUEST_LINE).await? {
        let command = match line {
            FromGuest::Command(Command::Shutdown) | FromGuest::Hello { .. } => break,
            FromGuest::Command(Command::Request { id, request: Request::Logout }) => {
                let error = CommandError {
                    code: "held".to_owned(),
                    message: "the account is open in another grotto; quit that one first"
                        .to_owned(),
                };
                drop(refuse.send(Update::Outcome { id, result: Err(error) }).await);
                continue;
            }
            FromGuest::Command(command) => command,
        };
        if commands.send(command).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Takes the engine's updates to a guest.
async fn tell(
    mut writer: OwnedWriteHalf,
    mut updates: Receiver<Update>,
    mut refused: Receiver<Update>,
) -> io::Result<()> {
    loop {
        let update = tokio::select! {
            update = updates.recv() => update,
            Some(update) = refused.recv() => Some(update),
        };
        let Some(update) = update else { return Ok(()) };
        wire::write_line(&mut writer, &FromHolder::Update(update)).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::mpsc::channel,
        time::Instant,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_never_greets_is_sent_away() {
        for half in ["", r#"{"hello"#] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(half.as_bytes()).await.unwrap();
            let (faces, _seats) = channel(1);
            let guests = Guests { faces, brief: watch::channel(0).0 };
            let begin = Instant::now();
            let mut said = Vec::new();
            let ((), heard) = tokio::join!(guests.serve(theirs), ours.read_to_end(&mut said));
            assert_eq!((heard.unwrap(), said.len()), (0, 0));
            assert!(begin.elapsed() <= Duration::from_secs(6), "{:?}", begin.elapsed());
        }
    }
}
