//! Every call to the homeserver that has no answer yet: why it was made, whether it is under way,
//! when it is tried again. A lost link is no answer: what can be repeated is repeated, byte for
//! byte, on the next one; rate limits and server faults are waited out here, once for all callers.

use std::{collections::BTreeMap, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, value::RawValue};

use crate::{
    e2ee::{RequestId, RequestKind},
    engine::{CommandId, FaceId, SharedHistory, files::Wanted},
    matrix::{MatrixError, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomId},
    time::{Backoff, Timestamp},
    wire::{ClientFrame, RequestFrame},
};

/// Calls under way at once; the stream allows 64, some are left for what is to come.
const MAX_IN_FLIGHT: usize = 48;

/// The first pause after a server fault that names none, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a call that somebody waits for is tried before its fault is told.
const TRIES_WHEN_AWAITED: u32 = 5;

/// Why a call was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The session layer asked.
    Keys(RequestId, RequestKind),
    /// A message of the outbox.
    Send(OwnedRoomId, OwnedTransactionId),
    /// All members of a room.
    Members(OwnedRoomId),
    /// Whether a room is encrypted.
    Encryption(OwnedRoomId),
    /// What is before the gap at this position.
    History(OwnedRoomId, i64),
    /// Read up to here.
    Read(OwnedRoomId, OwnedEventId),
    /// The largest file that the server takes.
    UploadLimit,
    /// Whether we type in this room; not repeated.
    Typing(OwnedRoomId),
    /// `m.direct`, before a room is added to it.
    DirectRead(OwnedRoomId, OwnedUserId),
    /// `m.direct`, with the room.
    DirectWrite(OwnedRoomId, OwnedUserId),
    /// A face's request.
    Asked(FaceId, CommandId, Asked),
}

/// What a face asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A new room, a direct chat with this user if one is given.
    Create(Option<OwnedUserId>),
    /// To join a room.
    Join,
    /// Which room an alias means.
    Find,
    /// Whether a room has this event.
    HasEvent(OwnedEventId),
    /// The message whose file is wanted.
    Download(Wanted),
    /// To leave this room.
    Leave(OwnedRoomId),
    /// To invite this user to this room, after its history was shared or not.
    Invite(OwnedRoomId, OwnedUserId, Option<SharedHistory>),
    /// The devices of our account.
    Devices,
    /// To change a device of ours.
    Device,
    /// To end this login.
    Logout,
}

impl Origin {
    /// Whether the call may be made again when its answer was lost.
    fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Typing(_) | Self::Asked(_, _, Asked::Create(_)))
    }

    /// Its kind in one word, for the log.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Keys(_, kind) => kind.word(),
            Self::Send(..) => "send",
            Self::Members(_) => "members",
            Self::Encryption(_) => "encryption",
            Self::History(..) => "history",
            Self::Read(..) => "read",
            Self::UploadLimit => "upload_limit",
            Self::Typing(_) => "typing",
            Self::DirectRead(..) => "direct_read",
            Self::DirectWrite(..) => "direct_write",
            Self::Asked(..) => "asked",
        }
    }

    /// Whether it makes this room a direct chat.
    pub(super) fn makes_direct(&self, room: &RoomId) -> bool {
        matches!(self, Self::DirectRead(it, _) | Self::DirectWrite(it, _) if it == room)
    }

    /// How often it is tried before its fault is an answer.
    fn tries(&self) -> u32 {
        match self {
            Self::Asked(..) | Self::History(..) | Self::UploadLimit => TRIES_WHEN_AWAITED,
            Self::Typing(_) => 1,
            Self::Keys(..)
            | Self::Send(..)
            | Self::Members(_)
            | Self::Encryption(_)
            | Self::Read(..)
            | Self::DirectRead(..)
            | Self::DirectWrite(..) => u32::MAX,
        }
    }

    /// Whether it waits for `other`, which is tried again later.
    fn never_overtakes(&self, other: &Self) -> bool {
        let is_verification =
            |origin: &Self| matches!(origin, Self::Keys(_, RequestKind::Verification));
        is_verification(self) && is_verification(other)
    }

    /// Whether it waits for `other`, which is under way: claims and uploads go one at a time, and
    /// so do typing notices of a room, to keep their order. A message comes before them: a notice
    /// wakes everybody in the room, and the homeserver would answer all of them first.
    fn waits_for(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keys(_, one), Self::Keys(_, two)) => one.goes_alone() && one == two,
            (Self::Typing(room), Self::Typing(at) | Self::Send(at, _)) => room == at,
            (
                Self::Keys(..)
                | Self::Send(..)
                | Self::Members(_)
                | Self::Encryption(_)
                | Self::History(..)
                | Self::Read(..)
                | Self::UploadLimit
                | Self::Typing(_)
                | Self::DirectRead(..)
                | Self::DirectWrite(..)
                | Self::Asked(..),
                _,
            ) => false,
        }
    }
}

