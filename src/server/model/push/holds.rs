//! Whether a push rule holds of an event.
//!
//! Rules are what members wrote, and all wait while those of one are run: each takes time that grows
//! with the event, and none can fail. So patterns are not made regular expressions of, as ruma does:
//! one of many question marks is too large for that, and ends the process.
//!
//! # Spec
//! Client-Server API, "Push notifications": "Push rules", "Glob-style matching".

use std::collections::HashMap;

use futures_util::FutureExt as _;
use ruma::push::{AnyPushRuleRef, FlattenedJson, PushCondition, PushConditionRoomCtx};

/// The property in which whole words are looked for.
const BODY: &str = "content.body";
/// Rules for clients from before mentions were told: they do not hold where they are.
const OLD_MENTIONS: [&str; 3] =
    [".m.rule.contains_display_name", ".m.rule.roomnotif", ".m.rule.contains_user_name"];
/// Longest pattern with wildcards, in characters; a longer one fits nothing.
const MAX_GLOB: usize = 127;

/// Whether a rule holds of an event, for the user of the context.
pub(super) fn holds(
    rule: AnyPushRuleRef<'_>,
    event: &FlattenedJson,
    context: &PushConditionRoomCtx,
) -> bool {
    let is_own = event.get_str("sender") == Some(context.user_id.as_str());
    let is_old = OLD_MENTIONS.contains(&rule.rule_id()) && event.contains_mentions();
    if is_own || is_old || !rule.enabled() {
        return false;
    }
    match rule {
        AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
            rule.conditions.iter().all(|condition| is_met(condition, event, context))
        }
        AnyPushRuleRef::Content(rule) => is_like(event, (BODY, &rule.pattern), context),
        AnyPushRuleRef::Room(rule) => is_like(event, ("room_id", rule.rule_id.as_str()), context),
        AnyPushRuleRef::Sender(rule) => is_like(event, ("sender", rule.rule_id.as_str()), context),
        _ => false,
    }
}

fn is_met(
    condition: &PushCondition,
    event: &FlattenedJson,
    context: &PushConditionRoomCtx,
) -> bool {
    #[expect(deprecated, reason = "rules that clients made may still have it")]
    match condition {
        PushCondition::EventMatch(asked) => is_like(event, (&asked.key, &asked.pattern), context),
        PushCondition::ContainsDisplayName => {
            is_like(event, (BODY, &context.user_display_name), context)
        }
        // Nothing in a condition waits: the future of ruma's is for subscriptions of threads alone.
        PushCondition::RoomMemberCount(_)
        | PushCondition::SenderNotificationPermission(_)
        | PushCondition::EventPropertyIs(_)
        | PushCondition::EventPropertyContains(_)
        | _ => condition.applies(event, context).now_or_never() == Some(true),
    }
}

/// Whether a property of the event is like a pattern; the body, whether words in it are.
fn is_like(
    event: &FlattenedJson,
    (key, pattern): (&str, &str),
    context: &PushConditionRoomCtx,
) -> bool {
    let value = match key {
        "room_id" => Some(context.room_id.as_str()),
        _ => event.get_str(key),
    };
    let Some(value) = value else { return false };
    let (value, pattern) = (value.to_lowercase(), pattern.to_lowercase());
    let has_wildcards = pattern.contains(['*', '?']);
    match (key, has_wildcards) {
        (BODY, false) => has_words(&value, &pattern),
        (BODY, true) => Glob::new(&pattern).is_some_and(|glob| glob.fits(&value, Extent::Words)),
        (_, false) => value == pattern,
        (_, true) => Glob::new(&pattern).is_some_and(|glob| glob.fits(&value, Extent::All)),
    }
}

fn is_word(character: Option<char>) -> bool {
    character.is_some_and(|it| it == '_' || it.is_ascii_alphanumeric())
}

/// Whether no word goes on between two characters.
fn is_edge(before: Option<char>, after: Option<char>) -> bool {
    !(is_word(before) && is_word(after))
}

