//! What notifies whom: the push rules of each member over each new event, and the counts of what
//! somebody has not read.
//!
//! `evaluate` runs the rules when an event is filed, by what `holds` says of each, and keeps one small
//! record for all members; `counts` adds those records up from where somebody has read to.

mod counts;
mod evaluate;
mod holds;
mod rules;

pub(super) use counts::{Count, ReadUpTo, UnreadCache, unread};
pub(super) use evaluate::{on_event, thread_of};
pub(super) use rules::{PersonalCache, personal};

#[cfg(test)]
mod tests;
