//! The server's end of the stream: any homeserver's HTTP API behind one WebSocket.

mod discover;
mod options;
mod service;

pub use discover::{DiscoverError, Discovered, discover};
pub use options::{Gateway, GatewayError, GatewayOptions, ListenOptions, TlsFiles};
pub use service::{ListenError, Listener, terminated};
