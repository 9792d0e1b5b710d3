//! Text from others, made safe for a terminal: the one sanitizer.
//!
//! Whatever somebody else wrote (bodies, names, topics, file names, reaction keys, error texts of
//! servers, user ids) becomes a [`SafeText`] before it is drawn, printed or logged. [`clean`] has
//! the rules, [`SafeText`] is the proof that they were applied, [`safe_file_name`] does the same
//! for names under which something is saved.

mod clean;
mod file_name;
#[cfg(test)]
mod tests;
mod text;

pub use file_name::safe_file_name;
pub use text::{SafeText, grapheme_width};
