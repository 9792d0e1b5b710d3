//! Everything the screen shows, as plain values: no I/O, no clock, no terminal library.

mod alarm_words;
mod areas;
mod change_words;
mod composer;
mod facts;
mod focus;
mod fuzzy;
mod help;
mod look;
mod message_list;
mod message_parts;
mod message_rows;
mod notice;
mod overlay;
mod read_line;
mod room_list;
mod room_pane;
mod scroll;
mod setup;
mod sheet;
mod shortcode;
mod verification;
mod whole;
mod words;

pub use whole::State;

pub(super) use alarm_words::{what_to_do, words as alarm_words};
pub(super) use areas::{Area, SMALLEST};
pub(super) use composer::{Composer, Direction, MAX_TEXT_BYTES, Purpose, Step, Taken};
pub(super) use facts::Facts;
pub(super) use focus::Focus;
pub(super) use help::{HELP_COLUMNS, most_scrolled as most_help_scrolled, rows as help_rows};
pub(super) use notice::Tone;
pub(super) use overlay::{Answer, Overlay, Prompt, Question, SecretPrompt};
pub(super) use read_line::Watched;
pub(super) use room_list::ListedRoom;
pub(super) use room_pane::{MOST_COUNTED, RoomPane};
pub(super) use sheet::{SHEET_COLUMNS, Sheet};
pub(super) use shortcode::expand as expand_shortcode;
pub(super) use verification::{waits_for_user, whom};
pub(super) use whole::{Asked, Attaching, PROMPT_COLUMNS, TypingNotice, Unsent};
