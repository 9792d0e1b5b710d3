//! How well a name answers to a few typed letters: all of them, in order, best at the beginnings of
//! words and in a row.

/// The score of `name`, or `None` when it lacks a letter of `query`. Higher is better; upper and
/// lower case are the same.
pub(in crate::tui) fn score(query: &str, name: &str) -> Option<u32> {
    let name: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    let mut wanted = query.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase);
    let Some(mut letter) = wanted.next() else { return Some(0) };
    let (mut total, mut run, mut before) = (0, 0, ' ');
    for (at, c) in name.iter().enumerate() {
        if *c == letter {
            let starts_word = !before.is_alphanumeric();
            run += 1;
            total += run * 2 + if starts_word { 8 } else { 0 } + if at == 0 { 4 } else { 0 };
            match wanted.next() {
                Some(next) => letter = next,
                // Of two names with the same hits the shorter is meant.
                None => return Some(total * 100 + 99_u32.saturating_sub(length(&name))),
            }
        } else {
            run = 0;
        }
        before = *c;
    }
    None
}

fn length(name: &[char]) -> u32 {
    u32::try_from(name.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_in_order_match_and_beginnings_win() {
        assert!(score("rst", "Rust Talk").is_some());
        assert_eq!(score("tr", "Rust"), None);
        assert!(score("rt", "Rust Talk") > score("rt", "carto"));
        assert!(score("bob", "Bob") > score("bob", "Bob and the others"));
        assert_eq!(score("", "anything"), Some(0));
        assert!(score("ÄÖ", "äö").is_some());
    }
}
