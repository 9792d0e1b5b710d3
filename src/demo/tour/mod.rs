//! The guide: shows what grotto can do, one thing after the other.
//!
//! A step is over when the guide *sees* that the user did it: there is no button for "next". What
//! the user did before they were asked counts too. [`steps`] is the table to add to.

mod steps;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use self::steps::{FAREWELL, STEPS, Step, WELCOME, with_keys};
use super::{
    person::{self, Deed, Person},
    seen::{Place, Said, Seen, Shape, Who},
    story::{self, Voice},
};
use crate::tui::Keymap;

/// How long the guide types before an answer.
const TYPING: Duration = Duration::from_millis(700);

/// Letters that are enough of a device's name.
const MOST_BRIEF: usize = 3;

/// Something that a user can do, as others notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Feat {
    Wrote,
    Replied,
    Reacted,
    Edited,
    WroteLines,
    Acted,
    Removed,
    SentFile,
    LookedInside,
    Verified,
    WroteToAll,
    ScrolledBack,
    CalledRobin,
    MadeRoom,
    LookedUp,
    KeptKey,
}

/// The guide.
#[derive(Debug)]
pub(super) struct Tour {
    keymap: Keymap,
    /// The name of the guide's device.
    device: String,
    /// Which step the user is at; past the last one, the tour is over.
    at: usize,
    done: BTreeSet<Feat>,
    /// Where the user was seen last: there the guide speaks.
    place: Place,
    /// Whether the user was reminded of this step in a silence.
    has_reminded: bool,
}

impl Person for Tour {
    fn on(&mut self, seen: &Seen) -> Vec<Deed> {
        match seen {
            Seen::Curtain => self.begin(),
            Seen::Said(said) if said.by == Who::User => self.hear(said),
            Seen::Said(said) => story::next(Voice::Guide, said).into_iter().collect(),
            Seen::Edited(place, Who::User) => self.take(place, &[Feat::Edited]),
            Seen::Reacted(place, Who::User) => self.take(place, &[Feat::Reacted]),
            Seen::Removed(place, Who::User) => self.take(place, &[Feat::Removed]),
            Seen::Edited(..) | Seen::Reacted(..) | Seen::Removed(..) => Vec::new(),
            Seen::AskedToVerify(_) | Seen::Compare(..) => person::verifies(seen),
            Seen::Verified(place) => self.take(place, &[Feat::Verified]),
            Seen::NotVerified(place) => self.console(place),
            Seen::Invited(room) => {
                let place = Place::Elsewhere(room.clone());
                let mut deeds = vec![Deed::Join(room.clone())];
                deeds.extend(self.take(&place, &[Feat::MadeRoom]));
                deeds
            }
            Seen::Quiet => self.remind(),
        }
    }
}

impl Tour {
    /// A guide for somebody who has these keys.
    pub(super) fn new(keymap: Keymap, device: &str) -> Self {
        let device = device.to_lowercase();
        let (done, place) = (BTreeSet::new(), Place::Direct);
        Self { keymap, device, at: 0, done, place, has_reminded: false }
    }

    fn begin(&mut self) -> Vec<Deed> {
        let say = |text: &str| Deed::Say(Place::Direct, with_keys(text, &self.keymap));
        let mut deeds: Vec<Deed> = WELCOME.iter().copied().map(say).collect();
        deeds.push(Deed::Say(Place::Direct, self.task()));
        deeds.extend(story::first(Voice::Guide));
        deeds
    }

    /// The user said something.
    fn hear(&mut self, said: &Said) -> Vec<Deed> {
        let mut deeds = vec![Deed::Read(said.place.clone(), said.event.clone())];
        let word = said.text.trim().to_lowercase();
        match word.as_str() {
            "skip" => deeds.extend(self.skip(&said.place)),
            "again" => {
                self.place = said.place.clone();
                (self.at, self.has_reminded) = (0, false);
                self.done.clear();
                deeds.extend(self.speak(self.task()));
            }
            _ => {
                let feats = self.feats(said);
                if !self.done.contains(&Feat::Wrote) {
                    deeds.push(Deed::React(said.place.clone(), said.event.clone(), "👋"));
                }
                let before = self.at;
                deeds.extend(self.take(&said.place, &feats));
                if self.at == before && (said.place == Place::Direct || said.names_me) {
                    deeds.extend(self.stray(said));
                }
            }
        }
        deeds
    }

