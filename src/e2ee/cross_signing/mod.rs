//! Our cross-signing identity: its private keys, how it is made, what is signed with it, and how
//! the identities of others stand.
//!
//! ```text
//!  Untried ─▶ Asked ── the account has none ──▶ Uploading ── 200 ──▶ Done (verified, signs itself)
//!               │                                   │ ▲
//!               │ it has one                    401 │ │ the user proves who they are
//!               ▼                                   ▼ │
//!             Theirs ◀── another client was first ──┴─┘
//! ```
//!
//! The private keys are three seeds in a record of the store. The specification wants the master
//! key kept only where it is protected: our store is always encrypted (SQLCipher), so it is.
//!
//! An identity is *ours to use* when this device verified its master key: it made it, somebody
//! compared it, or the private key that fits it came in. Nothing is ever signed with, or for,
//! another one.
//!
//! # Spec
//! Client-Server API, "Cross-signing", `POST /keys/device_signing/upload`,
//! `POST /keys/signatures/upload`.

mod bootstrap;
mod keys;
mod own;
mod record;
mod sign;
mod states;

pub(super) use bootstrap::{SigningKeysPurpose, identity_on_its_way};
pub(super) use keys::SecretName;
pub(super) use own::{Imported, Shown};
pub(super) use record::{CrossSigning, is_verified_master};
pub(super) use sign::{SignaturesPurpose, Signed};
pub(super) use states::state_of;

pub use bootstrap::{AuthNeeded, Bootstrap};
pub use own::OwnIdentity;
pub use states::{IdentityState, IdentityStatus};
