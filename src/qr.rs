//! QR codes as text: two modules above each other in one character, so that a code is as wide as it
//! is high. Who shows it sets the colors: dark on light, whatever the terminal's own are.

use qrcode::{Color, EcLevel, QrCode, Version, bits::Bits};

/// Light modules around the code, as the standard asks for them, and as few as phones still read
/// where a terminal has no room for more.
const QUIET: usize = 4;
const LEAST_QUIET: usize = 2;
/// The largest size of QR codes.
const LARGEST: i16 = 40;

/// What does not fit into any QR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are too many for a QR code")]
pub struct TooLong(usize);

/// A QR code, its quiet zone included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QrPicture {
    /// Row by row, all of one length; true is dark.
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
        Self::within(bytes, (usize::MAX, usize::MAX))
    }

    /// The same with as much of the margin as fits into these columns and rows; the picture may
    /// still be larger than they are.
    ///
    /// # Errors
    /// When the bytes are too many.
    pub fn within(bytes: &[u8], (columns, rows): (usize, usize)) -> Result<Self, TooLong> {
        let code = encode(bytes).ok_or(TooLong(bytes.len()))?;
        let width = code.width();
        let most = |room: usize| {
            let margins = (LEAST_QUIET..=QUIET).rev();
            margins.into_iter().find(|it| width + 2 * it <= room).unwrap_or(LEAST_QUIET)
        };
        let (beside, above) = (most(columns), most(rows.saturating_mul(2)));
        let light = || std::iter::repeat_n(false, beside);
        let blank = || vec![false; width + 2 * beside];
        let colors = code.to_colors();
        let rows = colors.chunks(width).map(|row| {
            let row = row.iter().map(|module| *module == Color::Dark);
            light().chain(row).chain(light()).collect()
        });
        let quiet = || std::iter::repeat_with(blank).take(above);
        Ok(Self { modules: quiet().chain(rows).chain(quiet()).collect() })
    }

    /// Its width in columns.
    pub fn columns(&self) -> usize {
        self.modules.first().map_or(0, Vec::len)
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

/// The smallest code that holds the bytes in a single segment: readers of binary codes put several
/// together wrongly.
fn encode(bytes: &[u8]) -> Option<QrCode> {
    (1..=LARGEST).find_map(|size| {
        let mut bits = Bits::new(Version::Normal(size));
        bits.push_byte_data(bytes).ok()?;
        bits.push_terminator(EcLevel::L).ok()?;
        QrCode::with_bits(bits, EcLevel::L).ok()
    })
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
    fn codes_of_verifications_fit_a_terminal_of_80_by_24() {
        // Between devices: a name of 22 letters, 10 bytes of secret. In a chat: 44 and 16.
        for (bytes, below, expected) in
            [(106, 1, (45, 23)), (106, 0, (45, 23)), (134, 1, (49, 23)), (134, 0, (49, 24))]
        {
            let picture = QrPicture::within(&vec![b'7'; bytes], (80, 24 - below)).unwrap();
            assert_eq!((picture.columns(), picture.rows()), expected, "{bytes}");
        }
        let wide = QrPicture::of(&[b'7'; 134]).unwrap();
        assert_eq!((wide.columns(), wide.rows()), (49, 25));
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert_eq!(QrPicture::of(&[b'x'; 3000]), Err(TooLong(3000)));
    }
}
