//! Screens as text: keys and updates in, what a person sees out.

mod feed;
mod files;
mod hostile;
mod keys;
mod rooms;
mod setup;
mod verification;

use grotto::{
    engine::{Command, LinkState, Update},
    time::Timestamp,
    tui::{
        Disclosure, Effects, Input, KeyPress, Size, State, StateLines, TerminalEffect, Theme,
        TimelineOptions, TuiOptions, draw, update,
    },
};
use ratatui::{buffer::Buffer, layout::Rect};

/// Sunday, 22 November 2026, 12:41 UTC.
pub(crate) const NOON: Timestamp = Timestamp(1_795_351_260_000);
/// Our own user.
pub(crate) const OWN: &str = "@ana:example.org";

/// A screen with a person before it.
pub(crate) struct Screen {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// All that was asked of the engine since it was looked at last.
    pub(crate) commands: Vec<Command>,
    pub(crate) terminal: Vec<TerminalEffect>,
    theme: Theme,
}

impl Screen {
    /// A connected screen without rooms.
    pub(crate) fn new(width: u16, height: u16) -> Self {
        let timeline = TimelineOptions {
            time_zone: jiff::tz::TimeZone::UTC,
            state_lines: StateLines::Folded,
            read_receipts: Disclosure::Sent,
            typing_notices: Disclosure::Sent,
            ..TimelineOptions::default()
        };
        let downloads = Some("/home/ana/Downloads".to_owned());
        let options =
            TuiOptions { timeline, downloads, ..TuiOptions::new(OWN.try_into().unwrap()) };
        let state = State::new(options, Size { width, height }, 1);
        let mut screen = Self {
            state,
            now: NOON,
            commands: Vec::new(),
            terminal: Vec::new(),
            theme: Theme::default(),
        };
        screen.tell([Update::Link(LinkState::Online), Update::Synced]);
        screen
    }

    /// Feeds one input.
    pub(crate) fn input(&mut self, input: Input) {
        let Effects { commands, terminal } = update(&mut self.state, input, self.now);
        self.commands.extend(commands);
        self.terminal.extend(terminal);
    }

    /// Feeds updates of the engine.
    pub(crate) fn tell(&mut self, updates: impl IntoIterator<Item = Update>) {
        for update in updates {
            self.input(Input::Update(update));
        }
    }

    /// Presses keys: names separated by spaces; `'text'` types a text.
    pub(crate) fn press(&mut self, keys: &str) {
        for (index, part) in keys.split('\'').enumerate() {
            if index % 2 == 1 {
                for c in part.chars() {
                    self.input(Input::Key(KeyPress::plain(grotto::tui::KeyCode::Char(c))));
                }
            } else {
                for key in part.split_whitespace() {
                    self.input(Input::Key(KeyPress::parse(key).unwrap()));
                }
            }
        }
    }

    /// Draws a frame.
    pub(crate) fn frame(&mut self) -> Buffer {
        self.input(Input::Prepare);
        let Size { width, height } = self.state.size();
        let mut cells = Buffer::empty(Rect::new(0, 0, width, height));
        let cursor = draw(&self.state, &self.theme, &mut cells);
        if let Some(cursor) = cursor {
            assert!(cursor.x < width && cursor.y < height, "the cursor left the screen");
        }
        self.input(Input::Drawn);
        cells
    }

    /// Draws a frame and reads it.
    pub(crate) fn text(&mut self) -> String {
        let cells = self.frame();
        rows(&cells).join("\n")
    }

    /// What was asked since the last look.
    pub(crate) fn asked(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }
}

/// The rows of a buffer without the blanks at their ends; wide letters once.
pub(crate) fn rows(cells: &Buffer) -> Vec<String> {
    let width = cells.area.width;
    (0..cells.area.height)
        .map(|y| {
            let mut row = String::new();
            let mut x = 0;
            while x < width {
                let symbol = cells[(x, y)].symbol();
                row.push_str(symbol);
                x += u16::try_from(grotto::matrix::grapheme_width(symbol).max(1)).unwrap();
            }
            row.trim_end().to_owned()
        })
        .collect()
}

/// Compares what is seen with the picture `tests/data/screens/NAME.snap`.
pub(crate) fn seen(name: &str, screen: &mut Screen) {
    let text = screen.text();
    insta::with_settings!({
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/screens"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, text) });
}
