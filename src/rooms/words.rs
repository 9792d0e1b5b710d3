//! What shields and missing keys mean, in words for people: what it is and what to do. The screen and
//! the command line say the same.

use crate::{
    e2ee::{ShieldReason, UndecryptableReason},
    matrix::SafeText,
};

/// What a shield with this reason means, in a sentence.
pub fn shield_meaning(reason: ShieldReason) -> &'static str {
    match reason {
        ShieldReason::AuthenticityNotGuaranteed => {
            "Its key came from a backup or another device: who wrote it is not proved."
        }
        ShieldReason::UnknownDevice => {
            "It came from a device that is not (or no longer) in its owner's list."
        }
        ShieldReason::UnsignedDevice => {
            "The device that sent it is not signed by its owner: ask them to verify it."
        }
        ShieldReason::VerificationViolation => {
            "The sender's identity changed after you verified it: verify them again before you \
             trust this."
        }
        ShieldReason::MismatchedSender => {
            "It was encrypted by somebody else than the sender it names: do not trust it."
        }
        ShieldReason::SentInClear => {
            "It was not encrypted although this room is: the server could read and write it."
        }
    }
}

/// Why a message cannot be decrypted, and what to do; safe to show.
pub fn why_undecryptable(reason: &UndecryptableReason) -> String {
    match reason {
        UndecryptableReason::NoRoomKey => {
            "its key has not arrived; it is shown as soon as it does. If not, ask the sender to \
             write again"
                .to_owned()
        }
        UndecryptableReason::Withheld(code) => withheld(code),
        UndecryptableReason::IndexTooLow => {
            "the key this device was given starts after it; another device of yours may have it"
                .to_owned()
        }
        UndecryptableReason::BeforeJoin => {
            "it was sent before you joined, so you were not given its key".to_owned()
        }
        UndecryptableReason::BeforeLogin => {
            "it is older than this login; your key backup or another device of yours has its key"
                .to_owned()
        }
        UndecryptableReason::DuplicateIndex => {
            "its ciphertext was seen before in another message: a replay, do not trust it"
                .to_owned()
        }
        UndecryptableReason::MismatchedSender => {
            "it was encrypted by somebody else than the sender it names: do not trust it".to_owned()
        }
        UndecryptableReason::UnsupportedAlgorithm(name) => {
            let name = SafeText::short(name, 40);
            format!("it uses an encryption that grotto does not know ({name})")
        }
        UndecryptableReason::Malformed => {
            "it is damaged; ask the sender to write it again".to_owned()
        }
    }
}

fn withheld(code: &str) -> String {
    match code {
        "m.unverified" => {
            "the sender's device gives its key only to verified devices; verify this one".to_owned()
        }
        "m.blacklisted" => "the sender has blocked this device".to_owned(),
        "m.unauthorised" => "the sender says you may not read it".to_owned(),
        "m.unavailable" => "the sender's device no longer has its key".to_owned(),
        "m.no_olm" => {
            "the sender's device could not reach this one; it may work with their next message"
                .to_owned()
        }
        other => format!("the sender's device keeps its key back ({})", SafeText::short(other, 40)),
    }
}
