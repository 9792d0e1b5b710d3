//! One encrypted file per account: the only durable state.
//!
//! The file is SQLCipher, opened by one process at a time (`store.lock` names it) with a random
//! master key that lies in `store.key` beside it: sealed under a passphrase, or in clear for the
//! owner's eyes only. The engine hands in a [`Pending`] step; [`Store::commit`] writes all of it in
//! one transaction and only then gives out what the step wants sent. What the records of the
//! session layer mean is `e2ee`'s business; what events mean is that of `rooms`.
//!
//! ```text
//! store.key ──passphrase──▶ master key ──▶ store.db (+ store.db-wal)
//! store.lock: held while open, released by the system when the process dies
//! ```
//!
//! A step's frames cannot be reached without the commit:
//!
//! ```compile_fail,E0616
//! let pending = grotto::store::Pending::new(grotto::store::Writes::default(), "frame");
//! let frame = pending.held; // private: only `Store::commit` gives it out
//! ```

mod account;
mod commit;
mod crypto;
mod error;
mod event;
mod files;
mod handle;
mod key;
mod lease;
mod lock;
mod open;
mod outbox;
mod room;
mod schema;
mod writes;

pub use account::{Account, Origin};
pub use error::{CommitError, OpenError, StoreError};
pub use handle::Store;
pub use key::{KdfCost, Protection, StoreKey};
pub use lease::{Lease, OAuthClient, Standing};
pub use lock::Holder;
pub use open::{set_passphrase, set_passphrase_with};
pub use outbox::{
    FileItem, FilePlace, OutboxItem, OutboxRow, OutboxState, OutboxWrite, UploadedFile,
};
pub use room::{Gap, GapWrite, RoomRow};
pub use writes::{Pending, Writes};

#[cfg(test)]
mod tests;