/// Whether a text has these words, between the edges of words.
fn has_words(text: &str, words: &str) -> bool {
    if words.is_empty() {
        return text.is_empty();
    }
    let mut rest = text;
    let mut before = None;
    while let Some((skipped, found)) =
        rest.find(words).and_then(|place| rest.split_at_checked(place))
    {
        before = skipped.chars().next_back().or(before);
        let after = found.strip_prefix(words).unwrap_or_default();
        if is_edge(before, words.chars().next())
            && is_edge(words.chars().next_back(), after.chars().next())
        {
            return true;
        }
        let mut characters = found.chars();
        before = characters.next();
        rest = characters.as_str();
    }
    false
}

/// What of a text a pattern is to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    All,
    /// Any part between the edges of words.
    Words,
}

/// A pattern, where `*` is any text and `?` any character. All of its places that a text can be at
/// are followed at once, each as a bit.
struct Glob {
    /// Places at which a character is taken.
    literal: HashMap<char, u128>,
    any: u128,
    /// Places at which any text is.
    star: u128,
    end: u128,
}

impl Glob {
    /// `None` when it is too long.
    fn new(pattern: &str) -> Option<Self> {
        let mut glob = Self { literal: HashMap::new(), any: 0, star: 0, end: 1 };
        let (mut before, mut length) = (None, 0);
        for character in pattern.chars() {
            if character == '*' && before == Some('*') {
                continue;
            }
            if length == MAX_GLOB {
                return None;
            }
            match character {
                '*' => glob.star |= glob.end,
                '?' => glob.any |= glob.end,
                other => *glob.literal.entry(other).or_default() |= glob.end,
            }
            (before, length) = (Some(character), length + 1);
            glob.end <<= 1;
        }
        Some(glob)
    }

    /// With the places behind any text that may be none.
    fn skip(&self, places: u128) -> u128 {
        places | (places & self.star) << 1
    }

    fn fits(&self, text: &str, extent: Extent) -> bool {
        let mut places = self.skip(1);
        let mut before = None;
        for character in text.chars() {
            if extent == Extent::Words && is_edge(before, Some(character)) {
                places |= self.skip(1);
                if places & self.end != 0 {
                    return true;
                }
            }
            let taken = self.any | self.literal.get(&character).copied().unwrap_or(0);
            places = self.skip(places & self.star | (places & taken) << 1);
            before = Some(character);
        }
        places & self.end != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, text: &str, extent: Extent) -> bool {
        Glob::new(pattern).unwrap().fits(text, extent)
    }

    #[test]
    fn words_are_found_between_their_edges() {
        for (text, words, is_there) in [
            ("foo bar", "foo", true),
            ("foo bar", "bar", true),
            ("foobar", "foo", false),
            ("foobar foo", "foo", true),
            ("foobar foobar", "foo", false),
            ("foobar bar bar", "bar bar", true),
            ("ba-a-a", "a-a", true),
            ("aa aa", "a", false),
            ("a_b a", "a", true),
            ("conduit ⚡️", "⚡️", true),
            ("conduit⚡️", "conduit", true),
            ("grüße", "gr", true),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(has_words(text, words), is_there, "{text} {words}");
        }
    }

    #[test]
    fn wildcards_stand_for_any_text_and_for_one_character() {
        for (text, pattern, is_there) in [
            ("foo bar", "f*r", true),
            ("a foo b", "f?o", true),
            ("a fo b", "f?o", false),
            ("xfoo", "f*", false),
            ("x fooy", "fo?", false),
            ("x fooy", "fo??", true),
            ("anything", "*", true),
            ("", "*", true),
            ("abc", "a**?***c", true),
        ] {
            assert_eq!(glob(pattern, text, Extent::Words), is_there, "{text} {pattern}");
        }
        assert!(glob("@*:here", "@bob:here", Extent::All));
        assert!(!glob("@*:here", "@bob:here.org", Extent::All));
        assert!(!glob("bob*", "@bob:here", Extent::All));
        assert!(Glob::new(&"?".repeat(MAX_GLOB)).is_some());
        assert!(Glob::new(&"?".repeat(MAX_GLOB + 1)).is_none());
    }

    #[test]
    fn a_pattern_of_the_greatest_length_fits_a_text_as_long() {
        let pattern = "?".repeat(MAX_GLOB);
        assert!(glob(&pattern, &"a".repeat(MAX_GLOB), Extent::All));
        assert!(!glob(&pattern, &"a".repeat(MAX_GLOB - 1), Extent::All));
        assert!(!glob(&pattern, &"a".repeat(MAX_GLOB + 1), Extent::All));
    }
}
