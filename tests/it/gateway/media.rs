//! Bodies in chunks, both ways.

use grotto::wire::{
    AnswerKind, ChunkEnd, ChunkFrame, ClientFrame, Limits, MediaInfo, RequestFrame, ServerFrame,
    WindowFrame,
};
use serde_json::Value;

use super::ends::{Client, Service, account, room, run};
use crate::{homeserver::On, scenario};

scenario::on_each_stream! {
    media_go_both_ways_in_chunks_with_chat_between_them,
}

fn media_go_both_ways_in_chunks_with_chat_between_them(on: On) {
    let base = on.shared().base.as_str();
    let alice = account(base, "media");
    let room = room(base, &alice, &[]);
    let service = Service::before(on);
    let media: Vec<u8> = (0..3_000_000_u32).flat_map(|n| [(n % 251) as u8]).collect();
    run(async {
        let mut client = service.client(&alice).await;
        let uri = upload(&mut client, &room, &media).await;
        let path = format!("/_matrix/client/v1/media/download/{uri}");
        let got = download(&mut client, &path).await;
        assert!(got == media, "{} of {} bytes", got.len(), media.len());
        // What is no media comes as an ordinary answer, also when chunks were asked for.
        let id = client.request_binary("/_matrix/client/v1/media/download/localhost/nothing").await;
        let response = client.response(id).await;
        assert_eq!((response.status, response.download), (404, None));
    });
}

impl Client {
    async fn request_binary(&mut self, path: &str) -> u64 {
        self.last_id += 1;
        self.send(ClientFrame::Request(RequestFrame {
            id: self.last_id,
            method: "GET".to_owned(),
            path: path.to_owned(),
            answer: AnswerKind::Binary,
            ..RequestFrame::default()
        }))
        .await;
        self.last_id
    }
}

/// Uploads, with a message sent in the middle that must be answered before the end.
async fn upload(client: &mut Client, room: &str, media: &[u8]) -> String {
    client.last_id += 1;
    let id = client.last_id;
    client
        .send(ClientFrame::Request(RequestFrame {
            id,
            method: "POST".to_owned(),
            path: "/_matrix/media/v3/upload".to_owned(),
            upload: Some(MediaInfo {
                content_type: "application/octet-stream".to_owned(),
                length: Some(u64::try_from(media.len()).unwrap()),
            }),
            ..RequestFrame::default()
        }))
        .await;
    let mut window = Limits::default().window_chunks;
    let chunks: Vec<&[u8]> = media.chunks(64 << 10).collect();
    for (n, piece) in chunks.iter().enumerate() {
        if n == chunks.len() / 2 {
            client.say(room, "between", "typed during an upload").await;
        }
        while window == 0 {
            window += client
                .find(|frame| {
                    let ServerFrame::Window(window) = frame else { return None };
                    (window.id == id).then_some(window.chunks)
                })
                .await;
        }
        window -= 1;
        let end = if n + 1 == chunks.len() { ChunkEnd::Last } else { ChunkEnd::More };
        client.send(ClientFrame::Chunk(ChunkFrame { id, end, payload: piece.to_vec() })).await;
    }
    let response = client.response(id).await;
    let body: Value = serde_json::from_str(response.body.get()).unwrap();
    body["content_uri"].as_str().unwrap().strip_prefix("mxc://").unwrap().to_owned()
}

async fn download(client: &mut Client, path: &str) -> Vec<u8> {
    let id = client.request_binary(path).await;
    let info = client.response(id).await.download.unwrap();
    assert_eq!(info.length, Some(3_000_000));
    let mut whole = Vec::new();
    loop {
        let chunk = client
            .find(|frame| {
                let ServerFrame::Chunk(chunk) = frame else { return None };
                (chunk.id == id).then(|| chunk.clone())
            })
            .await;
        whole.extend_from_slice(&chunk.payload);
        match chunk.end {
            ChunkEnd::Last => return whole,
            ChunkEnd::Aborted => panic!("broke off at {}", whole.len()),
            ChunkEnd::More => {
                client.send(ClientFrame::Window(WindowFrame { id, chunks: 1 })).await;
            }
        }
    }
}
