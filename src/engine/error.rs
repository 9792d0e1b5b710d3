//! Why the engine cannot go on.

use crate::{e2ee::MachineError, store::StoreError};

/// The engine must be dropped and built anew from disk: what it holds in memory may not be what
/// is on disk. Nothing the network sends is such an error.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session layer cannot go on.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The session layer failed while it prepared a room.
    #[error("the session layer failed: {0}")]
    Share(String),
    /// A value that was just put somewhere is not there.
    #[error("{0} is not where it was put; this is a bug of grotto")]
    Lost(&'static str),
}
