//! What shields, failures and missing keys mean, in words for people: what it is and what to do.

use crate::{
    matrix::SafeText,
    rooms::{SendState, Shield, ShieldReason, shield_meaning},
    tui::{theme::StyleName, wrap::Span},
};

/// The short mark behind a message: a sign and words, for eyes that see no color. A sign alone where
/// a whole restored history would carry the words; the sentence of the selected message says it.
/// `shared_by` is who handed the message's key to us, on whose word it is believed.
pub(super) fn shield_mark(shield: Shield, shared_by: Option<&SafeText>) -> Option<Span> {
    match (shield, shared_by) {
        (Shield::None, _) => None,
        (Shield::Grey(ShieldReason::AuthenticityNotGuaranteed), Some(user)) => {
            Some(Span::new(format!("? shared by {user}"), StyleName::Dim))
        }
        (Shield::Grey(ShieldReason::AuthenticityNotGuaranteed), None) => {
            Some(Span::new("?", StyleName::Dim))
        }
        (Shield::Grey(reason), _) => {
            Some(Span::new(format!("? {}", short(reason)), StyleName::MessageUnverified))
        }
        (Shield::Red(reason), _) => {
            Some(Span::new(format!("‼ {}", short(reason)), StyleName::MessageWarning))
        }
    }
}

/// The sentence below a selected message.
pub(super) fn shield_sentence(shield: Shield) -> Option<Span> {
    match shield {
        Shield::None => None,
        Shield::Grey(reason) => {
            Some(Span::new(shield_meaning(reason), StyleName::MessageUnverified))
        }
        Shield::Red(reason) => Some(Span::new(shield_meaning(reason), StyleName::MessageWarning)),
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
