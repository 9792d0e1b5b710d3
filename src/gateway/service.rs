//! The gateway as a service: accepts connections, counts them, reads its certificate again on
//! SIGHUP, and stops in good order.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    certificate::{CertificateError, acceptor},
    options::{ListenOptions, TlsFiles},
};
use crate::wire::Limits;

/// Pause after a failed accept: the process is out of files, and some must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What the last connections may take to close after they are drained.
const CLOSE_MARGIN: Duration = Duration::from_secs(5);

/// How many are told at once that there are too many; further ones are just closed.
const MAX_TURNED_AWAY: usize = 64;
/// How long that may take.
const TURN_AWAY_TIME: Duration = Duration::from_secs(2);
/// What is read of them meanwhile.
const MAX_UNREAD_BYTES: usize = 64 << 10;
/// What they are told.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 68\r\n\r\n\
    {\"errcode\":\"M_LIMIT_EXCEEDED\",\"error\":\"too many connections; later\"}";

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The system gives us no signals.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

/// What serves the connections of a [`Listener`].
pub trait Host: Clone + Send + Sync + 'static {
    /// All limits.
    fn limits(&self) -> &Limits;

    /// Serves one connection to its end, which comes in good order once `stop` turns true. `from`
    /// is where it comes from, as connections are counted: of IPv6 the first 64 bits.
    fn serve<S>(
        &self,
        stream: S,
        from: IpAddr,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// A socket that is bound and not yet served.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    certificate: Option<Certificate>,
    hangup: Hangup,
}

impl Listener {
    /// Binds the address and reads the certificate.
    ///
    /// # Errors
    /// When the address is taken, or a file is wrong.
    pub async fn bind(options: ListenOptions) -> Result<Self, ListenError> {
        let certificate = match options.tls {
            Some(files) => Some(Certificate { acceptor: acceptor(&files).await?, files }),
            None => None,
        };
        let address = options.address;
        let socket = TcpListener::bind(address)
            .await
            .map_err(|source| ListenError::Bind { address, source })?;
        let hangup = Hangup::new().map_err(ListenError::Signals)?;
        Ok(Self { socket, certificate, hangup })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is ready; then accepts no more, tells the clients when to come back,
    /// and waits for their last answers, within [`Limits::drain`] and some seconds.
    pub async fn serve(mut self, host: impl Host, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let (stopping, is_stopping) = watch::channel(false);
        let mut guests = Guests::default();
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = self.hangup.next() => self.read_certificate_again().await,
                () = guests.departure() => {}
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, address)) => {
                        let tls = self.certificate.as_ref().map(|known| known.acceptor.clone());
                        let stop = is_stopping.clone();
                        guests.arrival(Arrival { stream, address, tls, stop }, &host);
                    }
                    Err(error) => {
                        tracing::warn!(kind = %error.kind(), "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.socket);
        stopping.send_replace(true);
        let patience = host.limits().drain + CLOSE_MARGIN;
        let in_time = timeout(patience, guests.all_departures()).await.is_ok();
        tracing::info!(in_time, "listener stopped");
    }

    async fn read_certificate_again(&mut self) {
        let Some(known) = &mut self.certificate else {
            return;
        };
        match acceptor(&known.files).await {
            Ok(fresh) => {
                known.acceptor = fresh;
                tracing::info!("certificate read again");
            }
            Err(error) => tracing::warn!(%error, "the old certificate stays in use"),
        }
    }
}

struct Certificate {
    files: TlsFiles,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

/// A connection that was accepted.
struct Arrival {
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    /// Turns true when the service stops.
    stop: watch::Receiver<bool>,
}

/// The connections, and how many come from where.
#[derive(Default)]
struct Guests {
    tasks: JoinSet<()>,
    addresses: HashMap<tokio::task::Id, IpAddr>,
    counts: HashMap<IpAddr, usize>,
    /// Those that are being turned away.
    turned_away: JoinSet<()>,
}

impl Guests {
    /// Serves a connection unless there are too many. Then it is told so where that costs little:
    /// not over TLS, and not in a flood.
    fn arrival(&mut self, arrival: Arrival, host: &impl Host) {
        let limits = host.limits();
        let from = network(arrival.address.ip());
        let count = self.counts.get(&from).copied().unwrap_or_default();
        if self.tasks.len() >= limits.max_connections || count >= limits.max_connections_per_address
        {
            // Nothing is remembered of who is turned away: a flood has many addresses.
            tracing::debug!(in_all = self.tasks.len(), from_one = count, "too many connections");
            while self.turned_away.try_join_next().is_some() {}
            if arrival.tls.is_none() && self.turned_away.len() < MAX_TURNED_AWAY {
                self.turned_away.spawn(turn_away(arrival.stream));
            }
            return;
        }
        self.counts.insert(from, count + 1);
        let handle = self.tasks.spawn(serve(arrival, host.clone()));
        self.addresses.insert(handle.id(), from);
    }

    /// Waits for a connection to end; never ready while there is none. Cancel-safe.
    async fn departure(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return std::future::pending().await,
        };
        let Some(from) = self.addresses.remove(&id) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&from);
            }
        }
    }

    async fn all_departures(&mut self) {
        while !self.tasks.is_empty() {
            self.departure().await;
        }
    }
}

async fn serve(arrival: Arrival, host: impl Host) {
    let Arrival { stream, address, tls, stop } = arrival;
    let from = network(address.ip());
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match tls {
        None => host.serve(stream, from, stop).await,
        Some(tls) => {
            let limit = host.limits().header_timeout;
            if let Ok(Ok(stream)) = timeout(limit, tls.accept(stream)).await {
                host.serve(stream, from, stop).await;
            } else {
                tracing::debug!("no TLS handshake");
            }
        }
    }
}

/// Tells a client to come again later. What it sent is read too: unread, it would reset the
/// connection and take the answer with it.
async fn turn_away(mut stream: TcpStream) {
    let told = async {
        stream.write_all(BUSY).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        let mut left = MAX_UNREAD_BYTES;
        while left > 0 {
            match stream.read(&mut rest).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    let in_time = timeout(TURN_AWAY_TIME, told).await.is_ok();
    tracing::trace!(in_time, "turned away");
}

/// What counts as one address: an IPv6 customer has a whole /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

/// Ready when the process is asked to end: SIGTERM or Ctrl-C.
pub async fn terminated() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt => {}
            }
            return;
        }
    }
    drop(interrupt.await);
}

/// SIGHUP, where there is one.
#[derive(Debug)]
struct Hangup {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangup {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { signal: signal(SignalKind::hangup())? })
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Cancel-safe.
    #[cfg(unix)]
    async fn next(&mut self) {
        if self.signal.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_as_the_networks_people_have() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
