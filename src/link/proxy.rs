//! Proxies for outgoing connections: SOCKS5 (Tor) and HTTP CONNECT. Host names are always resolved
//! by the proxy, never here.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_socks::tcp::Socks5Stream;
use url::Url;

use crate::secret::Secret;

/// Largest answer head of an HTTP proxy.
const MAX_ANSWER_BYTES: usize = 8 << 10;

/// A proxy, given as `socks5://[user:password@]host:port` or `http://[user:password@]host:port`.
#[derive(Clone, Debug)]
pub struct Proxy {
    kind: ProxyKind,
    host: String,
    port: u16,
    login: Option<(String, Secret<String>)>,
}

#[derive(Clone, Copy, Debug)]
enum ProxyKind {
    Socks5,
    Connect,
}

/// Why a proxy cannot be used. The address is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Not an address of a proxy.
    #[error("a proxy is given as socks5://host:port or http://host:port")]
    Address,
    /// The proxy is not there.
    #[error("proxy {host}:{port} cannot be reached")]
    Unreachable {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The SOCKS proxy said no.
    #[error("the SOCKS5 proxy refused")]
    Socks(#[source] tokio_socks::Error),
    /// The HTTP proxy said no.
    #[error("the HTTP proxy refused with status {0}")]
    Connect(u16),
    /// The HTTP proxy does not speak HTTP.
    #[error("the HTTP proxy gave no valid answer")]
    Answer,
    /// The connection to the proxy broke.
    #[error("the connection to the proxy broke")]
    Io(#[from] std::io::Error),
}

impl Proxy {
    /// Reads the address of a proxy.
    ///
    /// # Errors
    /// When it is no URL, or of another scheme.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let url = Url::parse(text).map_err(|_not_a_url| ProxyError::Address)?;
        let (kind, default_port) = match url.scheme() {
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            "http" => (ProxyKind::Connect, 80),
            _ => return Err(ProxyError::Address),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(ProxyError::Address)?;
        let login = (!url.username().is_empty())
            .then(|| (decoded(url.username()), Secret::new(decoded(url.password().unwrap_or("")))));
        let port = url.port().unwrap_or(default_port);
        Ok(Self { kind, host: host.trim_matches(['[', ']']).to_owned(), port, login })
    }

    /// Connects to `host:port` through the proxy.
    pub(super) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ProxyError> {
        let stream =
            TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|source| {
                ProxyError::Unreachable { host: self.host.clone(), port: self.port, source }
            })?;
        stream.set_nodelay(true)?;
        match self.kind {
            ProxyKind::Socks5 => self.socks(stream, host, port).await,
            ProxyKind::Connect => self.http(stream, host, port).await,
        }
    }

    async fn socks(
        &self,
        stream: TcpStream,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, ProxyError> {
        let target = (host, port);
        let connected = match &self.login {
            None => Socks5Stream::connect_with_socket(stream, target).await,
            Some((user, password)) => {
                let password = password.expose();
                Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
            }
        };
        Ok(connected.map_err(ProxyError::Socks)?.into_inner())
    }

    async fn http(
        &self,
        mut stream: TcpStream,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, ProxyError> {
        stream.write_all(self.connect_head(host, port).expose().as_bytes()).await?;
        // Byte by byte: what follows the head belongs to the tunnel.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= MAX_ANSWER_BYTES {
                return Err(ProxyError::Answer);
            }
            head.push(stream.read_u8().await?);
        }
        match status(&head).ok_or(ProxyError::Answer)? {
            200..=299 => Ok(stream),
            other => Err(ProxyError::Connect(other)),
        }
    }

    fn connect_head(&self, host: &str, port: u16) -> Secret<String> {
        use base64::Engine as _;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let login = self.login.as_ref().map_or_else(String::new, |(user, password)| {
            let pair = Secret::new(format!("{user}:{}", password.expose()));
            let code = base64::engine::general_purpose::STANDARD.encode(pair.expose());
            format!("Proxy-Authorization: Basic {code}\r\n")
        });
        Secret::new(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{login}\r\n"))
    }
}

/// `HTTP/1.1 200 ...` → 200.
fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let (version, rest) = line.split_once(' ')?;
    version.starts_with("HTTP/1.").then_some(())?;
    rest.get(..3)?.parse().ok()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