    /// What a message shows that the user can do.
    fn feats(&self, said: &Said) -> Vec<Feat> {
        let text = said.text.to_lowercase();
        let at = |feat| self.step().is_some_and(|step| step.feat == feat);
        [
            (Feat::Wrote, true),
            (Feat::Replied, said.is_reply),
            (Feat::WroteLines, said.text.trim().contains('\n')),
            (Feat::Acted, said.shape == Shape::Emote),
            (Feat::SentFile, said.shape == Shape::File),
            (Feat::LookedInside, at(Feat::LookedInside) && self.is_my_device(&text)),
            (Feat::WroteToAll, said.place == Place::Group),
            (Feat::ScrolledBack, text.contains(story::WORD)),
            (Feat::CalledRobin, text.contains("robin") && at(Feat::CalledRobin)),
            (Feat::LookedUp, at(Feat::LookedUp) && self.is_answer(&text)),
            (Feat::KeptKey, at(Feat::KeptKey) && words(&text).any(|word| word == "done")),
        ]
        .into_iter()
        .filter_map(|(feat, is_done)| is_done.then_some(feat))
        .collect()
    }

    /// Whether this is the key that copies a message.
    fn is_answer(&self, text: &str) -> bool {
        let key = with_keys("{copy}", &self.keymap).to_lowercase();
        words(text).any(|word| word == key)
    }

    /// Whether this names the guide's device, or begins to.
    fn is_my_device(&self, text: &str) -> bool {
        words(text).any(|word| MOST_BRIEF <= word.len() && self.device.starts_with(word))
    }

    /// A verification came to nothing.
    fn console(&self, place: &Place) -> Vec<Deed> {
        let Some(step) = self.step().filter(|step| step.feat == Feat::Verified) else {
            return Vec::new();
        };
        let text = format!("That came to nothing; it can be begun again. {}", step.hint);
        let text = with_keys(&text, &self.keymap);
        vec![Deed::Type(place.clone(), TYPING), Deed::Say(place.clone(), text)]
    }

    /// The user did these things here; goes on when that was what they were asked for.
    fn take(&mut self, place: &Place, feats: &[Feat]) -> Vec<Deed> {
        self.place = place.clone();
        self.done.extend(feats);
        let Some(step) = self.step().filter(|step| self.done.contains(&step.feat)) else {
            return Vec::new();
        };
        self.go_on(step.praise)
    }

    fn skip(&mut self, place: &Place) -> Vec<Deed> {
        self.place = place.clone();
        match self.step() {
            Some(step) => {
                self.done.insert(step.feat);
                self.go_on("Another time, then.")
            }
            None => self.speak(with_keys(FAREWELL, &self.keymap)),
        }
    }

    /// Goes to the first step that the user has not done yet, with a word about the last one.
    fn go_on(&mut self, praise: &str) -> Vec<Deed> {
        while self.step().is_some_and(|step| self.done.contains(&step.feat)) {
            self.at += 1;
        }
        self.has_reminded = false;
        let text = format!("{praise}\n\n{}", self.task());
        self.speak(with_keys(&text, &self.keymap))
    }

    /// The user said something else than they were asked for.
    fn stray(&self, said: &Said) -> Vec<Deed> {
        let text = match self.step() {
            Some(step) => with_keys(step.hint, &self.keymap),
            None => {
                with_keys("The tour is over; `again` begins it anew, {quit} quits.", &self.keymap)
            }
        };
        vec![Deed::Type(said.place.clone(), TYPING), Deed::Say(said.place.clone(), text)]
    }

    /// Nothing happened for a while.
    fn remind(&mut self) -> Vec<Deed> {
        let Some(step) = self.step().filter(|_| !self.has_reminded) else { return Vec::new() };
        let text = format!("No hurry. {} Or write: skip", step.hint);
        self.has_reminded = true;
        self.speak(with_keys(&text, &self.keymap))
    }

    fn step(&self) -> Option<&'static Step> {
        STEPS.get(self.at)
    }

    /// What the user is to do now.
    fn task(&self) -> String {
        let text = match self.step() {
            Some(step) => format!("{}/{} · {}", self.at + 1, STEPS.len(), step.task),
            None => FAREWELL.to_owned(),
        };
        with_keys(&text, &self.keymap)
    }

    fn speak(&self, text: String) -> Vec<Deed> {
        vec![Deed::Type(self.place.clone(), TYPING), Deed::Say(self.place.clone(), text)]
    }
}

/// The words of a text; keys are words too.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '-')
}