/// Whether messages may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Messages {
    /// Yes.
    Free,
    /// Not yet: what happened while there was no link is still being told.
    Held,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// To be sent.
    Waiting,
    /// Sent on this link, at this time.
    InFlight(Timestamp),
    /// To be sent at this time.
    Later(Timestamp),
}

#[derive(Debug)]
struct Open {
    origin: Origin,
    frame: RequestFrame,
    standing: Standing,
    backoff: Backoff,
}

impl Open {
    /// Since when it is under way.
    fn flies_since(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::InFlight(since) => Some(since),
            Standing::Waiting | Standing::Later(_) => None,
        }
    }
}

/// A call that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flying {
    /// Why it was made.
    pub(super) origin: Origin,
    /// When it left.
    pub(super) since: Timestamp,
}

/// A call of the client-server API.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Option<Box<RawValue>>,
}

impl std::fmt::Debug for Call {
    /// Without query and body: they hold what is said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// A call without a body. `segments` come below `/_matrix/client/v3`.
    pub(super) fn get(segments: &[&str]) -> Self {
        Self { method: "GET", path: path(segments), query: Vec::new(), body: None }
    }

    /// A `POST` with a body.
    pub(super) fn post(segments: &[&str], body: &Value) -> Self {
        Self { method: "POST", path: path(segments), query: Vec::new(), body: raw(body) }
    }

    /// A `PUT` with a body.
    pub(super) fn put(segments: &[&str], body: &Value) -> Self {
        Self { method: "PUT", path: path(segments), query: Vec::new(), body: raw(body) }
    }

    /// A `DELETE` with a body.
    pub(super) fn delete(segments: &[&str], body: &Value) -> Self {
        Self { method: "DELETE", path: path(segments), query: Vec::new(), body: raw(body) }
    }

    /// Adds a query parameter.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }
}

/// The JSON text of a value; `None` only if serde cannot write it, which it can.
pub(super) fn raw(value: &Value) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}

/// What RFC 3986 leaves as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text percent-encoded, as a path segment or a value of a query.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A path below `/_matrix/client/v3`, each segment percent-encoded.
pub(super) fn path(segments: &[&str]) -> String {
    let mut path = String::from("/_matrix/client/v3");
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, SEGMENT));
    }
    path
}

/// The calls without an answer, in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Requests {
    last: u64,
    open: BTreeMap<u64, Open>,
}

impl Requests {
    /// An id that no call has: of a request that the driver makes.
    pub(super) fn new_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Notes a call; it leaves with the next [`Requests::release`].
    pub(super) fn ask(&mut self, origin: Origin, call: Call) {
        self.last += 1;
        let frame = RequestFrame {
            id: self.last,
            method: call.method.to_owned(),
            path: call.path,
            query: call.query,
            body: call.body,
            ..RequestFrame::default()
        };
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        self.open.insert(self.last, Open { origin, frame, standing: Standing::Waiting, backoff });
    }

    /// Whether a call like this is noted.
    pub(super) fn has(&self, matches: impl Fn(&Origin) -> bool) -> bool {
        self.open.values().any(|open| matches(&open.origin))
    }

    /// Gives calls up, answered elsewhere or no longer wanted.
    pub(super) fn forget(&mut self, matches: impl Fn(&Origin) -> bool) {
        self.open.retain(|_, open| !matches(&open.origin));
    }

