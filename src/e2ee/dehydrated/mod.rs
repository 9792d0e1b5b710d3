//! The dehydrated device: keys laid down at the server, sealed, so that messages that come while
//! nobody is logged in can be read by whoever logs in next.
//!
//! ```text
//!  a storage is open ─▶ is it offered? ─▶ its key into secret storage ─▶ made, signed, uploaded
//!                                              ▲                             │ each week anew
//!  a storage was opened that has the key       └─────────────────────────────┘
//!     ─▶ what waits there? ─▶ does the key open it? did our identity sign it?
//!     ─▶ its messages, page by page: the room keys in them are ours ─▶ another takes its place
//! ```
//!
//! What waits there stays until another takes its place, and that is the last thing that happens:
//! who is interrupted begins again. So of a taking over nothing is on disk but that it is wanted,
//! and the private keys of the device are in memory only.
//!
//! The messages go through the same checks as those for this device. Of what is in them only room
//! keys are taken: the rest was for somebody who is there.
//!
//! # Spec
//! MSC3814, "Dehydrated devices with SSSS".

mod make;
mod record;
mod rehydrated;
mod take;

pub(super) use record::{DehydratedPurpose, Dehydration};
