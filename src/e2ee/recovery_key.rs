//! The key of secret storage as a person writes it down.
//!
//! # Spec
//! Appendices, "Cryptographic key representation".

use std::ops::RangeInclusive;

use zeroize::Zeroizing;

use crate::secret::Secret;

/// What every key begins with.
const PREFIX: [u8; 2] = [0x8b, 0x01];
const KEY_BYTES: usize = 32;
/// Prefix, key, parity.
const BYTES: usize = PREFIX.len() + KEY_BYTES + 1;
/// Most characters that are looked at; a key has 48 and the spaces between.
const MAX_CHARS: usize = 256;
/// Lengths of what may be a key with some characters lost or doubled.
const ABOUT_AS_LONG: RangeInclusive<usize> = 42..=54;
/// Figures that such a text has at least; a key has seven on average.
const LEAST_FIGURES: usize = 3;
/// Base58 has no more than this many digits for the bytes above.
const MAX_DIGITS: usize = 48;

/// Why a text is no recovery key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecoveryKey {
    /// It has characters that no recovery key has.
    #[error("a recovery key has only letters and digits, without 0, O, I and l")]
    Characters,
    /// Something is missing or too much.
    #[error("a recovery key has 48 characters; something is missing or too much")]
    Length,
    /// It does not begin as recovery keys do.
    #[error("a recovery key begins with \"Es\"")]
    Prefix,
    /// A character is wrong.
    #[error("a character of the recovery key is wrong")]
    Parity,
}

