//! The server's end of the stream: any homeserver's HTTP API behind one WebSocket.

mod calls;
mod certificate;
mod connection;
mod discover;
mod handshake;
mod homeserver;
mod http;
mod oauth;
mod options;
mod peer;
mod pipe;
mod service;

pub use certificate::CertificateError;
pub use discover::{DiscoverError, Discovered, advertised, discover};
pub use handshake::Upgrade;
pub use homeserver::{BodyStream, Homeserver, Reply};
pub use http::Http;
pub use oauth::{
    DeviceGrant, Metadata, OAuth, OAuthError, Poll, Registered, Tokens, WhichScope, scope,
};
pub use options::{Gateway, GatewayError, GatewayOptions, ListenOptions, TlsFiles};
pub use peer::{Answer, Call, CallFailure, CallId, Identity, Peer, PeerEffect, PeerInput};
pub use service::{Host, ListenError, Listener, network, terminated};
