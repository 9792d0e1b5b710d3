//! Targets of those who serve others: the gateway and `grotto serve`.

use std::{collections::VecDeque, time::Duration};

use grotto::{
    gateway::{Answer, CallId, Identity, Peer, PeerEffect, PeerInput},
    wire::{ClientFrame, Limits},
};

use super::{house::verified, text};

/// A client of the gateway, line by line: frames, and after `>` what the homeserver answers to the
/// oldest open call.
pub(super) fn gateway_client(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut peer = Peer::new(Identity::Token, Limits::default());
    let mut open: VecDeque<CallId> = VecDeque::new();
    for line in text.lines().take(50) {
        let input = match line.strip_prefix('>') {
            Some(body) => {
                let Some(call) = open.pop_front() else { continue };
                let status = if body.contains("errcode") { 400 } else { 200 };
                let answer = Answer::of(status, body.as_bytes(), None);
                PeerInput::Answered { call, answer, took: Duration::from_secs(1) }
            }
            None => match ClientFrame::decode_text(line) {
                Ok(frame) => PeerInput::Frame(frame),
                Err(error) => PeerInput::BadFrame(error),
            },
        };
        for effect in peer.handle(input, 0.5) {
            match effect {
                PeerEffect::Call(call) => {
                    assert!(is_matrix(&call.path), "{}", call.path);
                    open.push_back(call.id);
                }
                PeerEffect::Abort(id) => open.retain(|call| *call != id),
                PeerEffect::Send(frame) => drop(frame.encode().expect("a frame can be written")),
                PeerEffect::Done(_)
                | PeerEffect::Push(_)
                | PeerEffect::Pull(_)
                | PeerEffect::Present(_)
                | PeerEffect::Close(_) => {}
            }
        }
    }
}

/// Whether a path leads nowhere but into the API.
fn is_matrix(path: &str) -> bool {
    let is_api = path.starts_with("/_matrix/") || path == "/.well-known/matrix/client";
    is_api && !path.split('/').any(|part| part == "..")
}

/// A call of `grotto serve` by somebody with an account: method and path in the first line, then
/// the body. `ROOM` stands for a room of theirs.
pub(super) fn server_call(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut device = verified();
    let token = device.token.clone();
    let body = serde_json::json!({ "name": "x" });
    let room = device.house.ask(("POST", "/_matrix/client/v3/createRoom"), &token, &body);
    let text = text.replace("ROOM", room["room_id"].as_str().unwrap_or_default());
    let (head, body) = text.split_once('\n').unwrap_or((&text, ""));
    let Some((method, path)) = head.split_once(' ') else { return };
    let answer = device.house.call((method, path), &token, body.as_bytes());
    if let Some((status, answer)) = answer {
        assert_ne!(status, 500, "{}", String::from_utf8_lossy(&answer));
    }
}