/// Writes a key in groups of four characters.
pub(super) fn encode(key: &[u8; KEY_BYTES]) -> Secret<String> {
    let mut bytes = Zeroizing::new([0_u8; BYTES]);
    let parts = PREFIX.iter().chain(key).copied();
    for (place, byte) in bytes.iter_mut().zip(parts) {
        *place = byte;
    }
    let parity = bytes.iter().fold(0, |parity, byte| parity ^ byte);
    if let Some(last) = bytes.last_mut() {
        *last = parity;
    }
    let digits = Zeroizing::new(bs58::encode(bytes.as_slice()).into_string());
    let mut text = String::with_capacity(digits.len() + digits.len() / 4);
    for (place, digit) in digits.chars().enumerate() {
        if place % 4 == 0 && place != 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    Secret::new(text)
}

/// Reads a key, however it is spaced.
///
/// # Errors
/// When it cannot be one; what is wrong is a guess at the mistake.
pub(super) fn decode(text: &str) -> Result<Secret<[u8; KEY_BYTES]>, BadRecoveryKey> {
    if MAX_CHARS < text.len() {
        return Err(BadRecoveryKey::Length);
    }
    let mut digits = Zeroizing::new(String::with_capacity(MAX_CHARS));
    digits.extend(text.chars().filter(|it| !it.is_whitespace()));
    if MAX_DIGITS < digits.len() {
        return Err(BadRecoveryKey::Length);
    }
    // One byte more than fits, so that what is too long is told from what is not base58.
    let mut bytes = Zeroizing::new([0_u8; BYTES + 1]);
    let read = bs58::decode(digits.as_bytes()).onto(bytes.as_mut_slice());
    let length = read.map_err(|error| {
        let is_long = matches!(error, bs58::decode::Error::BufferTooSmall);
        if is_long { BadRecoveryKey::Length } else { BadRecoveryKey::Characters }
    })?;
    let Some(bytes) = bytes.get(..length).and_then(|it| <&[u8; BYTES]>::try_from(it).ok()) else {
        return Err(BadRecoveryKey::Length);
    };
    let [first, second, key @ .., _parity] = bytes;
    if [*first, *second] != PREFIX {
        return Err(BadRecoveryKey::Prefix);
    }
    if bytes.iter().fold(0, |parity, byte| parity ^ byte) != 0 {
        return Err(BadRecoveryKey::Parity);
    }
    Ok(Secret::new(*key))
}

/// Whether somebody who typed this meant a recovery key, right or wrong: then what is wrong with it
/// can be said. A passphrase must not be taken for one: it would open nothing any more.
pub(super) fn is_meant(text: &str) -> bool {
    let bare = || text.chars().filter(|it| !it.is_whitespace());
    let is_of_keys = |it: char| it.is_ascii_alphanumeric() && !"0OIl".contains(it);
    match decode(text) {
        Ok(_) | Err(BadRecoveryKey::Parity) => true,
        Err(BadRecoveryKey::Characters | BadRecoveryKey::Prefix) => false,
        Err(BadRecoveryKey::Length) => {
            ABOUT_AS_LONG.contains(&bare().count())
                && bare().all(is_of_keys)
                && bare().take(2).eq("Es".chars())
                && LEAST_FIGURES <= bare().filter(char::is_ascii_digit).count()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "EsSz ykH7 LCZx 7Cae cmKD wcmY JRXi Ybtu 8iQ3 t8Ez nRwK pUY1";

    fn key() -> [u8; 32] {
        std::array::from_fn(|place| u8::try_from(place).unwrap())
    }

    fn refused(text: &str) -> BadRecoveryKey {
        decode(text).unwrap_err()
    }

    // T-90
    #[test]
    fn a_key_is_written_and_read_as_other_clients_do() {
        assert_eq!(encode(&key()).expose(), TEXT);
        for text in [TEXT.to_owned(), TEXT.replace(' ', ""), TEXT.replace(' ', "\n\t ")] {
            assert_eq!(*decode(&text).unwrap().expose(), key(), "{text}");
        }
        let pair = vodozemac::pk_encryption::PkDecryption::from_key(
            vodozemac::Curve25519SecretKey::from_slice(&key()),
        );
        let public = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8";
        assert_eq!(pair.public_key().to_base64(), public);
    }

    #[test]
    fn a_mistake_is_told_by_its_kind() {
        assert_eq!(refused(&TEXT.replace('z', "0")), BadRecoveryKey::Characters);
        assert_eq!(refused("correct horse é"), BadRecoveryKey::Characters);
        let (cut, _rest) = TEXT.split_at(TEXT.len() - 2);
        for short in ["", "EsSz ykH7", cut] {
            assert_eq!(refused(short), BadRecoveryKey::Length, "{short:?}");
        }
        for long in [format!("{TEXT}1"), format!("1{TEXT}"), TEXT.repeat(9)] {
            assert_eq!(refused(&long), BadRecoveryKey::Length, "{long:?}");
        }
        assert_eq!(refused(&TEXT.replace("pUY1", "pUY2")), BadRecoveryKey::Parity);
        let other = bs58::encode([0x8c; 35]).into_string();
        assert_eq!(refused(&other), BadRecoveryKey::Prefix);
    }

    #[test]
    fn a_key_with_a_mistake_is_told_from_a_passphrase() {
        let (cut, _rest) = TEXT.split_at(TEXT.len() - 2);
        let doubled = TEXT.replace("ykH7", "ykkH7");
        for meant in [TEXT, &TEXT.replace("pUY1", "pUY2"), cut, &doubled] {
            assert!(is_meant(meant), "{meant}");
        }
        for phrase in [
            "correct horse battery staple",
            "Es war einmal 1 Maedchen das hatte 3 Baeren und 7 Zwerge gern",
            "Essen und Trinken haben wir gern zusammen im Garten",
            "EsSz ykH7",
            "",
        ] {
            assert!(!is_meant(phrase), "{phrase}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(key: [u8; 32]) {
            prop_assert_eq!(*decode(encode(&key).expose()).unwrap().expose(), key);
        }

        #[test]
        fn one_wrong_character_is_noticed(place in 0_usize..48, digit in "[1-9A-HJ-NP-Za-km-z]") {
            let mut text: Vec<char> = TEXT.replace(' ', "").chars().collect();
            let digit = digit.chars().next().unwrap();
            prop_assume!(text[place] != digit);
            text[place] = digit;
            // One in 256 changes of the last bytes keeps the parity; those of one digit near the
            // end do not.
            let read = decode(&text.into_iter().collect::<String>());
            prop_assert!(read.is_err() || read.unwrap().expose() != &key());
        }

        #[test]
        fn nothing_typed_panics(text in "\\PC{0,80}") {
            drop(decode(&text));
        }
    }
}
