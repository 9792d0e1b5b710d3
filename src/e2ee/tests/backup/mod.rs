//! The key backup between devices of one account and their server, which may be hostile.

mod making;
mod restore;
mod scene;
mod search;
mod strangers;
mod upload;
