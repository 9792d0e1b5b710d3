//! The description of a key: how to know it again, and how to make it of a passphrase.
//!
//! All of it is the server's word. A description without a check fits every key, and a passphrase
//! with few rounds is soon guessed by whoever sees what is sealed with it.
//!
//! # Spec
//! Client-Server API, "Secrets", "Key storage", "Deriving keys from passphrases".

use hmac::Hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha512;
use zeroize::Zeroizing;

use super::cipher::{KEY_BYTES, KeyCheck, StorageKey};
use crate::secret::Secret;

pub(super) const ALGORITHM: &str = "m.secret_storage.v1.aes-hmac-sha2";
const PBKDF2: &str = "m.pbkdf2";
/// Rounds of a passphrase that we make a key of.
#[cfg(not(test))]
const ROUNDS: u32 = 500_000;
/// As few as are taken: tests are not optimized.
#[cfg(test)]
const ROUNDS: u32 = 10_000;
/// Fewer are refused: a server that says so wants to guess the passphrase.
const MIN_ROUNDS: u64 = 10_000;
/// More are refused: some seconds of work for one try.
const MAX_ROUNDS: u64 = 10_000_000;
const KEY_BITS: u64 = 256;
/// Longest salt that is taken, in bytes.
const MAX_SALT: usize = 1 << 10;

/// A key's description, as far as it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    /// What tells the key from others; any key fits without.
    pub(super) check: Option<KeyCheck>,
    /// How it is made of a passphrase, if it is.
    pub(super) passphrase: Result<Rounds, NoPassphrase>,
}

/// How a key is made of a passphrase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rounds {
    salt: String,
    iterations: u32,
}

/// Why no key can be made of a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPassphrase {
    /// The key was not made of one.
    None,
    /// In a way that we do not know.
    Unsupported,
    /// With so few rounds that it would be given away.
    TooWeak,
    /// With more rounds than anybody needs.
    TooSlow,
}

/// The content of `m.secret_storage.key.…`.
#[derive(Deserialize)]
struct Content {
    algorithm: String,
    iv: Option<String>,
    mac: Option<String>,
    passphrase: Option<Value>,
}

#[derive(Deserialize, Serialize)]
struct PassphraseContent {
    algorithm: String,
    salt: String,
    iterations: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u64>,
}

impl Description {
    /// Reads a description; `None` when it is of a kind that we do not know.
    pub(super) fn parse(content: &str) -> Option<Self> {
        let content: Content = serde_json::from_str(content).ok()?;
        if content.algorithm != ALGORITHM {
            return None;
        }
        let check = content.iv.zip(content.mac).map(|(iv, mac)| KeyCheck { iv, mac });
        let passphrase = match content.passphrase {
            None | Some(Value::Null) => Err(NoPassphrase::None),
            Some(value) => Rounds::parse(value),
        };
        Some(Self { check, passphrase })
    }

    /// Whether a key can be made of a passphrase; so that it can be asked for.
    pub(super) fn has_passphrase(&self) -> bool {
        self.passphrase.is_ok()
    }
}

/// The content to be stored for a new key.
pub(super) fn content(check: &KeyCheck, rounds: Option<&Rounds>) -> Value {
    let KeyCheck { iv, mac } = check;
    let mut content = serde_json::json!({ "algorithm": ALGORITHM, "iv": iv, "mac": mac });
    if let (Some(Rounds { salt, iterations }), Value::Object(content)) = (rounds, &mut content) {
        let passphrase =
            serde_json::json!({ "algorithm": PBKDF2, "salt": salt, "iterations": iterations });
        content.insert("passphrase".to_owned(), passphrase);
    }
    content
}

impl Rounds {
    /// Those of a new key; `salt` must be random.
    pub(super) fn new(salt: String) -> Self {
        Self { salt, iterations: ROUNDS }
    }

    fn parse(value: Value) -> Result<Self, NoPassphrase> {
        let content: PassphraseContent =
            serde_json::from_value(value).ok().ok_or(NoPassphrase::Unsupported)?;
        let PassphraseContent { algorithm, salt, iterations, bits } = content;
        if algorithm != PBKDF2 || bits.unwrap_or(KEY_BITS) != KEY_BITS || MAX_SALT < salt.len() {
            return Err(NoPassphrase::Unsupported);
        }
        if iterations < MIN_ROUNDS {
            return Err(NoPassphrase::TooWeak);
        }
        let iterations = u32::try_from(iterations).ok().ok_or(NoPassphrase::TooSlow)?;
        if MAX_ROUNDS < u64::from(iterations) {
            return Err(NoPassphrase::TooSlow);
        }
        Ok(Self { salt, iterations })
    }
}

