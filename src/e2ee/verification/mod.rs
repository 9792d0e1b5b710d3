//! Interactive verification: two people, or one person with two devices, compare what they see.
//!
//! ```text
//!            request            ready              start              keys, MACs        done
//!  Asked ────────────▶ Invited ──────▶ Ready ──┬──────────▶ Sas ───────────────────▶ Done
//!                                              └─ QR code ─▶ Scanned / Reciprocated ─▶ Done
//!            any state ── cancel, time-out, changed keys ──▶ Cancelled
//! ```
//! A [`flow::Flow`] is one conversation and knows no store; [`desk`] keeps them all, looks keys up
//! and signs in the end. Flows live in memory only: a restart forgets those under way, and their
//! time-out ends them on the other side.
//!
//! Nothing counts as verified before [`proof::Verified`] exists, which only the user's word
//! together with a check of the keys makes.
//!
//! # Spec
//! Client-Server API, "Key verification framework", "Short Authentication String (SAS)
//! verification", "QR codes".

mod code;
mod content;
mod desk;
mod emoji;
mod flow;
mod incoming;
mod keys;
mod outgoing;
mod proof;
mod qr;
mod sas;
mod short;
#[cfg(test)]
mod tests;
mod view;

pub use code::CancelCode;
pub(super) use content::PREFIX;
pub(super) use desk::Verifications;
pub use desk::{RoomVerification, VerificationAct, VerificationError};
pub use emoji::Emoji;
pub use outgoing::Scan;
pub use view::{Ending, VerificationId, VerificationStage, VerificationView};
