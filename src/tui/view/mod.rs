//! The state as cells. Takes `&State`: drawing cannot change anything. Where things are was decided
//! before (`state::Areas`), what is visible of the messages too (`RoomPane::visible`).

mod alarms;
mod composer;
mod help;
mod hints;
mod overlay;
mod room_list;
mod screen;
mod status;
mod timeline;

pub use screen::draw;
