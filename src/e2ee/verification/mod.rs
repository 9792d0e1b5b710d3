//! Interactive verification: two people, or one person with two devices, compare what they see.
//!
//! ```text
//!            request            ready              start              keys, MACs        done
//!  Asked ────────────▶ Invited ──────▶ Ready ──┬──────────▶ Sas ───────────────────▶ Done
//!                                              └─ QR code ─▶ Scanned / Reciprocated ─▶ Done
//!            any state ── cancel, time-out, changed keys ──▶ Cancelled
//! ```
//! A [`flow::Flow`] is one conversation and knows no store: [`heard`] is what the other side does
//! to it, [`wish`] what our user does. Around it, [`incoming`] and [`invited`] find the flow of an
//! event or make one, [`begin`] asks others, [`keys`] looks up whose keys it is about, [`settle`]
//! sends and signs, and [`desk`] keeps them all. Flows live in memory only: a restart forgets those
//! under way, and their time-out ends them on the other side.
//!
//! Nothing counts as verified before [`proof::Verified`] exists, which only the user's word
//! together with a check of the keys makes.
//!
//! # Spec
//! Client-Server API, "Key verification framework", "Short Authentication String (SAS)
//! verification", "QR codes".

mod act;
mod begin;
mod code;
mod content;
mod desk;
mod emoji;
mod flow;
mod heard;
mod incoming;
mod invited;
mod keys;
mod outgoing;
mod place;
mod progress;
mod proof;
mod qr;
mod sas;
mod settle;
mod short;
#[cfg(test)]
mod tests;
mod view;
mod wish;

pub use act::{VerificationAct, VerificationError};
pub use code::CancelCode;
pub(super) use content::PREFIX;
pub(super) use desk::Verifications;
pub use emoji::Emoji;
pub use incoming::RoomVerification;
pub use outgoing::Scan;
pub use view::{Ending, VerificationId, VerificationStage, VerificationView};
