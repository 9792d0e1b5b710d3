//! What is to be done outside, as values.

use crate::engine::Command;

/// What is to be done outside.
#[derive(Debug, Default, PartialEq)]
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
    /// Ring the bell.
    Ring,
    /// Put text on the clipboard.
    Copy(String),
    /// Look at the file of this path; answered by `Input::Inspected`.
    Inspect(String),
    /// Look how this path may go on; answered by `Input::Continuations`.
    Complete(String),
}

impl Effects {
    pub(super) fn command(&mut self, command: Command) {
        self.commands.push(command);
    }

    pub(super) fn terminal(&mut self, effect: TerminalEffect) {
        self.terminal.push(effect);
    }
}
