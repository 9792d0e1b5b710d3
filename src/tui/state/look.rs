//! How messages are to be laid out: what all rooms have in common.

use jiff::{civil::Date, tz::TimeZone};

use crate::{time::Timestamp, tui::options::StateLines};

/// Width, zone and taste.
#[derive(Clone, Debug)]
pub(in crate::tui) struct Look {
    /// Our own user id.
    pub user_id: String,
    /// In which times are shown.
    pub time_zone: TimeZone,
    /// Columns for messages.
    pub columns: usize,
    /// What becomes of changes of state.
    pub state_lines: StateLines,
}

impl Look {
    /// `12:01`.
    pub(in crate::tui) fn time(&self, at: Timestamp) -> String {
        let Some(at) = moment(at) else { return "--:--".to_owned() };
        let at = self.time_zone.to_datetime(at);
        format!("{:02}:{:02}", at.hour(), at.minute())
    }

    /// The day of a moment.
    pub(in crate::tui) fn day(&self, at: Timestamp) -> Option<Date> {
        Some(self.time_zone.to_datetime(moment(at)?).date())
    }
}

/// A day in words: `Sunday, 22 November 2026`.
pub(in crate::tui) fn day_words(day: Date) -> String {
    day.strftime("%A, %-d %B %Y").to_string()
}

/// A server may claim any time; what no calendar knows is none.
fn moment(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_no_calendar_knows_are_no_times() {
        let look = Look {
            user_id: String::new(),
            time_zone: TimeZone::UTC,
            columns: 40,
            state_lines: StateLines::Folded,
        };
        assert_eq!(look.time(Timestamp(u64::MAX)), "--:--");
        assert_eq!(look.day(Timestamp(u64::MAX)), None);
        let at = Timestamp(1_795_351_260_000);
        assert_eq!(look.time(at), "12:41");
        assert_eq!(look.day(at).map(day_words).unwrap(), "Sunday, 22 November 2026");
    }
}
