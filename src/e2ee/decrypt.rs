//! Decrypting a room event: every check between the ciphertext and the timeline, in order.
//!
//! # Spec
//! End-to-End Encryption, `m.megolm.v1.aes-sha2`.

use std::borrow::Cow;

use vodozemac::megolm::{DecryptionError, MegolmMessage};

use super::{
    Machine, MachineError,
    core::Core,
    lookup::Table,
    megolm::{
        Cached, MEGOLM_V1,
        inbound::{InboundSession, is_session_id},
        ledger::{self, Place, Use},
        payload::{self, RELATION},
        withheld,
    },
    step::Step,
    trust::{self, Raised, SenderData, Standing, Verdict},
    types::{
        Decrypted, Decryption, Shield, ShieldReason, Undecryptable, UndecryptableReason as Reason,
    },
};
use crate::matrix::{Event, RoomId, UserId};

/// Longest ciphertext that is looked at; servers accept events of 64 KiB.
const MAX_CIPHERTEXT_BYTES: usize = 96 << 10;
/// Longest name of an algorithm that is shown.
const MAX_ALGORITHM_CHARS: usize = 32;

/// What an encrypted event says of itself, all of it unproved.
struct Envelope<'a> {
    sender: &'a UserId,
    place: Place<'a>,
    session: &'a str,
    ciphertext: &'a str,
}

/// Decrypts `event` of `room`.
///
/// # Errors
/// When the store fails.
pub(super) fn decrypt(
    machine: &mut Machine,
    room: &RoomId,
    event: &Event,
    step: &mut Step<'_>,
) -> Result<Decryption, MachineError> {
    let envelope = match Envelope::of(event) {
        Ok(envelope) => envelope,
        Err(reason) => return Ok(undecryptable(session_named(event), reason)),
    };
    match open(machine, room, &envelope, step)? {
        Ok(mut decrypted) => {
            if let Shield::Red(ShieldReason::UnsignedDevice | ShieldReason::UnknownDevice) =
                decrypted.shield
            {
                machine.core.look_up_departed(envelope.sender, step)?;
            }
            decrypted.content.remove(RELATION);
            if let Some(relation) = event.content.get(RELATION) {
                decrypted.content.insert(RELATION.to_owned(), relation.clone());
            }
            Ok(Decryption::Decrypted(decrypted))
        }
        Err(reason) => {
            let reason = machine.explain(reason, room, event, step)?;
            if reason.may_be_cured() {
                machine.miss_room_key(room, envelope.session, step)?;
            }
            Ok(undecryptable(Some(envelope.session), reason))
        }
    }
}

impl<'a> Envelope<'a> {
    fn of(event: &'a Event) -> Result<Self, Reason> {
        let algorithm = event.content_str("algorithm").ok_or(Reason::Malformed)?;
        if algorithm != MEGOLM_V1 {
            let name = algorithm.chars().take(MAX_ALGORITHM_CHARS).collect();
            return Err(Reason::UnsupportedAlgorithm(name));
        }
        let found = || {
            Some(Self {
                sender: event.sender.as_deref()?,
                place: Place { event: event.event_id.as_deref()?, at: event.origin_server_ts },
                session: session_named(event)?,
                ciphertext: event.content_str("ciphertext")?,
            })
        };
        // A state event cannot be encrypted; its inner content must not become state.
        let envelope = found().filter(|_| event.state_key.is_none()).ok_or(Reason::Malformed)?;
        if MAX_CIPHERTEXT_BYTES < envelope.ciphertext.len() {
            return Err(Reason::Malformed);
        }
        Ok(envelope)
    }
}

/// The session that an event names, if the name can be one.
pub(super) fn session_named(event: &Event) -> Option<&str> {
    event.content_str("session_id").filter(|id| is_session_id(id))
}

