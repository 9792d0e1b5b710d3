//! What was said in the group before the user came.

use super::{
    person::Deed,
    seen::{Place, Said},
};

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    Guide,
    Robin,
}

/// The word that the user is to find by scrolling back.
pub(super) const WORD: &str = "heron";

use Voice::{Guide, Robin};

/// The lines, in order.
const LINES: &[(Voice, &str)] = &[
    (Guide, "Morning, Robin. Did you get the new lock for the garden gate?"),
    (Robin, "I did. It wants a word instead of a key: heron"),
    (Guide, "Good that only we can read this, then."),
    (Robin, "The server carries it and cannot open it. I like that."),
    (Guide, "How are the tomatoes?"),
    (Robin, "Taller than me. I have run out of sticks."),
    (Guide, "There are some behind the shed, by the blue barrel."),
    (Robin, "Found them 🌱"),
    (Guide, "And the bees?"),
    (Robin, "Busy. The lavender was the right idea."),
    (Robin, "One of them followed me into the kitchen and looked around like a landlord."),
    (Guide, "Did it leave a review?"),
    (Robin, "Four stars. No jam."),
    (Guide, "😄"),
    (Robin, "The pond is low again. I topped it up, twenty buckets."),
    (Guide, "I will bring the hose tomorrow."),
    (Robin, "The frogs say thanks."),
    (Guide, "Somebody new is coming today, by the way."),
    (Robin, "Oh, who?"),
    (Guide, "Somebody who tries grotto for the first time."),
    (Robin, "In a terminal? My kind of person."),
    (Guide, "I will show them around and then bring them here."),
    (Robin, "I will put the kettle on ☕"),
];

/// The next line, for whoever's turn it is after this message.
pub(super) fn next(voice: Voice, said: &Said) -> Option<Deed> {
    if said.place != Place::Group {
        return None;
    }
    let at = LINES.iter().position(|(_, text)| *text == said.text)?;
    let (who, text) = LINES.get(at + 1)?;
    (*who == voice).then(|| Deed::Say(Place::Group, (*text).to_owned()))
}

/// The first line.
pub(super) fn first(voice: Voice) -> Option<Deed> {
    let (who, text) = LINES.first()?;
    (*who == voice).then(|| Deed::Say(Place::Group, (*text).to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_story_goes_on_by_itself() {
        let texts: BTreeSet<&str> = LINES.iter().map(|(_, text)| *text).collect();
        assert_eq!(texts.len(), LINES.len(), "a line that comes twice would begin a loop");
    }

    #[test]
    fn the_word_is_where_only_scrolling_shows_it() {
        let at = LINES.iter().position(|(_, text)| text.contains(WORD));
        // A screen of 24 rows shows fewer lines than follow.
        assert!(at.is_some_and(|at| 18 < LINES.len() - at));
        assert_eq!(LINES.iter().filter(|(_, text)| text.contains(WORD)).count(), 1);
    }
}
