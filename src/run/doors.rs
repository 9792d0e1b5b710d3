//! The third thread: serves the gateway of this process and the control socket.

use std::{io, path::PathBuf, thread, time::Duration};

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
    control::{Door, Guests},
    failure::Failure,
};
use crate::{
    cli::Exit,
    config::{AccountConfig, LimitsConfig},
    engine::Face,
    gateway::{Gateway, GatewayOptions},
    link::{DuplexConnector, Proxy, RemoteRoute, Route},
    wire::Limits,
};

/// Bytes in flight between client and gateway in this process, each way.
const DUPLEX_BYTES: usize = 256 << 10;

/// Connections that may wait for the gateway of this process: it takes them at once.
const DIALS: usize = 4;

/// Guests at once.
const MAX_GUESTS: usize = 64;

/// How long the end waits for what cannot be cut short: the system looking a name up.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Where an account's server is.
#[derive(Clone, Debug)]
pub(super) struct Whereabouts {
    /// Base URL of the homeserver.
    pub homeserver: String,
    /// URL of its stream, if it has one.
    pub stream_url: Option<String>,
}

/// The way to a server, and what has to be served for it in this process.
pub(super) struct Way {
    /// For the link.
    pub route: Route,
    /// For calls beside it.
    pub options: GatewayOptions,
    inside: Option<Inside>,
}

/// The gateway of this process and the connections it is to serve.
struct Inside {
    gateway: Gateway,
    connections: Receiver<DuplexStream>,
}

/// What a gateway of ours is told about an account's server.
pub(super) fn gateway_options(
    homeserver: &str,
    settings: &AccountConfig,
    limits: &LimitsConfig,
) -> GatewayOptions {
    GatewayOptions {
        homeserver: homeserver.to_owned(),
        proxy: settings.proxy.clone(),
        extra_ca: settings.ca_file.clone(),
        allowed_origins: Vec::new(),
        limits: stream_limits(limits),
    }
}

/// The configured limits, for both ends of the stream.
fn stream_limits(config: &LimitsConfig) -> Limits {
    let mebibytes = |mib: u32| usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    Limits {
        max_answer_bytes: mebibytes(config.answer_mib),
        max_update_bytes: mebibytes(config.sync_mib),
        dial_timeout: Duration::from_secs(config.dial_seconds.into()),
        ..Limits::default()
    }
}

impl Way {
    /// Finds the way: the server's stream where it has one, the gateway of this process otherwise.
    ///
    /// # Errors
    /// When an address in the configuration is wrong.
    pub(super) fn to(
        server: &Whereabouts,
        settings: &AccountConfig,
        limits: &LimitsConfig,
    ) -> Result<Self, Failure> {
        let failed = |error: anyhow::Error| Failure::new(Exit::Failed, error);
        let options = gateway_options(&server.homeserver, settings, limits);
        if let Some(url) = &server.stream_url {
            let proxy = settings.proxy.as_deref().map(Proxy::parse).transpose();
            let proxy = proxy.map_err(|error| failed(error.into()))?;
            let extra_ca = settings.ca_file.clone();
            let (url, limits) = (url.clone(), stream_limits(limits));
            let route = Route::Remote(RemoteRoute { url, proxy, extra_ca, limits });
            return Ok(Self { route, options, inside: None });
        }
        let gateway = Gateway::new(options.clone()).map_err(|error| failed(error.into()))?;
        let (offer, connections) = channel::<DuplexStream>(DIALS);
        let connector = DuplexConnector::new(move || {
            let (client, inside) = tokio::io::duplex(DUPLEX_BYTES);
            offer.try_send(inside).map_err(|_closed| io::ErrorKind::ConnectionRefused)?;
            Ok(client)
        })
        .with_limits(stream_limits(limits));
        let inside = Some(Inside { gateway, connections });
        Ok(Self { route: Route::InProcess(connector), options, inside })
    }
}

/// How far the doors are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// All.
    All,
    /// No new guests.
    Inside,
    /// Over.
    None,
}

/// The running thread.
pub(super) struct Doors {
    open: watch::Sender<Open>,
    brief: watch::Receiver<usize>,
    thread: thread::JoinHandle<()>,
}

impl Doors {
    /// Starts the thread. Without `socket` there are no guests.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        way: Way,
        socket: Option<PathBuf>,
        faces: Sender<Face>,
    ) -> Result<(Self, Route), Failure> {
        let (open, is_open) = watch::channel(Open::All);
        let (brief, counted) = watch::channel(0);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let guests = Guests { faces, brief };
        let inside = way.inside;
        let thread = thread::Builder::new().name("doors".to_owned()).spawn(move || {
            runtime.block_on(serve(inside, socket, guests, is_open));
            runtime.shutdown_timeout(LAST_WORK);
        })?;
        Ok((Self { open, brief: counted, thread }, way.route))
    }

    /// Lets no new guests in, and waits for those that stay briefly.
    pub(super) async fn let_guests_finish(&mut self) {
        self.open.send_replace(Open::Inside);
        // An error means that the thread is gone, and the guests with it.
        drop(self.brief.wait_for(|brief| *brief == 0).await);
    }

    /// Ends the thread, and waits for that: a moment, or a little more than [`LAST_WORK`].
    pub(super) fn close(self) {
        self.open.send_replace(Open::None);
        if self.thread.join().is_err() {
            tracing::error!("the doors thread panicked");
        }
    }
}

async fn serve(
    inside: Option<Inside>,
    socket: Option<PathBuf>,
    guests: Guests,
    mut open: watch::Receiver<Open>,
) {
    let mut door = socket.and_then(|path| match Door::open(&path) {
        Ok(door) => Some(door),
        Err(error) => {
            tracing::warn!(kind = ?error.kind(), "no control socket");
            None
        }
    });
    let (gateway, mut connections) = match inside {
        Some(inside) => (Some(inside.gateway), Some(inside.connections)),
        None => (None, None),
    };
    let mut served = JoinSet::new();
    let mut seated = JoinSet::new();
    loop {
        tokio::select! {
            connection = next(&mut connections) => {
                if let Some(gateway) = gateway.clone() {
                    served.spawn(async move { gateway.serve_connection(connection).await });
                }
            }
            stream = knock(door.as_ref()), if seated.len() < MAX_GUESTS => {
                seated.spawn(guests.clone().serve(stream));
            }
            Some(_) = served.join_next() => {}
            Some(_) = seated.join_next() => {}
            changed = open.changed() => match (changed, *open.borrow_and_update()) {
                (Ok(()), Open::All) => {}
                (Ok(()), Open::Inside) => door = None,
                (Ok(()), Open::None) | (Err(_), _) => return,
            },
        }
    }
}

/// The next connection for the gateway; never, when there is none to serve.
async fn next(connections: &mut Option<Receiver<DuplexStream>>) -> DuplexStream {
    if let Some(open) = connections
        && let Some(connection) = open.recv().await
    {
        return connection;
    }
    *connections = None;
    std::future::pending().await
}

/// The next guest; never, when the door is closed.
async fn knock(door: Option<&Door>) -> tokio::net::UnixStream {
    match door {
        Some(door) => door.next().await,
        None => std::future::pending().await,
    }
}
