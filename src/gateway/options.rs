//! What a gateway is made of.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::{
    connection::{self, Parts},
    handshake::{Accepted, accept},
    http::Http,
};
use crate::wire::Limits;

/// What a gateway is told.
#[derive(Clone, Debug, Default)]
pub struct GatewayOptions {
    /// Base URL of the one homeserver it stands before, for instance `https://matrix.example.org`.
    pub homeserver: String,
    /// Proxy for the calls of the homeserver: `socks5://host:port` or `http://host:port`.
    pub proxy: Option<String>,
    /// A PEM file of further trusted certificates.
    pub extra_ca: Option<PathBuf>,
    /// Browser origins that may connect, for instance `https://chat.example.org`. None by default.
    pub allowed_origins: Vec<String>,
    /// All limits.
    pub limits: Limits,
}

/// Where and how a gateway listens.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Where; port 0 picks a free one.
    pub address: SocketAddr,
    /// Certificate and key; without them it speaks plain HTTP, for use behind a reverse proxy.
    pub tls: Option<TlsFiles>,
}

/// A certificate and its key, read again on SIGHUP.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM file of the certificate chain, the server's own first.
    pub certificates: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// Why a gateway cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Not the URL of a homeserver.
    #[error("{0:?} is not a homeserver URL: it begins with https:// (http:// to this machine)")]
    Homeserver(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// The HTTP client cannot be made: a wrong proxy address.
    #[error("the HTTP client cannot be set up: is the proxy address right?")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The server's end, for any number of connections to one homeserver. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    options: Arc<GatewayOptions>,
    homeserver: Arc<Http>,
}

impl Gateway {
    /// Makes one; nothing is connected yet.
    ///
    /// # Errors
    /// When an option is wrong.
    pub fn new(options: GatewayOptions) -> Result<Self, GatewayError> {
        let homeserver = Arc::new(Http::new(&options)?);
        Ok(Self { options: Arc::new(options), homeserver })
    }

    /// All limits.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// Serves one connection from its HTTP handshake to its end.
    pub async fn serve_connection<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (_never, stop) = watch::channel(false);
        self.serve_until(stream, stop).await;
    }

    /// The same, ending in good order once `stop` turns true.
    pub(super) async fn serve_until<S>(&self, stream: S, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(Accepted { socket, token }) = accept(stream, &self.options).await {
            let limits = self.options.limits.clone();
            let homeserver = Arc::clone(&self.homeserver);
            connection::run(socket, Parts { homeserver, token, limits, stop }).await;
        }
    }
}
