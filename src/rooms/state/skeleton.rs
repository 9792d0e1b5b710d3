//! Which names look alike.
//!
//! A reduced form of Unicode's confusables: what is left of a name when invisible characters,
//! marks, case, white space and the usual look-alikes are taken away. Two names with one skeleton
//! are shown with their user ids; a name that only looks unusual is left alone.
//!
//! # Spec
//! Unicode TR39, "Confusable detection"; Client-Server API, "Calculating the display name for a
//! user".

use unicode_width::UnicodeWidthChar;

use crate::matrix::SafeText;

/// Letters, each before the lower-case Latin letter that it looks like.
const LOOKALIKES: [&str; 4] = [
    // Cyrillic
    "аa вb сc ԁd еe һh іi јj кk ӏi мm пn оo рp ԛq гr ѕs тt цu ѵv ԝw хx уy ьb ԍg",
    // Greek and Armenian
    "αa βb δd εe ιi κk νv οo ρp τt υu χx ωw ηn օo ցg սu",
    // Latin letters beside the alphabet
    "ıi ɩi ɪi ʟi øo ɑa ɡg ɢg łi đd ħh ŧt ßb ʋu ɯw ƅb ɴn ʏy li",
    // Digits and signs
    "0o 1i |i 5s $s @a €e ¢c !i",
];

/// The skeleton of a display name.
pub(super) fn skeleton(name: &str) -> String {
    let safe = SafeText::line(name);
    let letters = safe.as_str().chars().filter_map(plain).flat_map(char::to_lowercase);
    let mut skeleton: String = letters
        .filter(|c| c.width().is_some_and(|width| width > 0) && !c.is_whitespace())
        .map(lookalike)
        .collect();
    if skeleton.contains("rn") {
        skeleton = skeleton.replace("rn", "m");
    }
    if skeleton.contains("vv") {
        skeleton = skeleton.replace("vv", "w");
    }
    skeleton
}

/// Takes the style off full-width and mathematical letters, and the accent off the usual ones.
fn plain(c: char) -> Option<char> {
    let code = u32::from(c);
    let letter = |offset: u32| {
        let (first, offset) = if offset < 26 { ('A', offset) } else { ('a', offset - 26) };
        char::from_u32(u32::from(first) + offset)
    };
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(code - 0xff01 + 0x21),
        '\u{1d400}'..='\u{1d6a3}' => letter((code - 0x1d400) % 52),
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_u32((code - 0x1d7ce) % 10 + u32::from('0')),
        'À'..='Å' | 'à'..='å' | 'Ā'..='ą' => Some('a'),
        'È'..='Ë' | 'è'..='ë' | 'Ē'..='ě' => Some('e'),
        'Ì'..='Ï' | 'ì'..='ï' | 'Ĩ'..='į' => Some('i'),
        'Ò'..='Ö' | 'ò'..='ö' | 'Ō'..='ő' => Some('o'),
        'Ù'..='Ü' | 'ù'..='ü' | 'Ũ'..='ų' => Some('u'),
        'Ñ' | 'ñ' | 'Ń'..='ň' => Some('n'),
        'Ç' | 'ç' | 'Ć'..='č' => Some('c'),
        'Ś'..='š' => Some('s'),
        'Ź'..='ž' => Some('z'),
        c => Some(c),
    }
}

fn lookalike(c: char) -> char {
    let pairs = LOOKALIKES.iter().flat_map(|table| table.split(' '));
    let latin = pairs.filter_map(|pair| pair.strip_prefix(c)).find_map(|rest| rest.chars().next());
    latin.unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_share_a_skeleton() {
        for (one, other) in [
            ("Alice", "alice"),
            ("alice", "аlісе"),
            ("alice", "al\u{200b}ice\u{202e}"),
            ("alice", "a l i c e"),
            ("paypal", "раураl"),
            ("admin", "ａｄｍｉｎ"),
            ("admin", "𝐚𝐝𝐦𝐢𝐧"),
            ("modern", "modem"),
            ("Bill", "BiII"),
            ("jose", "José"),
            ("bob", "b0b"),
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }

    #[test]
    fn different_names_have_different_skeletons() {
        for (one, other) in [("alice", "alicia"), ("日本", "中国"), ("Мария", "Дарья")]
        {
            assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }

    #[test]
    fn the_tables_hold_pairs() {
        for pair in LOOKALIKES.iter().flat_map(|table| table.split(' ')) {
            assert_eq!(pair.chars().count(), 2, "{pair}");
            assert!(pair.ends_with(|c: char| c.is_ascii_lowercase()), "{pair}");
        }
    }
}
