//! `verify`: one verification from the request to its end, a line for each step. [`options`] is what
//! is wanted, [`opening`] finds or makes the verification, [`session`] leads it to its end, and
//! [`words`] is what is printed.

mod opening;
mod options;
mod session;
mod words;

pub use options::{Begin, Code, Comparer, VerifyOptions};
pub use session::verify;
