//! Robin: the second person, who has a life of their own and does not talk too much.

use std::time::Duration;

use super::{
    person::{self, Deed, Person},
    seen::{Place, Said, Seen, Who},
    story::{self, Voice},
};

/// What Robin says when it has been quiet, each line once.
const MUSINGS: &[&str] = &[
    "A blackbird just took my best raspberry. In front of me.",
    "It smells of rain.",
    "I am off to water the beans. Write my name if you need me.",
];
/// What Robin answers when named, in turn.
const ANSWERS: &[&str] = &[
    "You called? I am here, up to the elbows in compost.",
    "Still here 🙂",
    "Yes? I read everything; I just have muddy hands.",
];
/// How long Robin types.
const TYPING: Duration = Duration::from_millis(1200);

/// Robin.
#[derive(Debug, Default)]
pub(super) struct Friend {
    has_greeted: bool,
    answers: usize,
    quiets: usize,
}

impl Person for Friend {
    fn on(&mut self, seen: &Seen) -> Vec<Deed> {
        match seen {
            Seen::Curtain => story::first(Voice::Robin).into_iter().collect(),
            Seen::Said(said) if said.by == Who::User => self.hear(said),
            Seen::Said(said) => story::next(Voice::Robin, said).into_iter().collect(),
            Seen::Invited(room) => {
                let place = Place::Elsewhere(room.clone());
                let hello = "Thanks for having me! What is this room for?".to_owned();
                vec![
                    Deed::Join(room.clone()),
                    Deed::Type(place.clone(), TYPING),
                    Deed::Say(place, hello),
                ]
            }
            Seen::Quiet => self.muse(),
            Seen::AskedToVerify(_) | Seen::Compare(..) => person::verifies(seen),
            Seen::Edited(..)
            | Seen::Reacted(..)
            | Seen::Removed(..)
            | Seen::Verified(_)
            | Seen::NotVerified(_) => Vec::new(),
        }
    }
}

impl Friend {
    fn hear(&mut self, said: &Said) -> Vec<Deed> {
        let mut deeds = vec![Deed::Read(said.place.clone(), said.event.clone())];
        let is_first = said.place == Place::Group && !self.has_greeted;
        if is_first {
            self.has_greeted = true;
            deeds.push(Deed::React(Place::Group, said.event.clone(), "👋"));
        }
        if said.names_me {
            let answer = ANSWERS.get(self.answers % ANSWERS.len()).copied().unwrap_or_default();
            self.answers += 1;
            deeds.push(Deed::Type(said.place.clone(), TYPING));
            deeds.push(Deed::Reply(said.place.clone(), said.event.clone(), answer.to_owned()));
        }
        deeds
    }

    /// Says something at every other silence, until there is nothing more to say.
    fn muse(&mut self) -> Vec<Deed> {
        self.quiets += 1;
        let turn = if self.quiets.is_multiple_of(2) { self.quiets / 2 } else { 0 };
        let musing = turn.checked_sub(1).and_then(|turn| MUSINGS.get(turn));
        let say = |text: &&str| {
            vec![Deed::Type(Place::Group, TYPING), Deed::Say(Place::Group, (*text).to_owned())]
        };
        musing.map(say).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::seen::Shape;

    fn said(by: Who, text: &str) -> Seen {
        Seen::Said(Said {
            place: Place::Group,
            by,
            event: "$e".try_into().unwrap(),
            text: text.to_owned(),
            shape: Shape::Words,
            is_reply: false,
            names_me: text.contains("robin"),
        })
    }

    #[test]
    fn robin_answers_when_named_and_otherwise_only_reads() {
        let mut robin = Friend::default();
        robin.on(&said(Who::User, "hello"));
        assert!(matches!(robin.on(&said(Who::User, "nice here"))[..], [Deed::Read(..)]));
        let deeds = robin.on(&said(Who::User, "robin, are you there?"));
        assert!(deeds.iter().any(|deed| matches!(deed, Deed::Reply(..))), "{deeds:?}");
        assert_eq!(robin.on(&said(Who::Other, "robin and I")), []);
    }

    #[test]
    fn robin_falls_silent_in_the_end() {
        let mut robin = Friend::default();
        let spoken: usize =
            (0..100).map(|_| robin.on(&Seen::Quiet)).filter(|deeds| !deeds.is_empty()).count();
        assert_eq!(spoken, MUSINGS.len());
    }
}
