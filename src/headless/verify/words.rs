//! What is printed of a verification, for scripts and for people.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::options::{Code, Comparer, VerifyOptions};
use crate::{
    engine::{Emoji, VerificationStage as Stage, VerificationView},
    headless::people::safe,
    matrix::{OwnedDeviceId, OwnedUserId},
    qr::{Ink, QrPicture},
};

/// One step, as scripts see it.
#[derive(Debug, Serialize)]
pub(super) struct StepLine<'a> {
    step: &'static str,
    user_id: &'a OwnedUserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a OwnedDeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emoji: Option<&'a [Emoji]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decimals: Option<[u16; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
}

/// The end, as scripts see it.
#[derive(Debug, Serialize)]
pub(super) struct DoneLine<'a> {
    pub(super) done: bool,
    pub(super) user_id: &'a OwnedUserId,
    pub(super) device_id: Option<&'a OwnedDeviceId>,
}

/// The line of a step; the end has lines of its own.
pub(super) fn step_line<'a>(
    view: &'a VerificationView,
    options: &VerifyOptions,
) -> Option<StepLine<'a>> {
    let mut line = StepLine {
        step: step_word(&view.stage),
        user_id: &view.user,
        device_id: view.device.as_ref(),
        emoji: None,
        decimals: None,
        data: None,
    };
    match &view.stage {
        Stage::Compare { emoji, decimals } => {
            (line.emoji, line.decimals) = (Some(emoji.as_slice()), Some(*decimals));
        }
        Stage::Ready { code, .. } if matches!(options.code, Code::Show) => {
            line.data = code.as_deref();
        }
        Stage::Done | Stage::Cancelled { .. } => return None,
        Stage::Ready { .. }
        | Stage::Asked
        | Stage::Invited
        | Stage::Waiting
        | Stage::Confirmed
        | Stage::Scanned
        | Stage::Reciprocated
        | Stage::Elsewhere => {}
    }
    Some(line)
}

fn step_word(stage: &Stage) -> &'static str {
    match stage {
        Stage::Asked => "asked",
        Stage::Invited => "invited",
        Stage::Ready { .. } => "ready",
        Stage::Waiting => "waiting",
        Stage::Compare { .. } => "compare",
        Stage::Confirmed => "confirmed",
        Stage::Scanned => "scanned",
        Stage::Reciprocated => "reciprocated",
        Stage::Done => "done",
        Stage::Cancelled { .. } => "cancelled",
        Stage::Elsewhere => "elsewhere",
    }
}

/// Whom a verification is with.
pub(super) fn whom(view: &VerificationView) -> String {
    let user = safe(view.user.as_str());
    match &view.device {
        Some(device) if view.is_own => format!("your device {}", safe(device.as_str())),
        Some(_) | None => user,
    }
}

/// A step in words for people; every question says what to type.
pub(super) fn words(view: &VerificationView, options: &VerifyOptions) -> Option<String> {
    Some(match &view.stage {
        Stage::Asked => format!("asked {}; waiting until it is accepted there", whom(view)),
        Stage::Invited => format!("{} asks for a verification", whom(view)),
        Stage::Ready { code, .. } => match (&options.code, code) {
            (Code::Show, Some(code)) => picture(code, options.size),
            (Code::Show, None) => "the other side cannot read codes; waiting for emoji".to_owned(),
            (Code::Typed, _) => "paste the base64 of the other side's code:".to_owned(),
            (Code::None | Code::File(..), _) => format!("{} is there", whom(view)),
        },
        Stage::Compare { emoji, decimals } => compare(emoji, *decimals, options),
        Stage::Confirmed => "waiting until the other side confirms".to_owned(),
        Stage::Scanned => {
            let question = match options.compare {
                Comparer::Typed => "\nDoes the other side report success? Type yes or no:",
                Comparer::Caller => "",
            };
            format!("the code was scanned{question}")
        }
        Stage::Reciprocated => "scanned; waiting until the other side confirms".to_owned(),
        Stage::Elsewhere => "another device took it".to_owned(),
        Stage::Waiting | Stage::Done | Stage::Cancelled { .. } => return None,
    })
}

fn compare(emoji: &[Emoji], [one, two, three]: [u16; 3], options: &VerifyOptions) -> String {
    let mut text = "Both sides must show the same, in this order:\n\n".to_owned();
    for (place, emoji) in (1..).zip(emoji) {
        let Emoji { picture, name, .. } = emoji;
        // The name first: pictures are drawn with different widths.
        _ = writeln!(text, "  {place}  {name:<12}{picture}");
    }
    _ = write!(text, "\nor as numbers: {one} {two} {three}");
    if options.compare == Comparer::Typed {
        text.push_str("\nIs it the same on the other side? Type yes or no:");
    }
    text
}

/// The code, black on white whatever the terminal's colors are.
fn picture(code: &str, size: Option<(u16, u16)>) -> String {
    let bytes = STANDARD.decode(code).ok();
    // A row for the words below.
    let room = size.map_or((usize::MAX, usize::MAX), |(width, height)| {
        (usize::from(width), usize::from(height.saturating_sub(1)))
    });
    let picture = bytes.and_then(|bytes| QrPicture::within(&bytes, room).ok());
    let Some(picture) = picture else { return "there is no code to show".to_owned() };
    let (columns, rows) = (picture.columns(), picture.rows());
    let fits = size
        .is_none_or(|(width, height)| columns <= usize::from(width) && rows < usize::from(height));
    if !fits {
        return format!(
            "the code needs a terminal of {columns} by {} characters; make it larger, or compare \
             emoji",
            rows + 1
        );
    }
    let lines = picture.lines(Ink::Dark).into_iter();
    let lines = lines.map(|line| format!("\u{1b}[38;5;16;48;5;231m{line}\u{1b}[0m"));
    let lines: Vec<String> = lines.collect();
    format!("{}\nscan this with the other device", lines.join("\n"))
}
