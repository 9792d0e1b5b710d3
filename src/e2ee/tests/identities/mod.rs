//! Cross-signing identities: made, signed with, replaced, pinned; who gets keys by them.

mod others;
mod own;
mod recipients;
mod scene;
