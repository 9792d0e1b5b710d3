//! `grotto demo`: a live encrypted conversation with nothing to set up, and nothing left behind.
//!
//! ```text
//! main thread          demo thread                                        server thread
//! tui::run ──────────▶ engine of the user ──┐
//!                      engine of the guide ─┼─ duplex ─▶ gateway ────────▶ Server, in memory
//!                      engine of Robin ─────┘
//!                        ▲ actor: Update ─▶ Senses ─▶ Seen ─▶ Person ─▶ Deed ─▶ Command
//! ```
//!
//! The guide and Robin are accounts like any other, with devices and keys of their own. What they
//! do is pure: `Tour` and `Friend` turn what was `Seen` into `Deed`s; `stage` sets
//! everything up, and `actor` carries the deeds out.

mod actor;
mod friend;
mod house;
mod person;
mod seen;
mod stage;
mod story;
mod tour;

pub use stage::{DemoError, run};
