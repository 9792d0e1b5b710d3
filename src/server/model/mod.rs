//! The model of the server: from a call and the records to an answer and changes. Pure: it reads
//! no clock and does no I/O.
//!
//! Every endpoint is a function from a step and a request of ruma's to a response of ruma's. The
//! endpoints of one topic are one file in `endpoints`, which lists them at its head; what
//! several of them need is a module beside it.

mod account_data;
mod accounts;
mod admin;
mod backup;
mod body;
mod endpoints;
mod expiring;
mod filters;
mod keys;
mod machine;
mod media;
mod presence;
mod profile;
mod push;
mod push_rules;
mod pushers;
mod rate;
mod receipts;
mod records;
mod refusal;
mod rooms;
mod route;
mod settings;
mod sliding;
mod step;
mod sync;
mod table;
#[cfg(test)]
mod testing;
mod to_device;
mod token;
mod transactions;
mod typing;
mod uia;
mod usage;
mod volatile;

pub use admin::{AdminDone, AdminJob, Enrolled, UserLine};
pub use machine::{Answer, Ask, Model, Outcome};
pub(super) use media::PIECE_BYTES;
pub use media::{MediaDone, MediaJob, MediaRecord};
pub use refusal::{Done, Refusal, Work};
pub use route::Address;
pub use settings::{Contact, Rate, Rates, Registration, Settings};
pub(super) use step::Overlay;
pub use table::{Broken, Changes, Lookup, Order, Range, Record};
