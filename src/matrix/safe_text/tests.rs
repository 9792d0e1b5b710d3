//! Nothing that others write escapes, reorders, hides or floods.

use proptest::prelude::*;

use super::{clean::*, *};

fn line(text: &str) -> String {
    SafeText::line(text).into_string()
}

#[test]
fn controls_become_pictures() {
    assert_eq!(line("\u{1b}]52;c;aGk=\u{7}"), "␛]52;c;aGk=␇");
    assert_eq!(line("a\u{8}\u{7f}\r\u{9b}31m"), "a␈␡↵\u{fffd}31m");
    assert_eq!(line("a\r\nb\u{2028}c\nd"), "a↵b↵c↵d");
    assert_eq!(SafeText::block("a\r\nb\u{2029}c\r\rd\u{85}").as_str(), "a\nb\nc\n\nd\u{fffd}");
}

#[test]
fn tabs_reach_the_next_stop() {
    assert_eq!(
        SafeText::block("a\tb\n\tc\nüber\tx\n日\ty").as_str(),
        "a   b\n    c\nüber    x\n日  y"
    );
}

#[test]
fn bidirectional_controls_and_invisible_characters_go() {
    assert_eq!(line("user\u{202e}gpj.exe\u{202c}\u{2066}\u{200f}\u{61c}"), "usergpj.exe");
    assert_eq!(line("al\u{200b}i\u{ad}c\u{2060}e\u{feff}\u{3164}"), "alice");
    assert_eq!(line("a\u{200d}b\u{200c}c\u{fe0f}d\u{e0041}\u{e0042}\u{fe01}"), "abcd");
}

#[test]
fn emoji_and_scripts_that_join_stay_whole() {
    for text in
        ["👩🏻‍❤️‍💋‍👨🏽", "👨‍👩‍👧‍👦", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪", "🧑🏿‍🚀", "می‌خواهم", "क्‍ष", "葛󠄀", "한국어", "각", "ẹ́̂"]
    {
        assert_eq!(line(text), text);
    }
    assert_eq!(SafeText::line("👨‍👩‍👧‍👦").width(), 2);
}

#[test]
fn marks_are_capped_and_never_stand_alone() {
    let zalgo = format!("a{}b", "\u{301}".repeat(5000));
    assert_eq!(line(&zalgo), format!("a{}b", "\u{301}".repeat(8)));
    assert_eq!(line("\u{301}x"), "◌\u{301}x");
    let jamo = SafeText::line(&"\u{1100}".repeat(3000));
    assert!(jamo.cells().all(|(_, width)| width <= 18), "{jamo}");
}

#[test]
fn lengths_are_capped() {
    assert!(line(&"x".repeat(1 << 20)).len() <= 4096);
    assert!(line(&"\u{200b}".repeat(1 << 20)).is_empty());
    let block = SafeText::block(&"\t".repeat(1 << 20));
    assert!(block.as_str().len() <= 128 * 1024 && block.as_str().ends_with('…'));
    assert_eq!(SafeText::short("日本語です", 5).as_str(), "日本…");
    assert_eq!(SafeText::short("abc", 3).as_str(), "abc");
    assert_eq!(SafeText::short("abc", 0).as_str(), "");
}

#[test]
fn names_without_ink_are_blank() {
    for blank in ["", " \u{a0}\u{3000}", "\u{3164}\u{200b}", "\u{2800}\u{2800}"] {
        assert!(SafeText::line(blank).is_blank(), "{blank:?}");
    }
}

#[test]
fn file_names_stay_in_their_folder() {
    for (name, safe) in [
        ("../../etc/passwd", "passwd"),
        ("..", "file"),
        ("C:\\Users\\x\\..\\a.txt", "a.txt"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\0b\n.txt", "a_b_.txt"),
        ("photo\u{202e}gpj.exe", "photogpj.exe"),
        ("con.txt", "_con.txt"),
        ("COM1", "_COM1"),
        ("LPT¹.log", "_LPT¹.log"),
        ("comet.txt", "comet.txt"),
        ("name. . .", "name"),
        ("a/", "a"),
        ("", "file"),
        ("日記.txt", "日記.txt"),
    ] {
        assert_eq!(safe_file_name(name), safe, "{name:?}");
    }
    let long = safe_file_name(&format!("{}.tar.gz", "é".repeat(400)));
    assert!(long.len() <= 200 && long.rsplit('.').next() == Some("gz"), "{long}");
}

/// Text that likes what the rules are about.
fn nasty() -> impl Strategy<Value = String> {
    let odd = vec![
        '\u{1b}',
        '\u{9b}',
        '\u{7}',
        '\n',
        '\r',
        '\t',
        '\u{202e}',
        '\u{2067}',
        '\u{200d}',
        '\u{200c}',
        '\u{fe0f}',
        '\u{301}',
        '\u{e0041}',
        '\u{e007f}',
        '\u{1f3f4}',
        '👩',
        '❤',
        '🏽',
        '\u{1100}',
        '\u{1161}',
        'क',
        '\u{94d}',
        '\u{600}',
        '\u{feff}',
        '🇩',
        'a',
        ' ',
        'ש',
        '\u{20e3}',
        '1',
        '.',
        '/',
    ];
    let one = prop_oneof![any::<char>(), prop::sample::select(odd)];
    prop::collection::vec(one, 0..60).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #[test]
    fn no_control_and_no_bidirectional_control_remains(text in nasty()) {
        let allowed = |c: char| !is_bidi_control(c) && !is_invisible(c);
        let (line, block) = (SafeText::line(&text), SafeText::block(&text));
        prop_assert!(line.as_str().chars().all(|c| !c.is_control() && allowed(c)));
        prop_assert!(block.as_str().chars().all(|c| (!c.is_control() || c == '\n') && allowed(c)));
        prop_assert!(!safe_file_name(&text).chars().any(|c| c.is_control() || "/\\:".contains(c)));
    }

    #[test]
    fn safe_text_stays_as_it_is(text in nasty()) {
        let once = SafeText::block(&text);
        prop_assert_eq!(&SafeText::block(once.as_str()), &once);
        let once = safe_file_name(&text);
        prop_assert_eq!(&safe_file_name(&once), &once);
    }

    #[test]
    fn no_cell_holds_more_than_its_marks(text in nasty()) {
        for (grapheme, _) in SafeText::line(&text).cells() {
            prop_assert!(0 < grapheme_width(grapheme), "{:?}", grapheme);
            prop_assert!(grapheme.chars().count() <= 1 + 1 + 8 + 8, "{:?}", grapheme);
        }
    }

    #[test]
    fn a_cut_text_fits(text in nasty(), width in 0_usize..30) {
        prop_assert!(SafeText::short(&text, width).width() <= width);
    }
}
