//! Wires the house together; the only module that knows all others.

mod failure;
mod start;

pub use failure::Failure;
pub use start::run;
