//! Sets the demo up, shows the screen, and takes everything down again.

use std::{io, pin::pin, thread, time::Duration};

use tokio::{
    io::DuplexStream,
    runtime::Builder,
    sync::{
        mpsc::{Receiver, Sender, channel},
        watch,
    },
    task::JoinSet,
};

use super::{
    actor::Actor,
    friend::Friend,
    house::House,
    seen::{Bearings, Senses},
    tour::Tour,
};
use crate::{
    engine::{
        Face, FaceKind, Handle,
        driver::{self, DriveError, face},
    },
    gateway::{Gateway, Homeserver},
    headless::{Errand, HeadlessError, settle},
    link::{DuplexConnector, Route},
    server::{AdminError, DatabaseError, Enrolled, ServerError, Site},
    store::{Account, OpenError, Store},
    tui::{self, Bell, Keymap, Reminder, StateLines, Theme, TimelineOptions, TuiError, TuiOptions},
    wire::Limits,
};

/// Bytes in flight between an engine and the gateway, each way.
const DUPLEX_BYTES: usize = 256 << 10;
/// Connections that wait for the gateway.
const CONNECTIONS: usize = 4;
/// Faces on their way to an engine.
const FACES: usize = 4;
/// How long a device may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No thread or no runtime.
    #[error("the demo cannot start")]
    Start(#[from] io::Error),
    /// No database in memory.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// An account cannot be made.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The server inside does not run.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server inside said no.
    #[error("the server of the demo refused {what}: {answer}")]
    Refused {
        /// What it was asked.
        what: String,
        /// What it said.
        answer: String,
    },
    /// No store in memory.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// An engine failed.
    #[error(transparent)]
    Engine(#[from] DriveError),
    /// A device did not become ready.
    #[error(transparent)]
    Device(#[from] HeadlessError),
    /// The screen failed.
    #[error(transparent)]
    Screen(#[from] TuiError),
    /// The people of the demo went away.
    #[error("the demo failed by a bug of ours")]
    Bug,
}

/// Shows the demo until the user quits. Writes no file and reads none.
///
/// # Errors
/// When there is no terminal, or the system gives no threads or memory.
pub fn run(theme: Theme) -> Result<(), DemoError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let house = House::build().await?;
        let options = TuiOptions {
            theme,
            timeline: TimelineOptions {
                bell: Bell::Never,
                state_lines: StateLines::Hidden,
                ..TimelineOptions::default()
            },
            // Nothing here outlives the program; the tour comes to it.
            recovery_key: Reminder::Never,
            first_room: Some(house.direct.clone()),
            ..TuiOptions::new(house.user.user_id.clone())
        };
        let (user, handle) = Seat::new(&house.user)?;
        let cast = Cast { user, robin: Seat::new(&house.robin)?, guide: Seat::new(&house.guide)? };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new()
            .name("demo".to_owned())
            .spawn(move || runtime.block_on(perform(house, cast)))?;
        let shown = tui::run(handle, options).await;
        match (thread.join(), shown) {
            (Err(_panic), _) => Err(DemoError::Bug),
            (Ok(Err(error)), _) => Err(error),
            (Ok(Ok(())), shown) => Ok(shown?),
        }
    })
}

/// Everybody's engine before it runs.
struct Cast {
    user: Seat,
    robin: (Seat, Handle),
    guide: (Seat, Handle),
}

/// An engine before it runs.
struct Seat {
    store: Store,
    faces: Sender<Face>,
    queue: Receiver<Face>,
}

impl Seat {
    /// The engine of a device, and the handle of its main face.
    fn new(who: &Enrolled) -> Result<(Self, Handle), DemoError> {
        let store = Store::in_memory(&Account {
            user_id: who.user_id.clone(),
            device_id: who.device_id.clone(),
            homeserver: "in this process".to_owned(),
            stream_url: None,
            access_token: who.access_token.clone(),
        })?;
        let (faces, queue) = channel(FACES);
        let (handle, main) = face(FaceKind::Main);
        faces.try_send(main).map_err(|_full| DemoError::Bug)?;
        Ok((Self { store, faces, queue }, handle))
    }
}

