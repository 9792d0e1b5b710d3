//! The tour as somebody takes it who does what they are told, and as others do.

use super::*;
use crate::{
    engine::{Scan, VerificationAct, VerificationId},
    matrix::OwnedRoomId,
};

/// A tour that has begun.
fn tour() -> Tour {
    let mut tour = Tour::new(Keymap::default(), "ABCDEFGHIJ");
    let said = words(&tour.on(&Seen::Curtain));
    assert!(said.contains("1/16"), "{said}");
    tour
}

/// All that is said in these deeds.
fn words(deeds: &[Deed]) -> String {
    let texts = deeds.iter().filter_map(|deed| match deed {
        Deed::Say(_, text) | Deed::Reply(_, _, text) => Some(text.as_str()),
        Deed::Read(..) | Deed::Type(..) | Deed::React(..) | Deed::Join(_) | Deed::Verify(..) => {
            None
        }
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn said(place: Place, text: &str) -> Said {
    let event = "$event".try_into().unwrap();
    let (shape, is_reply, names_me) = (Shape::Words, false, text.contains("guide"));
    Said { place, by: Who::User, event, text: text.to_owned(), shape, is_reply, names_me }
}

fn say(text: &str) -> Seen {
    Seen::Said(said(Place::Direct, text))
}

fn reply() -> Seen {
    Seen::Said(Said { is_reply: true, ..said(Place::Direct, "this one") })
}

fn room() -> OwnedRoomId {
    "!own:demo".try_into().unwrap()
}

/// What a willing user does, step by step.
fn everything() -> Vec<Seen> {
    vec![
        say("hello"),
        reply(),
        Seen::Reacted(Place::Direct, Who::User),
        Seen::Edited(Place::Direct, Who::User),
        say("one\ntwo"),
        Seen::Said(Said { shape: Shape::Emote, ..said(Place::Direct, "waves") }),
        Seen::Removed(Place::Direct, Who::User),
        Seen::Said(Said { shape: Shape::File, ..said(Place::Direct, "hosts") }),
        say("It is abc"),
        Seen::Verified(Place::Direct),
        Seen::Said(said(Place::Group, "hello all")),
        Seen::Said(said(Place::Group, "it is Heron!")),
        Seen::Said(said(Place::Group, "robin, how are the frogs?")),
        Seen::Invited(room()),
        Seen::Said(said(Place::Elsewhere(room()), "it is y.")),
        Seen::Said(said(Place::Elsewhere(room()), "Done!")),
    ]
}

#[test]
fn whoever_does_what_they_are_told_comes_to_the_end() {
    let mut tour = tour();
    let steps = everything();
    assert_eq!(steps.len(), STEPS.len(), "the willing user does not know every step");
    for (at, seen) in steps.iter().enumerate() {
        let answer = words(&tour.on(seen));
        let next = format!("{}/{}", at + 2, STEPS.len());
        let is_last = at + 1 == STEPS.len();
        let is_on =
            if is_last { answer.contains("nothing is left") } else { answer.contains(&next) };
        assert!(is_on, "after {seen:?}: {answer}");
    }
    assert!(words(&tour.on(&say("thanks"))).contains("again"));
    assert!(words(&tour.on(&say("again"))).contains("1/16"));
}

#[test]
fn whoever_asks_to_verify_the_guide_is_told_what_it_sees_and_may_try_again() {
    let mut tour = tour();
    let id = VerificationId(7);
    let accept = tour.on(&Seen::AskedToVerify(id));
    assert_eq!(accept, [Deed::Verify(id, VerificationAct::Accept { scan: Scan::No })]);
    let compare = tour.on(&Seen::Compare(id, Place::Direct, "Dog, Pin".to_owned()));
    assert!(words(&compare).contains("Dog, Pin"), "said before it is confirmed");
    assert_eq!(compare.last(), Some(&Deed::Verify(id, VerificationAct::Confirm)));
    assert_eq!(tour.on(&Seen::NotVerified(Place::Direct)), [], "nobody was asked to");
    for _ in 0..9 {
        tour.on(&say("skip"));
    }
    assert!(words(&tour.on(&Seen::NotVerified(Place::Direct))).contains("begun again"));
    assert!(words(&tour.on(&Seen::Verified(Place::Direct))).contains("11/16"));
}

#[test]
fn a_device_is_not_named_by_a_letter() {
    let mut tour = tour();
    for _ in 0..8 {
        tour.on(&say("skip"));
    }
    assert!(!words(&tour.on(&say("a b c xyz"))).contains("10/16"));
    assert!(words(&tour.on(&say("ABCDE"))).contains("10/16"));
}

#[test]
fn whoever_only_skips_comes_to_the_end_too() {
    let mut tour = tour();
    let said: Vec<String> = STEPS.iter().map(|_| words(&tour.on(&say("Skip ")))).collect();
    assert!(said.last().unwrap().contains("nothing is left behind"), "{said:?}");
}

#[test]
fn what_was_done_before_is_not_asked_for() {
    let mut tour = tour();
    tour.on(&Seen::Reacted(Place::Direct, Who::User));
    tour.on(&say("one\ntwo"));
    assert!(words(&tour.on(&reply())).contains("4/16"), "reacting was not asked for again");
    let edited = tour.on(&Seen::Edited(Place::Direct, Who::User));
    assert!(words(&edited).contains("6/16"), "nor were two lines");
}

#[test]
fn whoever_does_something_else_is_told_again_how() {
    let mut tour = tour();
    tour.on(&say("hello"));
    assert!(words(&tour.on(&say("what?"))).starts_with("To reply: tab"));
    assert_eq!(words(&tour.on(&Seen::Edited(Place::Direct, Who::User))), "");
    let elsewhere = tour.on(&Seen::Said(said(Place::Group, "hm")));
    assert_eq!(words(&elsewhere), "", "the guide does not disturb the group");
}

#[test]
fn a_silence_is_broken_once() {
    let mut tour = tour();
    assert!(words(&tour.on(&Seen::Quiet)).contains("No hurry"));
    assert_eq!(tour.on(&Seen::Quiet), []);
    tour.on(&say("hello"));
    assert!(words(&tour.on(&Seen::Quiet)).contains("To reply"));
}

#[test]
fn the_guide_speaks_where_the_user_is() {
    let mut tour = tour();
    tour.on(&say("hello"));
    for _ in 0..9 {
        tour.on(&say("skip"));
    }
    let deeds = tour.on(&Seen::Said(said(Place::Group, "hello all")));
    assert!(deeds.iter().any(|deed| matches!(deed, Deed::Say(Place::Group, _))), "{deeds:?}");
}

#[test]
fn what_others_do_moves_nothing() {
    let mut tour = tour();
    for who in [Who::Me, Who::Other] {
        assert_eq!(tour.on(&Seen::Said(Said { by: who, ..said(Place::Direct, "x") })), []);
        assert_eq!(tour.on(&Seen::Reacted(Place::Group, who)), []);
    }
    assert!(words(&tour.on(&say("hello"))).contains("2/16"));
}

#[test]
fn every_key_in_the_texts_exists() {
    let keymap = Keymap::default();
    let steps = STEPS.iter().flat_map(|step| [step.task, step.hint, step.praise]);
    for text in steps.chain(WELCOME.iter().copied()).chain([FAREWELL]) {
        let shown = with_keys(text, &keymap);
        let unknown = shown.matches('(').count() - text.matches('(').count();
        assert!(unknown == 0 && !shown.contains(['{', '}']), "{shown}");
    }
    assert_eq!(with_keys("{copy} {new_line:2} {nothing}", &keymap), "y ctrl-j (nothing)");
}

#[test]
fn every_step_ends_by_something_else() {
    let feats: BTreeSet<Feat> = STEPS.iter().map(|step| step.feat).collect();
    assert_eq!(feats.len(), STEPS.len());
}