    /// The frames that may leave now; only to be asked while the link is up.
    pub(super) fn release(&mut self, now: Timestamp, messages: Messages) -> Vec<ClientFrame> {
        let mut flying: Vec<Origin> = self
            .open
            .values()
            .filter(|open| open.flies_since().is_some())
            .map(|open| open.origin.clone())
            .collect();
        let (mut frames, mut paused) = (Vec::new(), Vec::new());
        for open in self.open.values_mut() {
            match open.standing {
                Standing::InFlight(_) => continue,
                Standing::Later(at) if now < at => {
                    paused.push(open.origin.clone());
                    continue;
                }
                // Its pause is over: from now on it waits for its turn, not for the clock.
                Standing::Waiting | Standing::Later(_) => open.standing = Standing::Waiting,
            }
            let held = messages == Messages::Held && matches!(open.origin, Origin::Send(..));
            let blocked = held
                || flying.iter().any(|other| open.origin.waits_for(other))
                || paused.iter().any(|other| open.origin.never_overtakes(other));
            if !blocked && flying.len() < MAX_IN_FLIGHT {
                open.standing = Standing::InFlight(now);
                flying.push(open.origin.clone());
                frames.push(ClientFrame::Request(open.frame.clone()));
            }
        }
        frames
    }

    /// When the first paused call is due.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.open
            .values()
            .filter_map(|open| match open.standing {
                Standing::Later(at) => Some(at),
                Standing::Waiting | Standing::InFlight(_) => None,
            })
            .min()
    }

    /// The link is gone: what was under way waits for the next one. Gives the origins of calls
    /// that must not be repeated.
    pub(super) fn on_lost(&mut self) -> Vec<Origin> {
        let mut lost = Vec::new();
        self.open.retain(|_, open| {
            let flew = open.flies_since().is_some();
            if flew {
                open.standing = Standing::Waiting;
            }
            let keep = !flew || open.origin.is_repeatable();
            if !keep {
                lost.push(open.origin.clone());
            }
            keep
        });
        lost
    }

    /// Takes the call that `id` answers out of the list; `None` when nobody waits for it.
    pub(super) fn answered(&mut self, id: u64) -> Option<Origin> {
        self.flying(id)?;
        self.open.remove(&id).map(|open| open.origin)
    }

    /// The call `id`, if it is under way.
    pub(super) fn flying(&self, id: u64) -> Option<Flying> {
        let open = self.open.get(&id)?;
        open.flies_since().map(|since| Flying { origin: open.origin.clone(), since })
    }

    /// The call `id` was refused for its token, and nothing was done: it is made again.
    pub(super) fn put_back(&mut self, id: u64) {
        if let Some(open) = self.open.get_mut(&id) {
            open.standing = Standing::Waiting;
        }
    }

    /// The server asks to come back later, or is at fault: whether the call is tried again by
    /// itself. The pause is the server's where it names one.
    pub(super) fn postpone(
        &mut self,
        id: u64,
        error: &MatrixError,
        asked: Option<Duration>,
        now: Timestamp,
    ) -> bool {
        let Some(open) = self.open.get_mut(&id) else { return false };
        let pause = open.backoff.next_pause(1.0);
        if !error.is_retryable() || open.backoff.failures() >= open.origin.tries() {
            return false;
        }
        let pause = asked.or_else(|| error.retry_after()).unwrap_or(pause);
        tracing::debug!(call = open.origin.word(), status = error.status, ?pause, "put off");
        open.standing = Standing::Later(now.plus(pause));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Origin {
        Origin::Members("!a:sim".try_into().unwrap())
    }

    fn keys(id: &str, kind: RequestKind) -> Origin {
        Origin::Keys(RequestId(id.to_owned()), kind)
    }

    fn ids(frames: &[ClientFrame]) -> Vec<u64> {
        frames
            .iter()
            .filter_map(|frame| match frame {
                ClientFrame::Request(request) => Some(request.id),
                ClientFrame::Sync(_)
                | ClientFrame::Ack(_)
                | ClientFrame::Cancel(_)
                | ClientFrame::Window(_)
                | ClientFrame::Chunk(_)
                | ClientFrame::Token(_) => None,
            })
            .collect()
    }

    fn limited() -> MatrixError {
        MatrixError::parse(429, br#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}"#)
    }

    #[test]
    fn one_claim_is_under_way_at_a_time() {
        let mut requests = Requests::default();
        for id in ["a", "b"] {
            requests.ask(keys(id, RequestKind::KeysClaim), Call::get(&["x"]));
        }
        assert_eq!(ids(&requests.release(Timestamp(0), Messages::Free)), [1]);
        assert!(requests.release(Timestamp(0), Messages::Free).is_empty());
        assert!(requests.answered(1).is_some());
        assert_eq!(ids(&requests.release(Timestamp(0), Messages::Free)), [2]);
    }

    #[test]
    fn a_rate_limit_is_waited_out() {
        let mut requests = Requests::default();
        requests.ask(any(), Call::get(&["x"]));
        requests.release(Timestamp(0), Messages::Free);
        assert!(requests.postpone(1, &limited(), None, Timestamp(0)));
        assert_eq!(requests.deadline(), Some(Timestamp(1500)));
        assert!(requests.release(Timestamp(1499), Messages::Free).is_empty());
        assert_eq!(ids(&requests.release(Timestamp(1500), Messages::Free)), [1]);
    }

    #[test]
    fn a_pause_that_is_over_asks_for_no_more_ticks_while_another_call_is_waited_for() {
        let mut requests = Requests::default();
        requests.ask(keys("a", RequestKind::KeysClaim), Call::get(&["x"]));
        requests.release(Timestamp(0), Messages::Free);
        assert!(requests.postpone(1, &limited(), None, Timestamp(0)));
        requests.ask(keys("b", RequestKind::KeysClaim), Call::get(&["x"]));
        assert_eq!(ids(&requests.release(Timestamp(1), Messages::Free)), [2]);
        assert!(requests.release(Timestamp(2_000), Messages::Free).is_empty());
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn no_message_of_a_verification_overtakes_another() {
        let mut requests = Requests::default();
        for id in ["mac", "done"] {
            requests.ask(keys(id, RequestKind::Verification), Call::get(&["x"]));
        }
        assert_eq!(ids(&requests.release(Timestamp(0), Messages::Free)), [1]);
        assert!(requests.release(Timestamp(0), Messages::Free).is_empty());
        assert!(requests.postpone(1, &limited(), None, Timestamp(0)));
        assert!(requests.release(Timestamp(1), Messages::Free).is_empty());
        assert_eq!(ids(&requests.release(Timestamp(60_000), Messages::Free)), [1]);
        assert!(requests.answered(1).is_some());
        assert_eq!(ids(&requests.release(Timestamp(60_000), Messages::Free)), [2]);
    }

    #[test]
    fn typing_notices_of_a_room_keep_their_order_and_let_its_messages_pass() {
        let room = |name: &str| OwnedRoomId::try_from(name).unwrap();
        let mut requests = Requests::default();
        requests.ask(Origin::Send(room("!a:sim"), "txn".into()), Call::get(&["send"]));
        for at in ["!a:sim", "!a:sim", "!b:sim"] {
            requests.ask(Origin::Typing(room(at)), Call::get(&["typing"]));
        }
        let mut release = || ids(&requests.release(Timestamp(0), Messages::Free));
        assert_eq!(release(), [1, 4]);
        assert!(release().is_empty());
        requests.answered(1);
        assert_eq!(ids(&requests.release(Timestamp(0), Messages::Free)), [2]);
        requests.answered(2);
        assert_eq!(ids(&requests.release(Timestamp(0), Messages::Free)), [3]);
    }

    #[test]
    fn a_lost_link_repeats_what_can_be_repeated() {
        let mut requests = Requests::default();
        requests.ask(any(), Call::get(&["x"]));
        let typing = Origin::Typing("!a:sim".try_into().unwrap());
        requests.ask(typing.clone(), Call::get(&["y"]));
        requests.release(Timestamp(0), Messages::Free);
        assert_eq!(requests.on_lost(), [typing]);
        assert_eq!(ids(&requests.release(Timestamp(0), Messages::Free)), [1]);
    }

    #[test]
    fn an_answer_to_nothing_is_nothing() {
        let mut requests = Requests::default();
        requests.ask(any(), Call::get(&["x"]));
        assert_eq!(requests.answered(1), None);
        assert_eq!(requests.answered(7), None);
    }

    #[test]
    fn a_path_cannot_be_left_by_a_room_id() {
        assert_eq!(path(&["rooms", "!a/../b:c"]), "/_matrix/client/v3/rooms/%21a%2F..%2Fb%3Ac");
    }
}
