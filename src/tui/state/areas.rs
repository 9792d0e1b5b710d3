//! Where the parts of the screen are. Computed before `update`, because scrolling and wrapping need
//! sizes; the view only draws into what it finds here.

use crate::tui::input::Size;

/// The smallest screen that is drawn.
pub(in crate::tui) const SMALLEST: Size = Size { width: 40, height: 12 };
/// From this width on the room list and the messages stand side by side.
const TWO_PANES: u16 = 72;
/// Most rows of the composer.
const MOST_COMPOSER_ROWS: u16 = 8;

/// A rectangle of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Area {
    /// First column.
    pub x: u16,
    /// First row.
    pub y: u16,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Area {
    /// Columns.
    pub(in crate::tui) fn columns(self) -> usize {
        usize::from(self.width)
    }

    /// Rows.
    pub(in crate::tui) fn rows(self) -> usize {
        usize::from(self.height)
    }
}

/// What decides the sizes.
#[derive(Clone, Copy, Debug)]
pub(in crate::tui) struct Needs {
    /// The terminal's size.
    pub size: Size,
    /// What a narrow screen shows.
    pub narrow: NarrowPane,
    /// Rows that the composer would like.
    pub composer_rows: u16,
    /// Rows of warnings.
    pub alarm_rows: u16,
    /// Rows above the composer that say what it is for.
    pub context_rows: u16,
}

/// What a screen too narrow for both shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum NarrowPane {
    /// The room list.
    Rooms,
    /// The open room.
    Room,
}

/// The parts of the screen. An area without columns or rows is not drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Areas {
    /// All of it.
    pub screen: Area,
    /// Warnings, over the whole width.
    pub alarms: Area,
    /// The room list.
    pub rooms: Area,
    /// The line between room list and room.
    pub divider: Area,
    /// Name and topic of the room.
    pub header: Area,
    /// Messages.
    pub messages: Area,
    /// What the composer is for.
    pub context: Area,
    /// The composer.
    pub composer: Area,
    /// The status line, over the whole width.
    pub status: Area,
}

impl Areas {
    /// Whether the screen is large enough to be drawn.
    pub(in crate::tui) fn is_usable(&self) -> bool {
        self.screen.width >= SMALLEST.width && self.screen.height >= SMALLEST.height
    }

    /// Divides the screen.
    pub(in crate::tui) fn divide(needs: Needs) -> Self {
        let Size { width, height } = needs.size;
        let screen = Area { x: 0, y: 0, width, height };
        let mut areas = Self { screen, ..Self::default() };
        if !areas.is_usable() {
            return areas;
        }
        let alarm_rows = needs.alarm_rows.min(height / 4);
        areas.alarms = Area { height: alarm_rows, ..screen };
        areas.status = Area { y: height - 1, height: 1, ..screen };
        let body = Area { y: alarm_rows, height: height - alarm_rows - 1, ..screen };
        let room = areas.split_columns(body, needs.narrow);
        areas.split_rows(room, needs);
        areas
    }

    /// Gives columns to the room list and answers what is left for the room.
    fn split_columns(&mut self, body: Area, narrow: NarrowPane) -> Area {
        if body.width >= TWO_PANES {
            let width = (body.width / 4).clamp(20, 36);
            self.rooms = Area { width, ..body };
            self.divider = Area { x: width, width: 1, ..body };
            return Area { x: width + 1, width: body.width - width - 1, ..body };
        }
        match narrow {
            NarrowPane::Rooms => {
                self.rooms = body;
                Area { width: 0, ..body }
            }
            NarrowPane::Room => body,
        }
    }

    fn split_rows(&mut self, room: Area, needs: Needs) {
        if room.width == 0 {
            return;
        }
        let most = MOST_COMPOSER_ROWS.min(room.height / 3).max(1);
        let composer = needs.composer_rows.clamp(1, most);
        let context = needs.context_rows.min(1);
        let messages = room.height.saturating_sub(1 + composer + context);
        let mut y = room.y;
        let mut next = |height| {
            let area = Area { y, height, ..room };
            y += height;
            area
        };
        self.header = next(1);
        self.messages = next(messages);
        self.context = next(context);
        self.composer = next(composer);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_stay_on_the_screen_and_messages_have_room(
            width in 0_u16..500, height in 0_u16..200,
            composer_rows in 0_u16..60, alarm_rows in 0_u16..20, context_rows in 0_u16..3,
        ) {
            for narrow in [NarrowPane::Rooms, NarrowPane::Room] {
                let size = Size { width, height };
                let needs = Needs { size, narrow, composer_rows, alarm_rows, context_rows };
                let areas = Areas::divide(needs);
                for area in [areas.alarms, areas.rooms, areas.header, areas.messages,
                             areas.context, areas.composer, areas.status] {
                    prop_assert!(area.x + area.width <= width && area.y + area.height <= height);
                }
                if areas.is_usable() && areas.messages.width > 0 {
                    prop_assert!(areas.messages.height >= 3, "{areas:?}");
                    prop_assert_eq!(
                        areas.composer.y + areas.composer.height, areas.status.y
                    );
                }
            }
        }
    }
}
