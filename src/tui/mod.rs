//! The screen and its keys.