/// Runs all engines and the gateway until the user's engine ends.
async fn perform(house: House, cast: Cast) -> Result<(), DemoError> {
    let site = Site::new(house.server.clone(), Limits::default());
    let (offer, connections) = channel(CONNECTIONS);
    let route = route(offer);
    let Cast { user, robin, guide } = cast;
    let people = People { house: &house, route: &route, user: &user.faces };
    tokio::select! {
        ended = driver::run(user.store, route.clone(), user.queue) => Ok(ended?),
        () = serve(site.gateway().clone(), connections) => Err(DemoError::Bug),
        failed = people.live(robin, guide) => failed.and(Err(DemoError::Bug)),
    }
}

/// The way of the engines to the gateway.
fn route(offer: Sender<DuplexStream>) -> Route {
    Route::InProcess(DuplexConnector::new(move || {
        let (client, inside) = tokio::io::duplex(DUPLEX_BYTES);
        offer.try_send(inside).map_err(|_closed| io::ErrorKind::ConnectionRefused)?;
        Ok(client)
    }))
}

/// Serves the engines' connections.
async fn serve<H>(gateway: Gateway<H>, mut connections: Receiver<DuplexStream>)
where
    H: Homeserver,
{
    let mut served = JoinSet::new();
    loop {
        tokio::select! {
            Some(connection) = connections.recv() => {
                let gateway = gateway.clone();
                served.spawn(async move { gateway.serve_connection(connection).await });
            }
            Some(_) = served.join_next() => {}
            else => return,
        }
    }
}

/// What Robin and the guide need to live.
struct People<'a> {
    house: &'a House,
    route: &'a Route,
    /// For a look at whether the user's device is ready.
    user: &'a Sender<Face>,
}

impl People<'_> {
    /// Brings one device after the other to where it can be written to, because a message goes to
    /// the devices that are known when it is sent; then the curtain rises.
    async fn live(
        &self,
        (robin, robins): (Seat, Handle),
        (guide, guides): (Seat, Handle),
    ) -> Result<(), DemoError> {
        let House { robin: as_robin, guide: as_guide, .. } = self.house;
        let (raise, curtain) = watch::channel(false);
        ready(self.user).await?;
        let faces = robin.faces.clone();
        let actor = Actor::new(Friend::default(), self.senses(as_robin), robins);
        let mut robin = pin!(self.run(robin, actor.play(curtain.clone())));
        tokio::select! {
            ended = &mut robin => return ended,
            ready = ready(&faces) => ready?,
        }
        let faces = guide.faces.clone();
        let tour = Tour::new(Keymap::default(), as_guide.device_id.as_str());
        let actor = Actor::new(tour, self.senses(as_guide), guides);
        let mut guide = pin!(self.run(guide, actor.play(curtain)));
        tokio::select! {
            ended = &mut robin => return ended,
            ended = &mut guide => return ended,
            ready = ready(&faces) => ready?,
        }
        raise.send_replace(true);
        tokio::select! {
            ended = &mut robin => ended,
            ended = &mut guide => ended,
        }
    }

    /// An engine and who sits before it.
    async fn run(&self, seat: Seat, actor: impl Future<Output = ()>) -> Result<(), DemoError> {
        let engine = driver::run(seat.store, self.route.clone(), seat.queue);
        let (ended, ()) = tokio::join!(engine, actor);
        Ok(ended?)
    }

    fn senses(&self, me: &Enrolled) -> Senses {
        Senses::new(Bearings {
            user: self.house.user.user_id.clone(),
            me: me.user_id.clone(),
            direct: self.house.direct.clone(),
            group: self.house.group.clone(),
        })
    }
}

/// Waits until others can write to a device.
async fn ready(faces: &Sender<Face>) -> Result<(), DemoError> {
    let (handle, guest) = face(FaceKind::Guest);
    faces.send(guest).await.map_err(|_gone| DemoError::Bug)?;
    settle(&mut Errand::new(handle, PATIENCE), None).await?;
    Ok(())
}
