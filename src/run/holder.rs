//! This process holds the account: the engine's thread, its doors, and their orderly end.

use std::{path::PathBuf, thread, time::Duration};

use tokio::{
    runtime::Builder,
    sync::{
        mpsc::{Receiver, Sender, channel},
        oneshot,
    },
    time::timeout,
};

use super::{
    account::Chosen,
    context::Context,
    control,
    doors::{Doors, Way, Whereabouts},
    failure::Failure,
    renewal,
};
use crate::{
    cli::Exit,
    config::{AccountConfig, Encryption, KeyRequests},
    engine::{
        Command, CommandId, Face, FaceKind, Handle, KeyForwarding, Request, Update,
        driver::{self, DriveError, DriveOptions, face},
    },
    gateway::GatewayOptions,
    link::Route,
    store::{Account, Store},
};

/// How long the end waits for guests that came for one thing.
const GUESTS_TIME: Duration = Duration::from_secs(30);

/// How long the end waits for keys to be backed up.
const KEYS_TIME: Duration = Duration::from_secs(3);

/// How long the end waits for the engine, which may be writing.
const ENGINE_TIME: Duration = Duration::from_secs(10);

/// How long the engine's end waits for what cannot be cut short: a file being written, a name being
/// looked up.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Names the request to back keys up; no command counts so far.
const FLUSH: CommandId = CommandId(u64::MAX);

/// Faces on their way to the engine.
const FACES: usize = 16;

/// The doors are open, the engine is not running yet.
pub(super) struct Ground {
    doors: Doors,
    route: Route,
    options: GatewayOptions,
    faces: Sender<Face>,
    queue: Receiver<Face>,
}

impl Ground {
    /// Opens the doors; without `socket` no guests come.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn prepare(way: Way, socket: Option<PathBuf>) -> Result<Self, Failure> {
        let (faces, queue) = channel(FACES);
        let options = way.options.clone();
        let (doors, route) = Doors::start(way, socket, faces.clone())?;
        Ok(Self { doors, route, options, faces, queue })
    }

    /// The way to the server.
    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// Starts the engine on a store.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn hold(
        self,
        store: Store,
        config: &Encryption,
    ) -> Result<(Holder, Handle), Failure> {
        let Self { doors, route, options, faces, queue } = self;
        let renewer = renewal::renewer(route.clone(), options);
        let key_forwarding = key_forwarding(config.key_requests);
        let options = DriveOptions { renewer, key_forwarding };
        let (handle, main) = face(FaceKind::Main);
        faces.try_send(main).map_err(|error| Failure::say(Exit::Failed, error.to_string()))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (ended, engine) = oneshot::channel();
        thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let result = runtime.block_on(driver::run_with(store, route, queue, options));
            runtime.shutdown_timeout(LAST_WORK);
            // Nobody waits any more if the end took too long.
            drop(ended.send(result));
        })?;
        Ok((Holder { engine, doors }, handle))
    }

    /// Closes the doors again.
    pub(super) fn leave(self) {
        self.doors.close();
    }
}

/// The running engine.
pub(super) struct Holder {
    /// How the engine ended; closed without a word where a bug ended it.
    engine: oneshot::Receiver<Result<(), DriveError>>,
    doors: Doors,
}

fn key_forwarding(asked: KeyRequests) -> KeyForwarding {
    match asked {
        KeyRequests::Off => KeyForwarding::Off,
        KeyRequests::OwnDevices => KeyForwarding::OwnDevices,
    }
}

/// Where an account's server is. The stream that was found with one homeserver leads to no other
/// that somebody has set up since.
fn whereabouts(account: &Account, settings: &AccountConfig) -> Whereabouts {
    let homeserver = settings.homeserver.clone().unwrap_or(account.homeserver.clone());
    let is_same = homeserver.trim_end_matches('/') == account.homeserver;
    let found = account.stream_url.clone().filter(|_| is_same);
    Whereabouts { stream_url: settings.stream_url.clone().or(found), homeserver }
}

impl Holder {
    /// Starts the engine on the account's store, with a control socket.
    ///
    /// # Errors
    /// When an address is wrong or the system gives no thread.
    pub(super) fn start(
        context: &Context,
        chosen: &Chosen,
        store: Store,
    ) -> Result<(Self, Handle), Failure> {
        let account = store.account();
        let settings = &chosen.settings;
        let server = whereabouts(account, settings);
        let way = Way::to(&server, settings, &context.config.limits)?;
        let socket = control::address(context.paths.control_socket(&chosen.user_id));
        Ground::prepare(way, Some(socket))?.hold(store, &context.config.encryption)
    }

    /// Ends in order: guests that came for one thing, the engine, the doors.
    ///
    /// # Errors
    /// With what ended the engine, if it did not end in order.
    pub(super) async fn finish(mut self, mut handle: Handle) -> Result<(), Failure> {
        // The engine waits for its main face, so that one goes on reading.
        let guests = timeout(GUESTS_TIME, self.doors.let_guests_finish());
        tokio::select! {
            waited = guests => tracing::debug!(all = waited.is_ok(), "guests left"),
            () = read_on(&mut handle) => {}
        }
        // Keys that came lately must not wait for the next start: somebody may look for them on
        // another device meanwhile.
        if timeout(KEYS_TIME, flush_keys(&mut handle)).await.is_err() {
            tracing::debug!("some keys wait for the next start to be backed up");
        }
        // A closed channel means that the engine ended already.
        drop(handle.commands.try_send(Command::Shutdown));
        drop(handle);
        let ended = timeout(ENGINE_TIME, self.engine).await;
        self.doors.close();
        match ended {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(Failure::new(Exit::Failed, error)),
            Err(_elapsed) => Err(Failure::say(
                Exit::Failed,
                "the engine does not come to its end; what it was writing is whole or not there, \
                 and the next start goes on",
            )),
            Ok(Err(_panic)) => Err(Failure::say(
                Exit::Failed,
                "the engine failed by a bug of ours; the log says where",
            )),
        }
    }
}

/// Has the keys uploaded that the backup lacks, until that is done or cannot be.
async fn flush_keys(handle: &mut Handle) {
    let flush = Command::Request { id: FLUSH, request: Request::FlushBackup };
    if handle.commands.try_send(flush).is_err() {
        return;
    }
    while let Some(update) = handle.updates.recv().await {
        if matches!(update, Update::Outcome { id: FLUSH, .. }) {
            return;
        }
    }
}

/// Reads and forgets, until the engine ends.
async fn read_on(handle: &mut Handle) {
    while handle.updates.recv().await.is_some() {}
}
