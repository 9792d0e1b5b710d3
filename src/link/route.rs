//! Where the other end is, and why it may not be reached.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::io::DuplexStream;

use super::proxy::{Proxy, ProxyError};
use crate::{tls::TlsError, wire::Limits};

/// Where the other end of the stream is.
#[derive(Clone, Debug)]
pub enum Route {
    /// A stream server on the network.
    Remote(RemoteRoute),
    /// The gateway in this process.
    InProcess(DuplexConnector),
}

/// A stream server on the network.
#[derive(Clone, Debug)]
pub struct RemoteRoute {
    /// `wss://…`; `ws://…` only to this machine or to an onion service.
    pub url: String,
    /// By way of which proxy.
    pub proxy: Option<Proxy>,
    /// A PEM file of further trusted certificates.
    pub extra_ca: Option<PathBuf>,
    /// What the server may make us keep, and how long it may take.
    pub limits: Limits,
}

impl Route {
    /// The limits of connections on it.
    pub(super) fn limits(&self) -> &Limits {
        match self {
            Self::Remote(remote) => &remote.limits,
            Self::InProcess(connector) => &connector.limits,
        }
    }
}

/// Makes connections to the gateway in this process: the client's half of a fresh duplex, whose
/// other half the gateway has been given.
#[derive(Clone)]
pub struct DuplexConnector {
    connect: Arc<Connect>,
    limits: Limits,
}

type Connect = dyn Fn() -> io::Result<DuplexStream> + Send + Sync;

impl DuplexConnector {
    /// Takes the function that makes the pair and hands its other half to the gateway; it must not
    /// block.
    pub fn new(connect: impl Fn() -> io::Result<DuplexStream> + Send + Sync + 'static) -> Self {
        Self { connect: Arc::new(connect), limits: Limits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(super) fn connect(&self) -> io::Result<DuplexStream> {
        (self.connect)()
    }
}

impl fmt::Debug for DuplexConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DuplexConnector(..)")
    }
}

/// Why there is no connection. All but a wrong URL, proxy address or CA file may go away by itself.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not the URL of a stream.
    #[error("{0:?} is not a stream URL: it begins with wss:// and names a host")]
    Url(String),
    /// A token would travel in the clear.
    #[error("ws:// is not encrypted and only allowed to this machine: use wss:// for {0}")]
    Insecure(String),
    /// The host is not there.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// Which host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The proxy is not there, or refused.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// No trust in the certificate, or no common version.
    #[error("no trusted TLS connection to {host}")]
    Handshake {
        /// Which host.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// TLS cannot be set up on our side.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server answered, and said no.
    #[error("the server refused the stream: HTTP status {status}{reason}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words after a colon, or nothing; untrusted text, at most 200 characters.
        reason: String,
    },
    /// The server is no WebSocket server, or speaks no version we know.
    #[error("the server does not speak the stream")]
    Upgrade(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// The gateway in this process is gone.
    #[error("the gateway in this process does not answer")]
    InProcess(#[source] io::Error),
    /// It took too long.
    #[error("no connection within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The access token cannot stand in a header.
    #[error("the access token holds characters that no token has: log in again")]
    Token,
}
