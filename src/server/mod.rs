//! The embedded homeserver: one process, one file, one machine, without federation.
//!
//! `model` is the whole server as a pure function over an ordered map of records; `db` is that map
//! in a file or in memory; `host` owns both, writes what the model answers before the answer
//! leaves, and keeps the calls that wait; `listen` is its network.

mod admin;
mod db;
mod folder;
mod front;
mod host;
mod listen;
mod media;
mod metrics;
mod model;
mod patience;
mod waiting;
mod work;

pub use admin::{Admin, AdminError};
pub use db::{Database, DatabaseError};
pub use folder::{Folder, FolderError, open_beside};
pub use host::{Server, ServerError};
pub use listen::Site;
pub use model::{
    Address, AdminDone, AdminJob, Answer, Ask, Broken, Changes, Contact, Done, Enrolled, Lookup,
    MediaDone, MediaJob, MediaRecord, Model, Order, Outcome, Range, Rate, Rates, Record, Refusal,
    Registration, Settings, UserLine, Work,
};
