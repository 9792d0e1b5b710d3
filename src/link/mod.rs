//! One socket's life, the client's end: the pure [`Link`] decides when to dial, what to say first
//! and what a frame means; [`Transport`] does the I/O and notices a dead server.

mod heard;
mod proxy;
mod route;
mod state;
#[cfg(test)]
mod tests;
mod transport;

pub use proxy::{Proxy, ProxyError};
pub use route::{DialError, DuplexConnector, RemoteRoute, Route};
pub use state::{Link, LinkEvent, LinkState};
pub use transport::{Transport, TransportError};
