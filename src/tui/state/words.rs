//! What shields, failures and missing keys mean, in words for people: what it is and what to do.

use crate::{
    matrix::SafeText,
    rooms::{SendState, Shield, ShieldReason, UndecryptableReason},
    tui::{theme::StyleName, wrap::Span},
};

/// The short mark behind a message: a sign and words, for eyes that see no color.
pub(super) fn shield_mark(shield: Shield) -> Option<Span> {
    match shield {
        Shield::None => None,
        Shield::Grey(reason) => {
            Some(Span::new(format!("? {}", short(reason)), StyleName::MessageUnverified))
        }
        Shield::Red(reason) => {
            Some(Span::new(format!("‼ {}", short(reason)), StyleName::MessageWarning))
        }
    }
}

/// The sentence below a selected message.
pub(super) fn shield_sentence(shield: Shield) -> Option<Span> {
    match shield {
        Shield::None => None,
        Shield::Grey(reason) => Some(Span::new(sentence(reason), StyleName::MessageUnverified)),
        Shield::Red(reason) => Some(Span::new(sentence(reason), StyleName::MessageWarning)),
    }
}

fn short(reason: ShieldReason) -> &'static str {
    match reason {
        ShieldReason::AuthenticityNotGuaranteed => "not proved",
        ShieldReason::UnknownDevice => "unknown device",
        ShieldReason::UnsignedDevice => "unsigned device",
        ShieldReason::VerificationViolation => "identity changed",
        ShieldReason::MismatchedSender => "wrong sender",
        ShieldReason::SentInClear => "not encrypted",
    }
}

fn sentence(reason: ShieldReason) -> &'static str {
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

/// Why a message cannot be decrypted, and what to do.
pub(super) fn undecryptable(reason: &UndecryptableReason) -> String {
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

/// Where a message of ours stands: the mark behind it.
pub(super) fn send_mark(state: &SendState) -> Option<Span> {
    let (words, style) = match state {
        SendState::Queued => ("… queued", StyleName::SendWaiting),
        SendState::WaitingForKeys => ("… waiting for keys", StyleName::SendWaiting),
        SendState::Uploading { done, total } => {
            let percent = done.saturating_mul(100).checked_div(*total).unwrap_or_default().min(100);
            return Some(Span::new(format!("↑ uploading {percent} %"), StyleName::SendWaiting));
        }
        SendState::Sending => ("↑ sending", StyleName::SendWaiting),
        SendState::Sent(_) => return None,
        SendState::Failed(_) => ("✗ not sent", StyleName::SendFailed),
    };
    Some(Span::new(words, style))
}

/// Where our removal of a message stands: the mark behind what is not gone yet.
pub(super) fn removal_mark(state: &SendState) -> Span {
    match state {
        SendState::Queued
        | SendState::WaitingForKeys
        | SendState::Uploading { .. }
        | SendState::Sending
        | SendState::Sent(_) => Span::new("… being removed", StyleName::SendWaiting),
        SendState::Failed(_) => {
            Span::new("✗ not removed, others still see it", StyleName::SendFailed)
        }
    }
}

/// The sentence below a message of ours that failed.
pub(super) fn send_sentence(state: &SendState) -> Option<Span> {
    match state {
        SendState::Failed(error) => {
            let why = SafeText::short(&error.message, 300);
            let words = format!("{why} (select it to try again or to discard it)");
            Some(Span::new(words, StyleName::SendFailed))
        }
        SendState::Queued
        | SendState::WaitingForKeys
        | SendState::Uploading { .. }
        | SendState::Sending
        | SendState::Sent(_) => None,
    }
}
