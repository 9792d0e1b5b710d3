//! A verification on the screen: what it says, and what can be answered, at each point.

use super::overlay::Answer;
use crate::{
    engine::{CancelCode, Emoji, Ending, VerificationStage as Stage, VerificationView},
    matrix::SafeText,
};

/// Columns of an emoji: place, name, picture; two of them fit into a narrow screen.
const CELL: usize = 18;

/// Whom it is with; safe text. A user id is spelled out: its letters could look like those of another.
pub(in crate::tui) fn whom(view: &VerificationView) -> String {
    let user = spelled_out(view.user.as_str());
    match view.device.as_ref().map(|device| SafeText::line(device.as_str())) {
        Some(device) if view.is_own => format!("your device {device}"),
        None if view.is_own => "another device of yours".to_owned(),
        Some(_) | None => user,
    }
}

/// In printable ASCII; everything else by its number.
fn spelled_out(id: &str) -> String {
    let letter =
        |c: char| if c.is_ascii_graphic() { c.into() } else { c.escape_unicode().to_string() };
    id.chars().map(letter).collect()
}

/// What the box is about. A narrow one may cut a long name; the first question has it whole.
pub(super) fn title(view: &VerificationView) -> String {
    match &view.stage {
        Stage::Compare { .. } => format!("Compare with {}", whom(view)),
        Stage::Asked
        | Stage::Invited
        | Stage::Ready { .. }
        | Stage::Waiting
        | Stage::Confirmed
        | Stage::Scanned
        | Stage::Reciprocated
        | Stage::Done
        | Stage::Cancelled { .. }
        | Stage::Elsewhere => "Verification".to_owned(),
    }
}

/// Whether there is something to compare.
pub(super) fn is_comparison(view: &VerificationView) -> bool {
    matches!(view.stage, Stage::Compare { .. })
}

/// Whether it goes on only when the user does something.
pub(in crate::tui) fn waits_for_user(view: &VerificationView) -> bool {
    match &view.stage {
        Stage::Invited | Stage::Compare { .. } | Stage::Scanned => true,
        Stage::Ready { .. } => view.is_ours,
        Stage::Asked
        | Stage::Waiting
        | Stage::Confirmed
        | Stage::Reciprocated
        | Stage::Done
        | Stage::Cancelled { .. }
        | Stage::Elsewhere => false,
    }
}

/// Where it stands, in words.
pub(super) fn text(view: &VerificationView) -> String {
    let whom = whom(view);
    match &view.stage {
        Stage::Asked => format!("Asked {whom} to verify. It has to be accepted there."),
        Stage::Invited if view.is_own => {
            format!("{whom} asks to verify. Accept only if it is you who logs in there now.")
        }
        Stage::Invited => {
            format!("{whom} asks to verify. Accept only if you can see or call them now.")
        }
        Stage::Ready { .. } => format!("{whom} is there. How do you want to compare?"),
        Stage::Waiting => format!("Keys are on their way to {whom} …"),
        Stage::Compare { emoji, decimals } => {
            let how = if view.is_own { "" } else { " Ask by voice, or look." };
            format!("Does {whom} show the same?{how}\n{}", compare(emoji, *decimals))
        }
        Stage::Confirmed => format!("Waiting until {whom} confirms too."),
        Stage::Scanned => format!("{whom} scanned the code. Does it report success there?"),
        Stage::Reciprocated => format!("Scanned. Waiting until {whom} confirms."),
        Stage::Done => format!("Verified: {whom}."),
        Stage::Cancelled { code: CancelCode::Accepted, .. } | Stage::Elsewhere => {
            "Another device of yours took it.".to_owned()
        }
        Stage::Cancelled { code, by } => {
            let by = match by {
                Ending::Us => "here",
                Ending::Them => "on the other side",
            };
            format!("Not verified {whom}: {}. It ended {by}.", code.explained())
        }
    }
}

/// Seven emoji in two columns, the names first: pictures differ in width between terminals.
fn compare(emoji: &[Emoji], [one, two, three]: [u16; 3]) -> String {
    let cells: Vec<String> = (1..)
        .zip(emoji)
        .map(|(place, emoji)| format!("{place} {} {}", emoji.name, emoji.picture))
        .collect();
    let row = |pair: &[String]| {
        let left = pair.first().map_or("", String::as_str);
        let right = pair.get(1).map_or("", String::as_str);
        let gap = CELL.saturating_sub(crate::tui::wrap::width(left)).max(1);
        format!("{left}{}{right}", " ".repeat(gap)).trim_end().to_owned()
    };
    let rows: Vec<String> = cells.chunks(2).map(row).collect();
    format!("{}\n{one} {two} {three}", rows.join("\n"))
}

/// What can be answered; the first is what `y` chooses.
pub(super) fn answers(view: &VerificationView) -> Vec<(Answer, &'static str)> {
    match &view.stage {
        Stage::Invited => vec![
            (Answer::Yes, "Accept"),
            (Answer::Decline, "Refuse"),
            (Answer::Cancel, "Decide later"),
        ],
        Stage::Ready { emoji, code, .. } => {
            let mut answers = Vec::new();
            answers.extend(emoji.then_some((Answer::Yes, "Compare emoji")));
            answers.extend(code.is_some().then_some((Answer::ShowCode, "Show a code to scan")));
            answers.extend([(Answer::Decline, "End it"), (Answer::Cancel, "Later")]);
            answers
        }
        Stage::Compare { .. } => vec![
            (Answer::Yes, "They are the same"),
            (Answer::Differ, "They differ"),
            (Answer::Cancel, "Later"),
        ],
        Stage::Scanned => vec![
            (Answer::Yes, "It does"),
            (Answer::Differ, "It does not"),
            (Answer::Cancel, "Later"),
        ],
        Stage::Asked | Stage::Waiting | Stage::Confirmed | Stage::Reciprocated => {
            vec![(Answer::Cancel, "Wait in the background"), (Answer::Decline, "End it")]
        }
        Stage::Done | Stage::Cancelled { .. } | Stage::Elsewhere => {
            vec![(Answer::Cancel, "Close")]
        }
    }
}

/// The answer that is chosen at first: never one that trusts.
pub(super) fn first_choice(view: &VerificationView) -> usize {
    match &view.stage {
        Stage::Invited | Stage::Compare { .. } | Stage::Scanned => 2,
        Stage::Ready { .. }
        | Stage::Asked
        | Stage::Waiting
        | Stage::Confirmed
        | Stage::Reciprocated
        | Stage::Done
        | Stage::Cancelled { .. }
        | Stage::Elsewhere => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_emoji_fit_a_narrow_screen_with_names_and_numbers() {
        let emoji = |name: &str| Emoji { number: 0, name: name.into(), picture: "🍓".into() };
        let names =
            ["Strawberry", "Headphones", "Light Bulb", "Thumbs Up", "Dog", "Aeroplane", "Pin"];
        let text = compare(&names.map(emoji), [1000, 9191, 4501]);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| crate::tui::wrap::width(row) <= 36), "{text}");
        assert!(names.iter().all(|name| text.contains(name)) && text.ends_with("1000 9191 4501"));
    }
}
