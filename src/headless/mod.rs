//! Commands without a screen: each is one function that asks the engine and prints what came of it.
//!
//! A command holds an [`Errand`], its seat at the engine; it cannot tell whether that engine runs
//! in this process or behind the control socket of another one. What it prints goes through
//! [`Output`]; exit codes are chosen by `run` from [`HeadlessError`].

mod errand;
mod error;
mod feed;
mod files;
mod history;
mod key_files;
mod keys;
mod line;
mod output;
mod people;
mod recovery;
mod resolve;
mod rooms;
mod send;
mod tail;
mod trust;
mod verify;

pub use errand::Errand;
pub use error::{HeadlessError, RoomError};
pub use files::{Destination, DownloadOptions, download};
pub use history::{HistoryOptions, history};
pub use key_files::{KeyFileOptions, export_keys, import_keys};
pub use keys::{KeysUploaded, Settled, key_status, key_story, logout, settle};
pub use line::{File, Line, Message, RoomLine, What};
pub use output::{Format, Output};
pub use recovery::{Making, can_be_typed, look, recover, set_up_recovery};
pub use rooms::{Encryption, NewRoom, create, invite, join, leave, rooms};
pub use send::{SendOptions, Sending, fresh_transaction, send};
pub use tail::{Start, TailOptions, tail};
pub use trust::{
    TrustAct, block_device, delete_device, devices, policy, rename_device, reset_identity, trust,
};
pub use verify::{Begin, Code, Comparer, VerifyOptions, verify};
