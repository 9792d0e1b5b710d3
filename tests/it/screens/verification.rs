//! Verifications as a person sees them, on a usual and on a small screen.

use grotto::{
    engine::{
        Alarm, CancelCode, Command, Emoji, Ending, Update, VerificationId,
        VerificationStage as Stage, VerificationView,
    },
    time::Timestamp,
    tui::Input,
};
use serde_json::json;

use super::{
    OWN, Screen,
    feed::{event, events, open_room},
    seen,
};

const BOB: &str = "@bob:example.org";

fn view(stage: Stage) -> VerificationView {
    VerificationView {
        id: VerificationId(1),
        user: BOB.try_into().unwrap(),
        device: Some("BOBSPHONE".into()),
        is_own: false,
        is_ours: false,
        room: None,
        until: Timestamp(0),
        stage,
    }
}

/// A step of a verification that Bob asked for.
fn told(stage: Stage) -> Update {
    Update::Verification(view(stage))
}

/// A step of one that we asked for.
fn told_ours(stage: Stage) -> Update {
    Update::Verification(VerificationView { is_ours: true, ..view(stage) })
}

fn compare() -> Stage {
    let names = [
        (25, "🍓", "Strawberry"),
        (61, "🎧", "Headphones"),
        (41, "💡", "Light Bulb"),
        (36, "👍", "Thumbs Up"),
        (0, "🐶", "Dog"),
        (53, "✈️", "Aeroplane"),
        (63, "📌", "Pin"),
    ];
    let emoji = names.map(|(number, picture, name)| Emoji {
        number,
        picture: picture.into(),
        name: name.into(),
    });
    Stage::Compare { emoji: emoji.to_vec(), decimals: [1000, 9191, 4501] }
}

/// At 80 by 24 and 40 by 12.
fn on_both(name: &str, mut steps: impl FnMut(&mut Screen)) {
    for (width, height) in [(80, 24), (40, 12)] {
        let mut screen = open_room(width, height);
        steps(&mut screen);
        seen(&format!("verify_{name}_{width}"), &mut screen);
    }
}

#[test]
fn a_request_is_announced_in_the_room_and_opens_with_a_key() {
    on_both("request", |screen| {
        let content = json!({"msgtype": "m.key.verification.request", "body": "no client",
            "to": OWN, "from_device": "BOBSPHONE", "methods": ["m.sas.v1"]});
        screen.tell([events([event(1, BOB, "m.room.message", content)]), told(Stage::Invited)]);
        assert!(screen.text().contains("Bob asked to verify you (alt-v)"));
        screen.press("alt-v");
    });
}

#[test]
fn emoji_are_shown_with_names_and_numbers() {
    on_both("emoji", |screen| {
        screen.tell([told(Stage::Invited)]);
        screen.press("alt-v");
        screen.tell([told(compare())]);
        let text = screen.text();
        for shown in ["Strawberry", "Headphones", "Aeroplane", "Pin", "1000 9191 4501"] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
    });
}

#[test]
fn the_result_is_said() {
    on_both("result", |screen| {
        screen.tell([told(Stage::Invited)]);
        screen.press("alt-v");
        screen.tell([told(Stage::Done)]);
    });
}

#[test]
fn a_cancelled_verification_says_why() {
    on_both("cancelled", |screen| {
        screen.tell([told(Stage::Invited)]);
        screen.press("alt-v");
        screen.tell([told(Stage::Cancelled { code: CancelCode::MismatchedSas, by: Ending::Them })]);
    });
}

// a user id that looks like another's, from a server that lets such in.
#[test]
fn a_user_id_is_spelled_out_where_one_is_verified() {
    let mut screen = open_room(80, 24);
    let mut view = told(Stage::Invited);
    if let Update::Verification(view) = &mut view {
        view.user = "@b\u{43e}b:example.org".try_into().unwrap();
    }
    screen.tell([view]);
    screen.press("alt-v");
    let text = screen.text();
    assert!(text.contains("@b\\u{43e}b:example.org"), "{text}");
}

#[test]
fn a_letter_of_a_message_never_answers_a_verification_that_went_to_the_background() {
    let mut screen = open_room(80, 24);
    screen.tell([told_ours(Stage::Asked)]);
    assert!(screen.text().contains("Asked @bob:example.org to verify"));
    screen.press("esc");
    screen.press("'ma'");
    screen.asked();
    screen.tell([told_ours(compare())]);
    screen.press("'y'");
    let answered = screen.asked().into_iter().any(|it| matches!(it, Command::Request { .. }));
    assert!(!answered, "the letter belongs to the message");
    let text = screen.text();
    assert!(text.contains("> may"), "{text}");
    assert!(text.contains("waits for you to compare"), "{text}");
}

#[test]
fn the_end_of_a_verification_leaves_no_request_in_the_status_line() {
    let mut screen = open_room(80, 24);
    screen.tell([told(Stage::Invited)]);
    assert!(screen.text().contains("asks to verify"));
    screen.press("alt-v");
    screen.tell([told(Stage::Done)]);
    screen.press("esc");
    let text = screen.text();
    assert!(!text.contains("asks to verify"), "{text}");
    screen.tell([told(Stage::Invited), told(Stage::Elsewhere)]);
    let text = screen.text();
    assert!(!text.contains("asks to verify") && text.contains("another device"), "{text}");
}

#[test]
fn a_verification_that_waits_for_the_user_says_so_until_it_is_opened() {
    let mut screen = open_room(80, 24);
    screen.tell([told(Stage::Invited)]);
    screen.now = screen.now.plus(std::time::Duration::from_secs(60));
    screen.input(Input::Tick);
    let text = screen.text();
    assert!(!text.contains("asks to verify"), "the notice is gone: {text}");
    assert!(text.contains("verification waits (alt-v)"), "{text}");
    screen.press("alt-v");
    assert!(!screen.text().contains("verification waits"));
    screen.press("esc");
    assert!(screen.text().contains("verification waits (alt-v)"));
    screen.tell([told(Stage::Done)]);
    assert!(!screen.text().contains("verification waits"));
}

#[test]
fn a_comparison_says_with_whom_and_going_back_is_called_what_it_does() {
    let mut screen = open_room(80, 24);
    screen.tell([told(Stage::Invited)]);
    screen.press("alt-v");
    screen.tell([told(compare())]);
    let text = screen.text();
    assert!(text.contains("Compare with @bob:example.org"), "{text}");
    assert!(text.contains("Does @bob:example.org show the same?"), "{text}");
    assert!(text.contains("esc later") && !text.contains("esc cancel"), "{text}");
}

#[test]
fn a_device_that_was_verified_here_is_warned_of_no_more() {
    let mut screen = open_room(80, 24);
    screen.tell([Update::Alarm(Alarm::NewOwnDevice("ANASPHONE".into()))]);
    assert!(screen.text().contains("New device ANASPHONE"));
    let mut view = view(Stage::Done);
    (view.is_own, view.device) = (true, Some("ANOTHER".into()));
    screen.tell([Update::Verification(view.clone())]);
    assert!(screen.text().contains("New device ANASPHONE"));
    view.device = Some("ANASPHONE".into());
    screen.tell([Update::Verification(view)]);
    assert!(!screen.text().contains("New device"));
}

#[test]
fn what_another_device_of_ours_took_is_no_failure() {
    let mut screen = open_room(80, 24);
    let code = CancelCode::Accepted;
    screen.tell([told(Stage::Invited), told(Stage::Cancelled { code, by: Ending::Them })]);
    let text = screen.text();
    assert!(
        text.contains("another device of yours took") && !text.contains("not verified"),
        "{text}"
    );
}
