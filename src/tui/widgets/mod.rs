//! Drawing that knows no application: rows of styled text, lists, framed boxes. Knows the terminal
//! library and the theme, nothing of the state.

mod canvas;
mod framed;
mod scroll_list;

pub(super) use canvas::Canvas;
pub(super) use framed::framed;
pub(super) use scroll_list::{ListEntry, scroll_list};
