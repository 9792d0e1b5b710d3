//! The tour as somebody takes it who does what they are told, and as others do.

use super::*;
use crate::matrix::OwnedRoomId;

/// A tour that has begun.
fn tour() -> Tour {
    let mut tour = Tour::new(Keymap::default());
    let said = words(&tour.on(&Seen::Curtain));
    assert!(said.contains("1/12"), "{said}");
    tour
}

/// All that is said in these deeds.
fn words(deeds: &[Deed]) -> String {
    let texts = deeds.iter().filter_map(|deed| match deed {
        Deed::Say(_, text) | Deed::Reply(_, _, text) => Some(text.as_str()),
        Deed::Read(..) | Deed::Type(..) | Deed::React(..) | Deed::Join(_) => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn said(place: Place, text: &str) -> Said {
    let event = "$event".try_into().unwrap();
    let (is_emote, is_reply, names_me) = (false, false, text.contains("guide"));
    Said { place, by: Who::User, event, text: text.to_owned(), is_emote, is_reply, names_me }
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
        Seen::Said(Said { is_emote: true, ..said(Place::Direct, "waves") }),
        Seen::Removed(Place::Direct, Who::User),
        Seen::Said(said(Place::Group, "hello all")),
        Seen::Said(said(Place::Group, "it is Heron!")),
        Seen::Said(said(Place::Group, "robin, how are the frogs?")),
        Seen::Invited(room()),
        Seen::Said(said(Place::Elsewhere(room()), "it is y.")),
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
    assert!(words(&tour.on(&say("again"))).contains("1/12"));
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
    assert!(words(&tour.on(&reply())).contains("4/12"), "reacting was not asked for again");
    let edited = tour.on(&Seen::Edited(Place::Direct, Who::User));
    assert!(words(&edited).contains("6/12"), "nor were two lines");
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
    for _ in 0..6 {
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
    assert!(words(&tour.on(&say("hello"))).contains("2/12"));
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
