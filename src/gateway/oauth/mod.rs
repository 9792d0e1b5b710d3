//! The client's end of OAuth 2.0, for logins: what an authorization server offers, the device
//! authorization grant, renewing and revoking tokens. Its server may be another than the homeserver,
//! so these calls go there directly, by the account's proxy, and not over the stream.
//!
//! Nothing here follows a redirect, and nothing is sent to an address that is not TLS or of this
//! machine. What the server says is bounded, and never shown as it came.
//!
//! # Spec
//! Client-Server API, "OAuth 2.0 API"; RFC 8414, RFC 7591, RFC 8628, RFC 6749, RFC 7009.

mod client;
mod device;
mod error;
mod metadata;
mod token;

pub use client::{OAuth, Registered};
pub use device::{DeviceGrant, Poll};
pub use error::OAuthError;
pub use metadata::Metadata;
pub use token::{Tokens, WhichScope, scope};

#[cfg(test)]
mod tests;
