//! Why the engine cannot go on, and what faces are told of the server's errors.

use super::CommandError;
use crate::{e2ee::MachineError, matrix::MatrixError, rooms::SendError, store::StoreError};

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

impl From<&MatrixError> for CommandError {
    /// The server's words, or ours where it has none.
    fn from(error: &MatrixError) -> Self {
        let message = if error.error.is_empty() {
            format!("the server refused it (HTTP {})", error.status)
        } else {
            error.error.clone()
        };
        Self { code: error.errcode.clone(), message }
    }
}

impl From<&MatrixError> for SendError {
    fn from(error: &MatrixError) -> Self {
        CommandError::from(error).into()
    }
}

// The two say the same: one of a message, one of a request.
impl From<CommandError> for SendError {
    fn from(CommandError { code, message }: CommandError) -> Self {
        Self { code, message }
    }
}

impl From<SendError> for CommandError {
    fn from(SendError { code, message }: SendError) -> Self {
        Self { code, message }
    }
}
