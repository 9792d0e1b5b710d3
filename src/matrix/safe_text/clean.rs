//! The rules of the sanitizer.
//!
//! First every character by itself: controls become pictures, bidirectional controls and invisible
//! characters go, tabs become spaces. Then every grapheme: joiners, variation selectors and tags
//! stay only where they belong (emoji, scripts that join, ideographs), and the number of marks is
//! capped. Invisible characters are removed rather than shown because bridges put them into
//! ordinary names and text; that two names look the same is caught where names are compared.
//!
//! # Spec
//! Unicode TR9 (bidirectional), TR29 (graphemes), TR51 (emoji).

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthChar;

use super::text::grapheme_width;

/// Whether line ends may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// They become `↵`.
    One,
    /// They become `\n`.
    Many,
}

/// Most marks (characters without a width) on one base.
const MAX_MARKS: usize = 8;
/// Most further characters with a width in one grapheme: emoji sequences, conjuncts, jamo.
const MAX_PARTS: usize = 8;
/// Distance of tab stops, in cells.
const TAB: usize = 4;

const ZWNJ: char = '\u{200c}';
const ZWJ: char = '\u{200d}';
const KEYCAP: char = '\u{20e3}';
const BLACK_FLAG: char = '\u{1f3f4}';
const CANCEL_TAG: char = '\u{e007f}';

/// Applies the rules; the result has at most `limit` bytes.
pub(super) fn clean(text: &str, lines: Lines, limit: usize) -> String {
    // Each character taken in gives at least one byte out or none at all; what gives none must not
    // make the work unbounded either, so the input is cut too.
    let visible: String = text
        .chars()
        .take(limit.saturating_mul(2))
        .scan(false, |after_return, c| {
            let line_end_done = *after_return && c == '\n';
            *after_return = c == '\r';
            Some(if line_end_done { None } else { visible(c, lines) })
        })
        .flatten()
        .collect();
    let mut out = String::with_capacity(visible.len().min(limit));
    let mut column = 0_usize;
    for grapheme in visible.graphemes(true) {
        let start = out.len();
        match grapheme {
            "\t" => out.extend(std::iter::repeat_n(' ', TAB - column % TAB)),
            _ => push_grapheme(&mut out, grapheme),
        }
        if limit < out.len() + '…'.len_utf8() {
            out.truncate(start);
            out.push('…');
            break;
        }
        column = match grapheme {
            "\n" => 0,
            "\t" => column + TAB - column % TAB,
            _ => column + grapheme_width(grapheme),
        };
    }
    out
}

/// What a character becomes on its own; a tab stays for later.
fn visible(c: char, lines: Lines) -> Option<char> {
    match c {
        '\n' | '\r' | '\u{2028}' | '\u{2029}' => Some(match lines {
            Lines::One => '↵',
            Lines::Many => '\n',
        }),
        '\t' => Some('\t'),
        '\u{7f}' => Some('␡'),
        '\0'..='\u{1f}' => char::from_u32(u32::from(c) + 0x2400),
        '\u{80}'..='\u{9f}' => Some('\u{fffd}'),
        c if is_noncharacter(c) => Some('\u{fffd}'),
        c if is_bidi_control(c) || is_invisible(c) => None,
        c => Some(c),
    }
}

fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

/// Embeddings, overrides, isolates and marks.
pub(super) fn is_bidi_control(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Characters that take no or empty room and have no place in a message. Joiners, variation
/// selectors and tags are looked at in their grapheme.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e001f}'
            | '\u{e0080}'..='\u{e00ff}'
            | '\u{e01f0}'..='\u{e0fff}'
    )
}

/// Adds a grapheme without what does not belong into it.
fn push_grapheme(out: &mut String, grapheme: &str) {
    // Joiners and selectors without anything before them join and select nothing; half a syllable
    // has no cell of its own.
    let has_cell = |c: &char| !is_contextual(*c) && (c.width() != Some(0) || attaches(*c));
    let mut rest = grapheme.chars().skip_while(|c| !has_cell(c)).peekable();
    let Some(base) = rest.next() else {
        return out.extend(grapheme.chars().any(|c| !is_contextual(c)).then_some('\u{fffd}'));
    };
    let tags_belong = base == BLACK_FLAG && grapheme.ends_with(CANCEL_TAG);
    // A mark without a base would land on whatever we drew before.
    out.extend((base.width() == Some(0)).then_some('◌'));
    out.push(base);
    let joins = base.width() != Some(0) && joins(base);
    let (mut marks, mut parts, mut last) = (0, 0, base);
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        let belongs = match c {
            ZWJ => joins || next.is_some_and(|next| next.width() != Some(0)),
            ZWNJ => joins,
            '\u{fe0e}' | '\u{fe0f}' => is_pictograph(last) || next == Some(KEYCAP),
            '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => is_ideograph(last),
            '\u{e0020}'..='\u{e007f}' => tags_belong,
            _ => true,
        };
        let count = if c.width() == Some(0) { &mut marks } else { &mut parts };
        *count += usize::from(belongs);
        if belongs && marks <= MAX_MARKS && parts <= MAX_PARTS {
            out.push(c);
            last = c;
        }
    }
}

/// Whether a character becomes part of the grapheme before it.
fn attaches(c: char) -> bool {
    ['◌', c].iter().collect::<String>().graphemes(true).count() == 1
}

/// Whether a character has a meaning only after certain others.
fn is_contextual(c: char) -> bool {
    matches!(
        c,
        ZWJ | ZWNJ | '\u{fe00}'..='\u{fe0f}' | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}'
    )
}

/// Scripts whose letters are written otherwise with a joiner between them: Arabic and its
/// neighbors, the scripts of India and South-East Asia, Mongolian.
fn joins(c: char) -> bool {
    matches!(
        c,
        '\u{600}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{1900}'..='\u{1cff}'
            | '\u{a800}'..='\u{abff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
            | '\u{10a00}'..='\u{11fff}'
    )
}

/// Characters that may be drawn as text or as emoji, roughly.
fn is_pictograph(c: char) -> bool {
    matches!(
        c,
        '©' | '®' | '‼' | '⁉' | '™' | 'ℹ' | '〰' | '〽' | '㊗' | '㊙' | '\u{2194}'..='\u{21aa}'
            | '\u{2300}'..='\u{23ff}' | '\u{2460}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
            | '\u{1f000}'..='\u{1faff}'
    )
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}
