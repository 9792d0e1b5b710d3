//! `grotto demo`.

use std::io::{self, IsTerminal as _};

use super::{failure::Failure, screen::colors};
use crate::{
    cli::Exit,
    demo::{self, DemoError},
    tui::{Theme, TuiError},
};

/// Shows the demo; neither configuration nor log, because it leaves nothing behind.
///
/// # Errors
/// When there is no terminal, or the demo fails.
pub(super) fn run() -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::new(Exit::Usage, DemoError::Screen(TuiError::NotATerminal)));
    }
    let theme = Theme::default().with_colors(colors());
    demo::run(theme).map_err(|error| Failure::new(Exit::Failed, error))
}
