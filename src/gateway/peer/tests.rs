//! One client's state, driven by hand: no socket, no homeserver, no clock.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::{
    matrix::Position,
    wire::{
        AnswerKind, CancelFrame, ChunkEnd, ChunkFrame, ClientFrame, CloseCode, ErrorFrame, Limits,
        MediaInfo, RequestFrame, ServerFrame, SyncFrame, TokenFrame, WindowFrame,
    },
};

fn peer() -> Peer {
    Peer::new(Identity::Token, Limits::default())
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn sync(since: Option<&str>) -> PeerInput {
    let since = since.map(|text| Position(text.to_owned()));
    PeerInput::Frame(ClientFrame::Sync(SyncFrame { since, ..SyncFrame::default() }))
}

fn ack(position: &str) -> PeerInput {
    PeerInput::Frame(ClientFrame::Ack(Position(position.to_owned())))
}

fn request(id: u64) -> RequestFrame {
    RequestFrame {
        id,
        method: "GET".to_owned(),
        path: "/_matrix/client/versions".to_owned(),
        ..RequestFrame::default()
    }
}

fn json_answer(call: CallId, status: u16, body: &str) -> PeerInput {
    let answer = Answer::Json { status, body: raw(body), retry_after: None };
    PeerInput::Answered { call, answer, took: Duration::from_secs(5) }
}

fn synced(call: CallId, position: &str) -> PeerInput {
    json_answer(call, 200, &format!(r#"{{"next_batch":"{position}"}}"#))
}

/// The one poll among the effects, and its `since`.
fn poll(effects: &[PeerEffect]) -> (CallId, Option<String>, Duration) {
    let calls: Vec<&Call> = effects
        .iter()
        .filter_map(|effect| if let PeerEffect::Call(call) = effect { Some(call) } else { None })
        .collect();
    let [call] = calls.as_slice() else { panic!("not one call: {effects:?}") };
    let since = call.query.iter().find(|(key, _)| key == "since").map(|(_, value)| value.clone());
    (call.id, since, call.delay)
}

fn close(effects: &[PeerEffect]) -> Option<CloseCode> {
    effects.iter().find_map(
        |effect| {
            if let PeerEffect::Close(code) = effect { Some(*code) } else { None }
        },
    )
}

fn error(effects: &[PeerEffect]) -> Option<&ErrorFrame> {
    effects.iter().find_map(|effect| {
        if let PeerEffect::Send(ServerFrame::Error(error)) = effect { Some(error) } else { None }
    })
}

#[test]
fn the_next_poll_waits_for_the_ack_of_the_last_update() {
    let mut peer = peer();
    let (first, since, _) = poll(&peer.handle(sync(Some("s1")), 0.0));
    assert_eq!(since.as_deref(), Some("s1"));
    let effects = peer.handle(synced(first, "s2"), 0.0);
    let [PeerEffect::Send(ServerFrame::Update(update))] = effects.as_slice() else {
        panic!("only the update: {effects:?}")
    };
    assert_eq!(
        (update.since.as_ref().unwrap().0.as_str(), update.position.0.as_str()),
        ("s1", "s2")
    );
    let effects = peer.handle(ack("s0"), 0.0);
    assert_eq!(error(&effects).unwrap().errcode, "GROTTO_WRONG_POSITION");
    assert_eq!(effects.len(), 1, "a wrong ack starts nothing");
    let (_, since, _) = poll(&peer.handle(ack("s2"), 0.0));
    assert_eq!(since.as_deref(), Some("s2"));
}

#[test]
fn a_new_sync_frame_gives_the_poll_under_way_up() {
    let mut peer = peer();
    let (old, _, _) = poll(&peer.handle(sync(Some("s1")), 0.0));
    let effects = peer.handle(sync(Some("s0")), 0.0);
    assert!(matches!(effects.first(), Some(PeerEffect::Abort(id)) if *id == old));
    assert_eq!(poll(&effects).1.as_deref(), Some("s0"));
    assert!(peer.handle(synced(old, "s2"), 0.0).is_empty(), "a late answer is nothing");
}

#[test]
fn sync_frames_without_pause_cause_no_call_each() {
    let mut peer = peer();
    assert_eq!(poll(&peer.handle(sync(None), 0.0)).2, Duration::ZERO);
    for _ in 0..100 {
        let effects = peer.handle(sync(None), 0.0);
        assert!(poll(&effects).2 >= Duration::from_secs(1), "it is given up before it begins");
    }
    let (last, _, _) = poll(&peer.handle(sync(None), 0.0));
    peer.handle(synced(last, "s1"), 0.0);
    // Other parameters for a stream that runs are no hurry.
    peer.handle(ack("s1"), 0.0);
    assert_eq!(poll(&peer.handle(sync(Some("s1")), 0.0)).2, Duration::ZERO);
}

#[test]
fn parameters_that_no_request_can_hold_end_the_stream_with_a_reason() {
    let mut peer = peer();
    let frame = SyncFrame {
        filter: Some(raw(&format!("{:?}", "x".repeat(20_000)))),
        ..SyncFrame::default()
    };
    let effects = peer.handle(PeerInput::Frame(ClientFrame::Sync(frame)), 0.0);
    assert_eq!(error(&effects).unwrap().errcode, "M_TOO_LARGE");
    assert_eq!(close(&effects), Some(CloseCode::Internal));
}

#[test]
fn the_smaller_limit_of_both_ends_holds_and_what_to_do_is_said() {
    let most = |effects: &[PeerEffect]| {
        effects.iter().find_map(|effect| {
            let PeerEffect::Call(call) = effect else { return None };
            Some((call.id, call.max_answer_bytes))
        })
    };
    let ours = Limits::default().max_update_bytes as u64;
    for (theirs, holds, words) in [
        (Some(1 << 20), 1 << 20, "larger than 1 MiB: raise sync_mib in [limits] of config.toml"),
        (Some(ours), ours, "config.toml"),
        (Some(u64::MAX), ours, "config.toml where the stream is served"),
        (None, ours, "config.toml where the stream is served"),
    ] {
        let mut peer = peer();
        let frame = SyncFrame { max_update_bytes: theirs, ..SyncFrame::default() };
        let effects = peer.handle(PeerInput::Frame(ClientFrame::Sync(frame)), 0.0);
        let (call, bytes) = most(&effects).unwrap();
        assert!((bytes as u64) < holds && holds - (bytes as u64) <= 64 << 10, "{bytes}");
        let answer = Answer::Failed(CallFailure::TooLarge);
        let effects = peer.handle(PeerInput::Answered { call, answer, took: Duration::ZERO }, 0.0);
        let told = error(&effects).unwrap();
        assert_eq!((told.errcode.as_str(), told.fatal), ("M_TOO_LARGE", false));
        assert!(told.error.ends_with(words), "{}", told.error);
    }
}

#[test]
fn nothing_new_is_not_passed_on_and_not_asked_in_a_tight_loop() {
    let mut peer = peer();
    let answered = |call| PeerInput::Answered {
        call,
        answer: Answer::Json {
            status: 200,
            body: raw(r#"{"next_batch":"s1"}"#),
            retry_after: None,
        },
        took: Duration::ZERO,
    };
    // The first answer says that the client has caught up, and is passed on whatever it brings.
    let (call, _, _) = poll(&peer.handle(sync(Some("s1")), 0.0));
    let first = peer.handle(answered(call), 0.0);
    assert!(matches!(first[..], [PeerEffect::Send(ServerFrame::Update(_))]), "{first:?}");
    let (call, _, _) = poll(&peer.handle(ack("s1"), 0.0));
    let (_, since, delay) = poll(&peer.handle(answered(call), 0.0));
    assert_eq!((since.as_deref(), delay), (Some("s1"), Duration::from_secs(1)));
}

#[test]
fn trouble_upstream_is_told_once_and_retried_with_the_servers_own_pause() {
    let mut peer = peer();
    let (call, _, _) = poll(&peer.handle(sync(None), 0.0));
    let answer = Answer::Failed(CallFailure::Unreachable);
    let took = Duration::ZERO;
    let effects = peer.handle(PeerInput::Answered { call, answer, took }, 1.0);
    assert!(!error(&effects).unwrap().fatal);
    let (call, _, delay) = poll(&effects);
    assert_eq!(delay, Duration::from_secs(1));
    let answer =
        Answer::Json { status: 429, body: raw("{}"), retry_after: Some(Duration::from_secs(40)) };
    let effects = peer.handle(PeerInput::Answered { call, answer, took }, 1.0);
    assert!(error(&effects).is_none());
    let (call, _, delay) = poll(&effects);
    assert_eq!(delay, Duration::from_secs(40));
    // And it goes on as if nothing had been.
    let effects = peer.handle(synced(call, "s1"), 0.0);
    assert!(matches!(effects.as_slice(), [PeerEffect::Send(ServerFrame::Update(_))]));
}

#[test]
fn an_invalid_token_is_fatal_and_keeps_the_soft_logout() {
    let mut peer = peer();
    let (call, _, _) = poll(&peer.handle(sync(None), 0.0));
    let body = r#"{"errcode":"M_UNKNOWN_TOKEN","error":"gone","soft_logout":true}"#;
    let effects = peer.handle(json_answer(call, 401, body), 0.0);
    let error = error(&effects).unwrap();
    assert!(error.fatal && error.soft_logout);
    assert_eq!(close(&effects), Some(CloseCode::Unauthorized));
    assert!(peer.handle(sync(None), 0.0).is_empty(), "nothing after a close");
}

#[test]
fn statuses_and_pauses_of_requests_are_passed_on_unchanged() {
    let mut peer = peer();
    peer.handle(PeerInput::Frame(ClientFrame::Request(request(1))), 0.0);
    let body = r#"{"errcode":"M_LIMIT_EXCEEDED" }"#;
    let retry_after = Some(Duration::from_millis(1500));
    let answer = Answer::Json { status: 429, body: raw(body), retry_after };
    let call = CallId::Request(1);
    let took = Duration::ZERO;
    let effects = peer.handle(PeerInput::Answered { call, answer, took }, 0.0);
    let Some(PeerEffect::Send(ServerFrame::Response(response))) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!((response.status, response.retry_after), (429, retry_after));
    assert_eq!(response.body.get(), body);
}

#[test]
fn a_canceled_request_is_answered_no_more() {
    let mut peer = peer();
    peer.handle(PeerInput::Frame(ClientFrame::Request(request(1))), 0.0);
    let effects = peer.handle(PeerInput::Frame(ClientFrame::Cancel(CancelFrame { id: 1 })), 0.0);
    assert!(matches!(effects.as_slice(), [PeerEffect::Abort(CallId::Request(1))]));
    assert!(peer.handle(json_answer(CallId::Request(1), 200, "{}"), 0.0).is_empty());
}

#[test]
fn what_is_no_frame_is_answered_and_harms_nothing() {
    let mut peer = peer();
    let bad = ClientFrame::decode_text(r#"{"kind":"x","id":4}"#).unwrap_err();
    let effects = peer.handle(PeerInput::BadFrame(bad), 0.0);
    let told = error(&effects).unwrap();
    assert_eq!((told.errcode.as_str(), told.id, told.fatal), ("M_UNRECOGNIZED", Some(4), false));
    assert_eq!(close(&effects), None);
}

#[test]
fn a_download_sends_no_more_than_the_client_allows() {
    let mut peer = peer();
    let asked = RequestFrame { answer: AnswerKind::Binary, ..request(1) };
    peer.handle(PeerInput::Frame(ClientFrame::Request(asked)), 0.0);
    let answer = Answer::Binary { status: 200, info: MediaInfo::default() };
    let call = CallId::Request(1);
    let mut effects = peer.handle(PeerInput::Answered { call, answer, took: Duration::ZERO }, 0.0);
    let chunk = || ChunkFrame { id: 1, end: ChunkEnd::More, payload: vec![1] };
    let mut sent = 0;
    while effects.iter().any(|effect| matches!(effect, PeerEffect::Pull(1))) {
        effects = peer.handle(PeerInput::Downloaded(chunk()), 0.0);
        sent += 1;
    }
    assert_eq!(sent, Limits::default().window_chunks);
    let widen = WindowFrame { id: 1, chunks: u32::MAX };
    let effects = peer.handle(PeerInput::Frame(ClientFrame::Window(widen)), 0.0);
    assert!(matches!(effects.as_slice(), [PeerEffect::Pull(1)]));
}

#[test]
fn a_stop_waits_for_the_open_requests_and_takes_no_new_ones() {
    let mut peer = peer();
    let (call, _, _) = poll(&peer.handle(sync(None), 0.0));
    peer.handle(PeerInput::Frame(ClientFrame::Request(request(1))), 0.0);
    let effects = peer.handle(PeerInput::Stop, 0.0);
    assert!(matches!(effects.as_slice(), [PeerEffect::Abort(id)] if *id == call));
    let effects = peer.handle(PeerInput::Frame(ClientFrame::Request(request(2))), 0.0);
    let [PeerEffect::Send(ServerFrame::Response(response))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!(response.status, 503);
    let effects = peer.handle(json_answer(CallId::Request(1), 200, "{}"), 0.5);
    assert_eq!(close(&effects), Some(CloseCode::GoingAway));
    let told = error(&effects).unwrap();
    assert_eq!(told.retry_after, Some(Limits::default().drain / 2));
}

/// Anything a client or a homeserver can do.
#[derive(Clone, Debug)]
enum Happening {
    Sync(u8),
    Ack(u8),
    Synced(u8),
    SyncFailed(u16),
    Request(u64),
    Answer(u64, u16),
    Cancel(u64),
    Chunk(u64, u8),
    Window(u64, u32),
    Taken(u64),
    Stop,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0_u8..5).prop_map(Happening::Sync),
        (0_u8..5).prop_map(Happening::Ack),
        (0_u8..5).prop_map(Happening::Synced),
        prop_oneof![Just(429_u16), Just(502), Just(400)].prop_map(Happening::SyncFailed),
        (0_u64..200).prop_map(Happening::Request),
        (0_u64..200, prop_oneof![Just(200_u16), Just(404)])
            .prop_map(|(id, status)| Happening::Answer(id, status)),
        (0_u64..200).prop_map(Happening::Cancel),
        (0_u64..200, 0_u8..3).prop_map(|(id, end)| Happening::Chunk(id, end)),
        any::<(u8, u32)>().prop_map(|(id, chunks)| Happening::Window(id.into(), chunks)),
        (0_u64..200).prop_map(Happening::Taken),
        Just(Happening::Stop),
    ]
}

fn input(happening: &Happening, poll: Option<CallId>) -> Option<PeerInput> {
    let frame = PeerInput::Frame;
    Some(match *happening {
        Happening::Sync(at) => sync(Some(&at.to_string())),
        Happening::Ack(at) => ack(&at.to_string()),
        Happening::Synced(at) => synced(poll?, &at.to_string()),
        Happening::SyncFailed(status) => json_answer(poll?, status, "{}"),
        Happening::Request(id) => frame(ClientFrame::Request(request(id))),
        Happening::Answer(id, status) => json_answer(CallId::Request(id), status, "{}"),
        Happening::Cancel(id) => frame(ClientFrame::Cancel(CancelFrame { id })),
        Happening::Chunk(id, flag) => {
            let end = [ChunkEnd::More, ChunkEnd::Last, ChunkEnd::Aborted][usize::from(flag)];
            frame(ClientFrame::Chunk(ChunkFrame { id, end, payload: Vec::new() }))
        }
        Happening::Window(id, chunks) => frame(ClientFrame::Window(WindowFrame { id, chunks })),
        Happening::Taken(id) => PeerInput::Taken(id),
        Happening::Stop => PeerInput::Stop,
    })
}

proptest! {
    /// The rule that keeps room keys from being lost, whatever either side does: a poll names only
    /// what the client named, and there is one poll at a time.
    #[test]
    fn only_positions_that_the_client_named_are_ever_asked_for(
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let mut peer = peer();
        let mut named = Vec::new();
        let mut polling: Option<CallId> = None;
        let mut closed = false;
        for happening in happenings {
            if let Happening::Sync(at) | Happening::Ack(at) = &happening {
                named.push(at.to_string());
            }
            let Some(input) = input(&happening, polling) else { continue };
            if matches!(input, PeerInput::Answered { call: CallId::Sync(_), .. }) {
                polling = None;
            }
            for effect in peer.handle(input, 0.5) {
                prop_assert!(!closed, "an effect after the close: {effect:?}");
                if matches!(&effect, PeerEffect::Abort(id) if Some(*id) == polling) {
                    polling = None;
                }
                closed |= matches!(&effect, PeerEffect::Close(_));
                if let PeerEffect::Call(call) = effect && matches!(call.id, CallId::Sync(_)) {
                    prop_assert_eq!(polling, None, "two polls at once");
                    polling = Some(call.id);
                    let since = call.query.iter().find(|(key, _)| key == "since");
                    prop_assert!(since.is_none_or(|(_, value)| named.contains(value)));
                }
            }
        }
    }
}

#[test]
fn only_a_connection_with_a_token_may_change_it() {
    let fresh = || {
        let token = "fresh".to_owned().into();
        PeerInput::Frame(ClientFrame::Token(TokenFrame { token }))
    };
    let effects = Peer::new(Identity::Token, Limits::default()).handle(fresh(), 0.0);
    let [PeerEffect::Present(frame)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(frame.token.as_str(), "fresh");
    assert!(!format!("{effects:?}").contains("fresh"));
    let effects = Peer::new(Identity::Anonymous, Limits::default()).handle(fresh(), 0.0);
    let [PeerEffect::Send(ServerFrame::Error(error))] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!((error.errcode.as_str(), error.fatal), ("M_MISSING_TOKEN", false));
}