/// Decrypts and checks; whatever the sender or the server did wrong is the inner error.
fn open(
    machine: &mut Machine,
    room: &RoomId,
    envelope: &Envelope<'_>,
    step: &mut Step<'_>,
) -> Result<Result<Decrypted, Reason>, MachineError> {
    let Machine { core, megolm, .. } = machine;
    let Ok(message) = MegolmMessage::from_base64(envelope.ciphertext) else {
        return Ok(Err(Reason::Malformed));
    };
    let Some(cached) = megolm.inbound(room, envelope.session, step)? else {
        return Ok(Err(Reason::NoRoomKey));
    };
    let plaintext = match cached.record.session.decrypt(&message) {
        Ok(decrypted) => zeroize::Zeroizing::new(decrypted.plaintext),
        Err(DecryptionError::UnknownMessageIndex(..)) => return Ok(Err(Reason::IndexTooLow)),
        Err(_) => return Ok(Err(Reason::Malformed)),
    };
    let Some((kind, content)) = payload::read(&plaintext, room) else {
        return Ok(Err(Reason::Malformed));
    };
    let index = message.message_index();
    let shared_by = cached.record.sharer().cloned();
    let (ledger, verdict) = judge(cached, core, (room, envelope), step)?;
    // Only a message that may be shown uses up its index: else a member could copy a ciphertext
    // into an event of their own and so keep those who read that first from reading the message.
    let Verdict::Show(shield) = verdict else { return Ok(Err(Reason::MismatchedSender)) };
    if ledger::claim(&ledger, index, envelope.place, step)? == Use::Taken {
        return Ok(Err(Reason::DuplicateIndex));
    }
    let session_id = envelope.session.to_owned();
    Ok(Ok(Decrypted { kind, content, session_id, message_index: index, shield, shared_by }))
}

/// Whether the event may be shown as its sender's, and in which ledger its index counts: one for
/// each user who calls the session theirs, so that none uses up the indices of another.
fn judge<'a>(
    cached: &mut Cached,
    core: &Core,
    (room, envelope): (&RoomId, &Envelope<'a>),
    step: &mut Step<'_>,
) -> Result<(Cow<'a, str>, Verdict), MachineError> {
    let id = envelope.session;
    let record = &mut cached.record;
    let is_senders = |data: &SenderData| data.user() == Some(envelope.sender);
    let mut others = record.others.iter_mut().filter(|_| !is_senders(&record.sender));
    let Some(claim) = others.find(|claim| is_senders(&claim.sender)) else {
        let standing = standing(cached, core, (room, id), step)?;
        let record = &cached.record;
        let sender = envelope.sender;
        let verdict = trust::verdict(record.source, (&record.sender, standing), sender);
        // Somebody else may have handed over as theirs what a copy says is the sender's.
        let is_named = verdict == Verdict::Mismatched && trust::is_named(record, sender, step)?;
        let shield = Shield::Grey(ShieldReason::AuthenticityNotGuaranteed);
        return Ok((Cow::Borrowed(id), if is_named { Verdict::Show(shield) } else { verdict }));
    };
    let raised = trust::raise((&claim.creator, &mut claim.sender), step)?;
    let (standing, vouched) =
        trust::standing((&claim.creator, &mut claim.sender), &core.user, step)?;
    let verdict = trust::verdict(record.source, (&claim.sender, standing), envelope.sender);
    if raised == Raised::Yes || vouched == Raised::Yes {
        step.put(Table::InboundGroupSession, room.as_str(), id, &*record)?;
    }
    Ok((Cow::Owned(format!("{id} {}", envelope.sender)), verdict))
}

/// How the creator of a session stands, worked out anew only when some device changed.
fn standing(
    cached: &mut Cached,
    core: &Core,
    (room, id): (&RoomId, &str),
    step: &mut Step<'_>,
) -> Result<Standing, MachineError> {
    let changes = core.device_changes();
    if let Some((standing, then)) = cached.standing
        && then == changes
    {
        return Ok(standing);
    }
    let InboundSession { creator, sender, .. } = &mut cached.record;
    let raised = trust::raise((creator, sender), step)?;
    let (standing, vouched) = trust::standing((creator, sender), &core.user, step)?;
    if raised == Raised::Yes || vouched == Raised::Yes {
        step.put(Table::InboundGroupSession, room.as_str(), id, &cached.record)?;
    }
    cached.standing = Some((standing, changes));
    Ok(standing)
}

impl Machine {
    /// Gives a missing key the best reason known.
    fn explain(
        &self,
        reason: Reason,
        room: &RoomId,
        event: &Event,
        step: &Step<'_>,
    ) -> Result<Reason, MachineError> {
        let before_join = matches!(event.unsigned.membership.as_deref(), Some("leave" | "ban"));
        let before_login = event.origin_server_ts < self.core.account.created();
        let code = match (&reason, session_named(event)) {
            (Reason::NoRoomKey, Some(session)) => withheld::notice(room, session, step)?,
            (_, _) => None,
        };
        Ok(match (reason, code) {
            (Reason::NoRoomKey, Some(notice)) => Reason::Withheld(notice.code),
            (Reason::NoRoomKey | Reason::IndexTooLow, _) if before_join => Reason::BeforeJoin,
            (Reason::NoRoomKey, None) if before_login => Reason::BeforeLogin,
            (reason, _) => reason,
        })
    }
}

fn undecryptable(session: Option<&str>, reason: Reason) -> Decryption {
    Decryption::Undecryptable(Undecryptable { session_id: session.map(str::to_owned), reason })
}
