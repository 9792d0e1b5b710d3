//! What a gateway is made of.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::{
    connection::{self, Parts},
    handshake::{self, Accepted, Upgrade},
    homeserver::Homeserver,
    http::Http,
    service::Host,
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

/// The server's end, for any number of connections to one homeserver: over HTTP, or in this
/// process. Cheap to clone.
#[derive(Debug)]
pub struct Gateway<H = Http> {
    options: Arc<GatewayOptions>,
    homeserver: Arc<H>,
}

impl<H> Clone for Gateway<H> {
    fn clone(&self) -> Self {
        Self { options: Arc::clone(&self.options), homeserver: Arc::clone(&self.homeserver) }
    }
}

impl Gateway {
    /// Makes one before a homeserver that is reached over HTTP; nothing is connected yet.
    ///
    /// # Errors
    /// When an option is wrong.
    pub fn new(options: GatewayOptions) -> Result<Self, GatewayError> {
        let homeserver = Http::new(&options)?;
        Ok(Self::before(homeserver, options))
    }
}

impl<H: Homeserver> Gateway<H> {
    /// Makes one before this homeserver.
    pub fn before(homeserver: H, options: GatewayOptions) -> Self {
        Self { options: Arc::new(options), homeserver: Arc::new(homeserver) }
    }

    /// Serves one connection from its HTTP handshake to its end.
    pub async fn serve_connection<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (_never, stop) = watch::channel(false);
        self.serve_until(stream, stop).await;
    }

    async fn serve_until<S>(&self, stream: S, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(upgrade) = handshake::accept(stream, self).await {
            self.run(upgrade, stop).await;
        }
    }

    /// The same before another homeserver: for instance one that knows whom it serves.
    #[must_use]
    pub fn instead(&self, homeserver: H) -> Self {
        Self { options: Arc::clone(&self.options), homeserver: Arc::new(homeserver) }
    }

    /// Answers a handshake: a refusal, or the beginning of a stream.
    ///
    /// The stream goes on with [`Gateway::run`] once the answer is written.
    pub fn upgrade<B>(&self, request: &mut Request<B>) -> (Response<Full<Bytes>>, Option<Upgrade>) {
        handshake::answer(request, &self.options)
    }

    /// Serves a stream to its end, which comes in good order once `stop` turns true.
    pub async fn run(&self, upgrade: Upgrade, stop: watch::Receiver<bool>) {
        if let Some(Accepted { socket, token }) = upgrade.finish(&self.options.limits).await {
            let limits = self.options.limits.clone();
            let homeserver = Arc::clone(&self.homeserver);
            connection::run(socket, Parts { homeserver, token, limits, stop }).await;
        }
    }
}

impl<H: Homeserver> Host for Gateway<H> {
    fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// Where a connection comes from is nothing that a homeserver behind HTTP is told.
    async fn serve<S>(&self, stream: S, _from: IpAddr, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve_until(stream, stop).await;
    }
}
