//! Inputs into changes of the state and effects. Knows no terminal library and no clock.

mod alarms;
mod compose;
mod effects;
mod feed;
mod files;
mod frame;
mod keys;
mod messages;
mod overlay;
mod rooms;
mod setup;
mod slash;
mod trust;
mod verification;
mod whole;

pub use effects::{Effects, TerminalEffect};
pub use whole::update;
