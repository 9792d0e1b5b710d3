//! What a server knows that is not on its disk, and may be lost with it: who types, how often who
//! asked.

use super::{expiring::Expiring, rate::Buckets, uia::Proof};
use crate::matrix::OwnedUserId;

/// What is not on the disk.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    /// How often who asked.
    pub(super) buckets: Buckets,
    /// Who is about to prove who they are.
    pub(super) proofs: Expiring<String, Proof>,
    /// One-time tokens with which another device logs in, by hash.
    pub(super) login_tokens: Expiring<String, OwnedUserId>,
}
