//! Secret storage: the account's secrets in its account data, sealed with a key that the user keeps.
//!
//! ```text
//!  open:   key typed ─▶ which key? ─▶ its description ─▶ does it fit? ─▶ each secret ─▶ compared
//!                                       (a passphrase is made a key         with its public key,
//!                                        by whoever drives the engine)      then taken, or not
//!  write:  description ─▶ secrets ─▶ default key; one at a time, what is left is on disk
//! ```
//!
//! All that is read here is the server's word. So nothing is taken that does not fit a public key
//! known otherwise, and nothing is sealed with a key that was not made on this device or shown to be
//! right by what only that key could have sealed.
//!
//! # Spec
//! Client-Server API, "Secrets", "Storage".

mod cipher;
mod create;
mod description;
mod open;
mod record;
mod write;

pub(super) use cipher::BASE64;
pub(super) use record::Storage;
pub(super) use write::WritePurpose;

pub use description::{Derivation, DerivedKey};
pub use open::{RecoverySecret, StorageRefusal};
pub use record::{CreationStatus, StorageStatus};
