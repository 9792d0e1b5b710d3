//! The screen and its keys.
//!
//! ```text
//!   keys, paste, resize ─┐                                   ┌─ commands to the engine
//!   updates of the engine ├─▶ Input ─▶ update(&mut State) ─▶ Effects ─┤
//!   time                 ─┘                │                 └─ to the terminal (copy, suspend, quit)
//!                                          ▼
//!                                    view(&State) ─▶ cells, at most twice in 32 ms
//! ```
//!
//! `update` knows no ratatui and no clock, `view` cannot change anything, and [`run()`] is the only
//! place that waits. Keys become [`Action`]s in the [`Keymap`]; colors have names in the [`Theme`].

mod action;
mod files;
mod input;
mod key_stream;
mod keymap;
mod options;
mod run;
mod state;
mod terminal;
mod theme;
mod update;
mod view;
mod widgets;
mod wrap;

pub use action::{
    Action, ActionEntry, AnywhereAction, ComposerAction, MessagesAction, Mode, OverlayAction,
    RoomsAction,
};
pub use input::{Attention, Input, KeyCode, KeyPress, Modifiers, Size};
pub use keymap::{Keymap, KeymapError, Resolved};
pub use options::{
    Bell, Disclosure, Handle, Reminder, StateLines, TimelineOptions, TuiError, TuiOptions,
};
pub use run::run;
pub use state::State;
pub use theme::{ColorMode, StyleName, Theme, ThemeError};
pub use update::{Effects, TerminalEffect, update};
pub use view::draw;
