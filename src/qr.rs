//! QR codes as text: two modules above each other in one character, so that a code is as wide as it
//! is high. Who shows it sets the colors: dark on light, whatever the terminal's own are.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code. The standard asks for four; phones read two, and a terminal has
/// little room.
const QUIET: usize = 2;

/// What does not fit into any QR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are too many for a QR code")]
pub struct TooLong(usize);

/// A QR code, its quiet zone included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QrPicture {
    /// Row by row; true is dark.
    modules: Vec<Vec<bool>>,
}

/// Which modules become blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// The dark ones: for black on white.
    Dark,
    /// The light ones: for a dark terminal without colors.
    Light,
}

impl QrPicture {
    /// Encodes some bytes; as few modules as the lowest error correction allows, since a screen has
    /// no dirt on it.
    ///
    /// # Errors
    /// When they are too many.
    pub fn of(bytes: &[u8]) -> Result<Self, TooLong> {
        let code = QrCode::with_error_correction_level(bytes, EcLevel::L)
            .map_err(|_too_long| TooLong(bytes.len()))?;
        let width = code.width();
        let light = || std::iter::repeat_n(false, QUIET);
        let blank = || vec![false; width + 2 * QUIET];
        let colors = code.to_colors();
        let rows = colors.chunks(width).map(|row| {
            let row = row.iter().map(|module| *module == Color::Dark);
            light().chain(row).chain(light()).collect()
        });
        let quiet = || std::iter::repeat_with(blank).take(QUIET);
        Ok(Self { modules: quiet().chain(rows).chain(quiet()).collect() })
    }

    /// Its width in columns.
    pub fn columns(&self) -> usize {
        self.modules.len()
    }

    /// Its height in rows of text.
    pub fn rows(&self) -> usize {
        self.modules.len().div_ceil(2)
    }

    /// The rows of text, all [`QrPicture::columns`] wide: spaces and half blocks.
    pub fn lines(&self, ink: Ink) -> Vec<String> {
        let pairs = self.modules.chunks(2);
        pairs.map(|pair| line(pair, ink)).collect()
    }
}

fn line(pair: &[Vec<bool>], ink: Ink) -> String {
    let is_inked = |module: Option<&bool>| match ink {
        Ink::Dark => module.is_some_and(|dark| *dark),
        // Beyond the last row there is nothing: no ink either.
        Ink::Light => module.is_some_and(|dark| !dark),
    };
    let (upper, lower) = (pair.first(), pair.get(1));
    let columns = upper.map_or(0, Vec::len);
    (0..columns)
        .map(|column| {
            let at = |row: Option<&Vec<bool>>| is_inked(row.and_then(|row| row.get(column)));
            match (at(upper), at(lower)) {
                (false, false) => ' ',
                (true, false) => '▀',
                (false, true) => '▄',
                (true, true) => '█',
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules that a reader sees in the text.
    fn seen(lines: &[String], ink: Ink) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in lines {
            let halves = line.chars().map(|c| match c {
                '▀' => (true, false),
                '▄' => (false, true),
                '█' => (true, true),
                _ => (false, false),
            });
            let (upper, lower): (Vec<bool>, Vec<bool>) = halves.unzip();
            rows.extend([upper, lower]);
        }
        let flip = |row: Vec<bool>| row.into_iter().map(|is| is == (ink == Ink::Dark)).collect();
        rows.into_iter().map(flip).collect()
    }

    #[test]
    fn both_inks_show_the_same_square_with_a_light_margin() {
        let picture = QrPicture::of(b"https://example.org/link?user_code=WDJB-MJHT").unwrap();
        let side = picture.columns();
        for ink in [Ink::Dark, Ink::Light] {
            let lines = picture.lines(ink);
            assert_eq!(lines.len(), picture.rows());
            assert!(lines.iter().all(|line| line.chars().count() == side));
            let seen = seen(&lines, ink);
            assert_eq!(seen[..side], picture.modules);
            let margin = seen[..QUIET].iter().chain(&seen[side - QUIET..side]).flatten();
            assert!(!margin.clone().any(|dark| *dark));
        }
        // A finder pattern in the corner: dark, and a light ring in it.
        assert_eq!(
            picture.modules[QUIET][QUIET..QUIET + 8],
            [true, true, true, true, true, true, true, false]
        );
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert_eq!(QrPicture::of(&[b'x'; 3000]), Err(TooLong(3000)));
    }
}