/// A key to be made of a passphrase: pure work, a third of a second for our own number of rounds
/// and some seconds at most, so that whoever drives the engine does it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    pub(super) passphrase: Secret<String>,
    pub(super) rounds: Rounds,
}

/// A key that was made of a passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedKey {
    pub(super) key: StorageKey,
    pub(super) rounds: Rounds,
}

impl DerivedKey {
    /// Whether it came of this work.
    pub fn is_of(&self, derivation: &Derivation) -> bool {
        self.rounds == derivation.rounds
    }
}

impl Derivation {
    /// Does the work.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "HMAC takes keys of any length"
    )]
    pub fn derive(&self) -> DerivedKey {
        let (passphrase, Rounds { salt, iterations }) = (self.passphrase.expose(), &self.rounds);
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        let (salt, bytes_mut) = (salt.as_bytes(), bytes.as_mut_slice());
        pbkdf2::pbkdf2::<Hmac<Sha512>>(passphrase.as_bytes(), salt, *iterations, bytes_mut)
            .expect("any passphrase will do");
        DerivedKey { key: StorageKey::new(Secret::new(*bytes)), rounds: self.rounds.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(passphrase: &str) -> Result<Rounds, NoPassphrase> {
        let text = format!(r#"{{"algorithm":"{ALGORITHM}","passphrase":{passphrase}}}"#);
        Description::parse(&text).unwrap().passphrase
    }

    // T-90
    #[test]
    fn a_passphrase_makes_the_key_that_other_clients_make_of_it() {
        let passphrase = Secret::new("correct horse battery staple".to_owned());
        let rounds = Rounds { salt: "MmMsAlty".to_owned(), iterations: 1_000 };
        let derived = Derivation { passphrase, rounds }.derive();
        let key = vodozemac::base64_encode(derived.key.bytes());
        assert_eq!(key, "IyGZgzKgBBA+UmWS2TwIrc6Owrag+f/gCrT5t1fTIK8");
    }

    // T-94, A-40
    #[test]
    fn a_server_chooses_neither_so_few_rounds_that_it_can_guess_nor_so_many_that_we_stand_still() {
        let of = |iterations: &str| {
            rounds(&format!(r#"{{"algorithm":"m.pbkdf2","salt":"s","iterations":{iterations}}}"#))
                .map(|rounds| rounds.iterations)
        };
        for weak in ["0", "1", "9999"] {
            assert_eq!(of(weak), Err(NoPassphrase::TooWeak), "{weak}");
        }
        for slow in ["10000001", "4294967295", "4294967296", "1000000000000"] {
            assert_eq!(of(slow), Err(NoPassphrase::TooSlow), "{slow}");
        }
        for odd in ["-1", "1e6", "\"500000\"", "null", "99999999999999999999999"] {
            assert_eq!(of(odd), Err(NoPassphrase::Unsupported), "{odd}");
        }
        assert_eq!(of("10000"), Ok(10_000));
        assert_eq!(of("10000000"), Ok(10_000_000));
    }

    #[test]
    fn a_passphrase_in_another_way_is_none_and_the_key_can_still_be_typed() {
        let unsupported = [
            r#"{"algorithm":"m.scrypt","salt":"s","iterations":500000}"#.to_owned(),
            r#"{"algorithm":"m.pbkdf2","salt":"s","iterations":500000,"bits":128}"#.to_owned(),
            r#"{"algorithm":"m.pbkdf2","iterations":500000}"#.to_owned(),
            format!(
                r#"{{"algorithm":"m.pbkdf2","salt":"{}","iterations":500000}}"#,
                "s".repeat(1025)
            ),
            "7".to_owned(),
        ];
        for passphrase in unsupported {
            assert_eq!(rounds(&passphrase), Err(NoPassphrase::Unsupported), "{passphrase}");
        }
        assert_eq!(rounds("null"), Err(NoPassphrase::None));
        for text in ["[]", "{}", r#"{"algorithm":"m.secret_storage.v2"}"#, "\u{0}"] {
            assert_eq!(Description::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_we_describe_is_what_we_read() {
        let check = StorageKey::random().unwrap().check().unwrap();
        for rounds in [None, Some(Rounds::new("salt".to_owned()))] {
            let text = content(&check, rounds.as_ref()).to_string();
            let read = Description::parse(&text).unwrap();
            assert_eq!(read.check.as_ref(), Some(&check));
            assert_eq!(read.passphrase.ok(), rounds);
        }
    }
}
