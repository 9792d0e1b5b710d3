//! Names under which an attachment may be saved.

use super::text::SafeText;

/// Longest name, in bytes; file systems stop at 255, and a suffix like ` (2)` must still fit.
const MAX_BYTES: usize = 200;
/// Longest ending that is kept when a name is cut, in bytes, with its dot.
const MAX_ENDING_BYTES: usize = 17;
/// Names that Windows takes for devices, whatever follows the first dot.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// Makes a name that names exactly one file in the folder it is put into: no separators, no
/// leading dot or dash, nothing invisible, no device, at most 200 bytes. `file` if nothing is left.
pub fn safe_file_name(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).find(|part| !part.trim().is_empty()).unwrap_or_default();
    let shown: String = SafeText::line(base)
        .as_str()
        .chars()
        .map(|c| match c {
            ':' | '*' | '?' | '"' | '<' | '>' | '|' | '↵' | '\u{2400}'..='\u{2421}' => '_',
            c => c,
        })
        .collect();
    let trimmed = shown
        .trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '-' | '~'))
        .trim_end_matches(|c: char| c.is_whitespace() || c == '.');
    if trimmed.is_empty() {
        return "file".to_owned();
    }
    let name = if is_device(trimmed) { format!("_{trimmed}") } else { trimmed.to_owned() };
    // A mark whose base was trimmed away gets another.
    cut(SafeText::line(&name).as_str())
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = ["COM", "LPT"].iter().any(|port| {
        let number = stem.strip_prefix(port).unwrap_or_default();
        matches!(number, "¹" | "²" | "³")
            || (number.len() == 1 && number.as_bytes() != b"0")
                && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    numbered || DEVICES.contains(&stem.as_str())
}

/// Cuts a name that is too long, before its ending.
fn cut(name: &str) -> String {
    if name.len() <= MAX_BYTES {
        return name.to_owned();
    }
    let ending = name.rfind('.').and_then(|dot| name.get(dot..));
    let ending = ending.filter(|ending| ending.len() <= MAX_ENDING_BYTES).unwrap_or_default();
    let mut end = MAX_BYTES - ending.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", name.get(..end).unwrap_or_default().trim_end())
}
