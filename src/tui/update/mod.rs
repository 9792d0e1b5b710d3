//! Inputs into changes of the state and effects. Knows no terminal library.

use super::{input::Input, state::State};
use crate::{engine::Command, time::Timestamp};

/// What is to be done outside.
#[derive(Debug, Default)]
pub struct Effects {
    /// For the engine, in order.
    pub commands: Vec<Command>,
    /// For the terminal, in order.
    pub terminal: Vec<TerminalEffect>,
}

/// Something the terminal is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalEffect {
    /// End the program.
    Quit,
    /// Stop until the shell calls back.
    Suspend,
    /// Send the whole screen again.
    Redraw,
    /// Put text on the clipboard.
    Copy(String),
}

/// Takes one input.
pub fn update(_state: &mut State, input: Input, _now: Timestamp) -> Effects {
    let terminal =
        if let Input::EndRequested = input { vec![TerminalEffect::Quit] } else { vec![] };
    Effects { commands: Vec::new(), terminal }
}
