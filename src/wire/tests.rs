//! The wire as others see it: the bytes of every kind of frame, and what hostile bytes do.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::matrix::Position;

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn text_of(payload: Result<Payload, DecodeError>) -> String {
    match payload.unwrap() {
        Payload::Text(text) => text,
        Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
    }
}

#[test]
fn client_frames_are_written_as_the_document_shows() {
    let request = RequestFrame {
        id: 7,
        method: "PUT".to_owned(),
        path: "/_matrix/client/v3/rooms/!r/send/m.room.message/t1".to_owned(),
        query: vec![("a".to_owned(), "b".to_owned())],
        body: Some(raw(r#"{"body":"hi" }"#)),
        ..RequestFrame::default()
    };
    let sync = SyncFrame {
        since: Some(Position("s1".to_owned())),
        filter: Some(raw("{}")),
        set_presence: None,
        max_update_bytes: Some(1 << 20),
    };
    for (frame, expected) in [
        (
            ClientFrame::Request(request),
            r#"{"kind":"request","id":7,"method":"PUT","path":"/_matrix/client/v3/rooms/!r/send/m.room.message/t1","query":[["a","b"]],"body":{"body":"hi" }}"#,
        ),
        (
            ClientFrame::Sync(sync),
            r#"{"kind":"sync","since":"s1","filter":{},"max_update_bytes":1048576}"#,
        ),
        (ClientFrame::Ack(Position("s2".to_owned())), r#"{"kind":"ack","position":"s2"}"#),
        (ClientFrame::Cancel(CancelFrame { id: 7 }), r#"{"kind":"cancel","id":7}"#),
        (
            ClientFrame::Window(WindowFrame { id: 7, chunks: 2 }),
            r#"{"kind":"window","id":7,"chunks":2}"#,
        ),
    ] {
        assert_eq!(text_of(frame.encode()), expected);
    }
}

#[test]
fn server_frames_are_written_as_the_document_shows() {
    let response = ResponseFrame {
        id: 7,
        status: 429,
        body: raw(r#"{"errcode":"M_LIMIT_EXCEEDED"}"#),
        retry_after: Some(Duration::from_secs(2)),
        download: None,
    };
    let update = UpdateFrame {
        position: Position("s2".to_owned()),
        since: Some(Position("s1".to_owned())),
        body: raw(r#"{"next_batch":"s2"}"#),
    };
    let error = ErrorFrame {
        errcode: "M_UNKNOWN_TOKEN".to_owned(),
        error: "gone".to_owned(),
        fatal: true,
        soft_logout: true,
        ..ErrorFrame::default()
    };
    for (frame, expected) in [
        (
            ServerFrame::Response(response),
            r#"{"kind":"response","id":7,"status":429,"body":{"errcode":"M_LIMIT_EXCEEDED"},"retry_after_ms":2000}"#,
        ),
        (
            ServerFrame::Update(update),
            r#"{"kind":"update","position":"s2","since":"s1","body":{"next_batch":"s2"}}"#,
        ),
        (
            ServerFrame::Error(error),
            r#"{"kind":"error","errcode":"M_UNKNOWN_TOKEN","error":"gone","fatal":true,"soft_logout":true}"#,
        ),
    ] {
        assert_eq!(text_of(frame.encode()), expected);
    }
}

#[test]
fn unknown_fields_are_ignored_and_missing_ones_have_defaults() {
    let text = r#"{"new":[1,{"x":2}],"id":1,"path":"/p","kind":"request","method":"GET"}"#;
    let ClientFrame::Request(request) = ClientFrame::decode_text(text).unwrap() else {
        panic!("not a request");
    };
    assert_eq!((request.id, request.path.as_str()), (1, "/p"));
    assert!(request.body.is_none() && request.query.is_empty() && request.upload.is_none());
    assert_eq!(request.answer, AnswerKind::Json);
}

#[test]
fn a_body_passes_through_byte_by_byte() {
    // Duplicate keys, odd numbers, spaces: whoever signs it must get it back as it was.
    let body = r#"{"a":1,  "a":1.50e3, "é":"\u00e9"}"#;
    let text = format!(r#"{{"kind":"response","id":1,"status":200,"body":{body}}}"#);
    let ServerFrame::Response(response) = ServerFrame::decode_text(&text).unwrap() else {
        panic!("not a response");
    };
    assert_eq!(response.body.get(), body);
}

#[test]
fn an_unknown_kind_names_itself_and_its_request() {
    let error = ClientFrame::decode_text(r#"{"kind":"teleport","id":3}"#).unwrap_err();
    assert_eq!((error.request(), error.errcode()), (Some(3), "M_UNRECOGNIZED"));
    let error = ClientFrame::decode_text(r#"{"kind":"request","id":4}"#).unwrap_err();
    assert_eq!((error.request(), error.errcode()), (Some(4), "M_BAD_JSON"));
    let error = ClientFrame::decode_text("nonsense").unwrap_err();
    assert_eq!((error.request(), error.errcode()), (None, "M_NOT_JSON"));
}

#[test]
fn nesting_of_any_depth_is_passed_on_or_skipped() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for text in [
        format!(r#"{{"kind":"update","position":"s","body":{deep}}}"#),
        format!(r#"{{"kind":"update","new":{deep},"position":"s","body":null}}"#),
    ] {
        assert!(matches!(ServerFrame::decode_text(&text), Ok(ServerFrame::Update(_))));
    }
}

#[test]
fn chunks_over_the_limit_are_refused() {
    let mut bytes = vec![0; 9 + MAX_CHUNK_BYTES];
    assert!(ClientFrame::decode_binary(&bytes).is_ok());
    bytes.push(0);
    assert!(matches!(ClientFrame::decode_binary(&bytes), Err(DecodeError::LongChunk(_))));
    assert!(matches!(ClientFrame::decode_binary(&[0; 8]), Err(DecodeError::ShortChunk)));
}

fn json() -> impl Strategy<Value = Box<RawValue>> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
    .prop_map(|value| serde_json::value::to_raw_value(&value).unwrap())
}

fn media() -> impl Strategy<Value = Option<MediaInfo>> {
    prop::option::of(
        (any::<String>(), any::<Option<u64>>())
            .prop_map(|(content_type, length)| MediaInfo { content_type, length }),
    )
}

fn chunk() -> impl Strategy<Value = ChunkFrame> {
    let end = prop_oneof![Just(ChunkEnd::More), Just(ChunkEnd::Last), Just(ChunkEnd::Aborted)];
    (any::<u64>(), end, prop::collection::vec(any::<u8>(), 0..99))
        .prop_map(|(id, end, payload)| ChunkFrame { id, end, payload })
}

/// A body `null` is read as no body: the two mean the same.
fn request() -> impl Strategy<Value = RequestFrame> {
    let body = prop::option::of(json().prop_filter("null", |body| body.get() != "null"));
    let answer = prop_oneof![Just(AnswerKind::Json), Just(AnswerKind::Binary)];
    let query = prop::collection::vec(any::<(String, String)>(), 0..4);
    (any::<(u64, String, String)>(), query, body, media(), answer).prop_map(
        |((id, method, path), query, body, upload, answer)| RequestFrame {
            id,
            method,
            path,
            query,
            body,
            upload,
            answer,
        },
    )
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    let filter = prop::option::of(json().prop_filter("null", |body| body.get() != "null"));
    prop_oneof![
        request().prop_map(ClientFrame::Request),
        (any::<Option<String>>(), filter, any::<Option<String>>(), any::<Option<u64>>()).prop_map(
            |(since, filter, set_presence, max_update_bytes)| ClientFrame::Sync(SyncFrame {
                since: since.map(Position),
                filter,
                set_presence,
                max_update_bytes,
            })
        ),
        any::<String>().prop_map(|position| ClientFrame::Ack(Position(position))),
        any::<u64>().prop_map(|id| ClientFrame::Cancel(CancelFrame { id })),
        any::<(u64, u32)>()
            .prop_map(|(id, chunks)| ClientFrame::Window(WindowFrame { id, chunks })),
        chunk().prop_map(ClientFrame::Chunk),
    ]
}

fn server_frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![
        (any::<(u64, u16, Option<u64>)>(), json(), media()).prop_map(
            |((id, status, retry), body, download)| ServerFrame::Response(ResponseFrame {
                id,
                status,
                body,
                retry_after: retry.map(Duration::from_millis),
                download,
            })
        ),
        (any::<(String, Option<String>)>(), json()).prop_map(|((position, since), body)| {
            ServerFrame::Update(UpdateFrame {
                position: Position(position),
                since: since.map(Position),
                body,
            })
        }),
        any::<(String, String, bool, Option<u64>, bool, Option<u64>)>().prop_map(
            |(errcode, error, fatal, id, soft_logout, retry)| ServerFrame::Error(ErrorFrame {
                errcode,
                error,
                fatal,
                id,
                soft_logout,
                retry_after: retry.map(Duration::from_millis),
            })
        ),
        chunk().prop_map(ServerFrame::Chunk),
    ]
}

proptest! {
    #[test]
    fn what_a_client_writes_is_read_back(frame in client_frame()) {
        let read = match frame.encode().unwrap() {
            Payload::Text(text) => ClientFrame::decode_text(&text),
            Payload::Binary(bytes) => ClientFrame::decode_binary(&bytes),
        };
        prop_assert_eq!(format!("{:?}", read.unwrap()), format!("{frame:?}"));
    }

    #[test]
    fn what_a_server_writes_is_read_back(frame in server_frame()) {
        let read = match frame.encode().unwrap() {
            Payload::Text(text) => ServerFrame::decode_text(&text),
            Payload::Binary(bytes) => ServerFrame::decode_binary(&bytes),
        };
        prop_assert_eq!(format!("{:?}", read.unwrap()), format!("{frame:?}"));
    }

    #[test]
    fn any_message_is_a_frame_or_an_error(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let read = [
            ClientFrame::decode_text(&text).is_ok(),
            ServerFrame::decode_text(&text).is_ok(),
        ];
        prop_assert_eq!(read, [false, false]);
        prop_assert_eq!(
            ClientFrame::decode_binary(&bytes).is_ok(),
            bytes.len() >= 9 && bytes.get(8).is_some_and(|flag| *flag <= 2)
        );
    }

    #[test]
    fn a_damaged_frame_is_a_frame_or_an_error(
        frame in client_frame(), at in any::<prop::sample::Index>(), with in any::<u8>(),
    ) {
        let mut bytes = match frame.encode().unwrap() {
            Payload::Text(text) => text.into_bytes(),
            Payload::Binary(bytes) => bytes,
        };
        let at = at.index(bytes.len());
        bytes[at] = with;
        // Whatever it is now, reading it ends, and an error can be told to the other end.
        if let Err(error) = ClientFrame::decode_text(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(error.errcode().starts_with("M_"));
        }
    }
}

#[test]
fn what_frames_carry_is_not_in_their_debug_text() {
    let body = || raw(r#"{"password":"hunter2"}"#);
    let request = RequestFrame {
        query: vec![("token".to_owned(), "hunter2".to_owned())],
        body: Some(body()),
        ..RequestFrame::default()
    };
    let response =
        ResponseFrame { id: 1, status: 200, body: body(), retry_after: None, download: None };
    let update = UpdateFrame { position: Position("s1".to_owned()), since: None, body: body() };
    let chunk = ChunkFrame { id: 1, end: ChunkEnd::More, payload: b"hunter2".to_vec() };
    for text in [
        format!("{request:?}"),
        format!("{:?}", ServerFrame::Response(response)),
        format!("{update:?}"),
        format!("{chunk:?}"),
    ] {
        assert!(!text.contains("hunter2") && !text.contains("104, 117"), "{text}");
    }
}
