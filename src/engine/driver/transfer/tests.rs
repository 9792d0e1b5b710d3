//! Transfers against a server of a few lines that keeps to the rules, or does not.

use std::{fs, future::poll_fn, path::Path};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    engine::{Download, Place, SaveTo, Secrecy, Sink, Upload, UploadSource},
    matrix::MxcUri,
    store::{FilePlace, UploadedFile},
    wire::{ChunkEnd, ChunkFrame, MediaInfo, ResponseFrame, WindowFrame, empty_body},
};

const ID: u64 = 7;
const MIB: usize = 1 << 20;

/// What to do with the next frame of the transfer.
trait Server {
    fn take(&mut self, frame: ClientFrame) -> Vec<ServerFrame>;
}

impl<F: FnMut(ClientFrame) -> Vec<ServerFrame>> Server for F {
    fn take(&mut self, frame: ClientFrame) -> Vec<ServerFrame> {
        self(frame)
    }
}

/// Carries it out to its end.
async fn carry(kind: TransferKind, mut server: impl Server) -> TransferEvent {
    let mut transfers = Transfers::default();
    transfers.take_order(TransferOrder { id: ID, kind });
    loop {
        if let Some(frame) = transfers.take_frame() {
            for answer in server.take(frame) {
                if let Ok(Some(id)) = transfers.on_frame(answer) {
                    return transfers.end_flooded(id);
                }
            }
        }
        match poll_fn(|cx| transfers.poll(cx)).await {
            Wanted::Tell(_, TransferEvent::Progress { .. }) | Wanted::Frame => {}
            Wanted::Tell(ID, event) => return event,
            Wanted::Tell(other, _) => panic!("of {other}"),
        }
    }
}

fn response(status: u16, body: &serde_json::Value) -> ServerFrame {
    ServerFrame::Response(ResponseFrame {
        id: ID,
        status,
        body: serde_json::value::to_raw_value(body).unwrap(),
        retry_after: None,
        download: None,
    })
}

/// Takes an upload, with a window that opens only when it is used up.
fn store(into: &mut Vec<u8>) -> impl FnMut(ClientFrame) -> Vec<ServerFrame> {
    let mut allowed = 8;
    move |frame| {
        let ClientFrame::Chunk(chunk) = frame else { return Vec::new() };
        assert!(allowed > 0, "a chunk beyond the window");
        allowed -= 1;
        into.extend(&chunk.payload);
        if chunk.end == ChunkEnd::Last {
            return vec![response(200, &json!({ "content_uri": "mxc://example.org/abc" }))];
        }
        if allowed > 0 {
            return Vec::new();
        }
        allowed = 3;
        vec![ServerFrame::Window(WindowFrame { id: ID, chunks: 3 })]
    }
}

/// Gives a download, as far as its window goes.
fn give(bytes: &[u8], last: ChunkEnd) -> impl FnMut(ClientFrame) -> Vec<ServerFrame> + use<> {
    let mut pieces: Vec<Vec<u8>> = bytes.chunks(50_000).map(<[u8]>::to_vec).collect();
    pieces.reverse();
    move |frame| {
        let (mut frames, allowed) = match frame {
            ClientFrame::Request(request) => {
                assert_eq!(request.path, "/_matrix/client/v1/media/download/example.org/abc");
                let info = MediaInfo { content_type: "text/html".to_owned(), length: None };
                let ServerFrame::Response(mut answer) = response(200, &json!(null)) else {
                    return Vec::new();
                };
                (answer.body, answer.download) = (empty_body(), Some(info));
                (vec![ServerFrame::Response(answer)], 8)
            }
            ClientFrame::Window(window) => (Vec::new(), window.chunks),
            other @ (ClientFrame::Sync(_)
            | ClientFrame::Ack(_)
            | ClientFrame::Cancel(_)
            | ClientFrame::Chunk(_)
            | ClientFrame::Token(_)) => panic!("{other:?}"),
        };
        for _ in 0..allowed {
            let Some(payload) = pieces.pop() else { break };
            let end = if pieces.is_empty() { last } else { ChunkEnd::More };
            frames.push(ServerFrame::Chunk(ChunkFrame { id: ID, end, payload }));
        }
        frames
    }
}

fn upload(path: &Path, secrecy: Secrecy, limit: Option<u64>) -> TransferKind {
    let source = UploadSource::File(path.to_str().unwrap().to_owned());
    TransferKind::Upload(Upload { source, secrecy, limit })
}

fn download(place: Place, folder: &Path, name: &str) -> TransferKind {
    let to = SaveTo::Folder(folder.to_str().unwrap().to_owned());
    let sink = Sink::Save { to, name: name.to_owned() };
    TransferKind::Download(Download { place, sink, limit: 64 << 20 })
}

fn clear() -> Place {
    Place::Clear(MxcUri::parse("mxc://example.org/abc").unwrap())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// A file of so many bytes on the server: its ciphertext and where it lies.
async fn encrypted(folder: &TempDir, length: usize) -> (Vec<u8>, Place) {
    let path = folder.path().join("original");
    fs::write(&path, bytes(length)).unwrap();
    let mut stored = Vec::new();
    let end = carry(upload(&path, Secrecy::Encrypted, None), store(&mut stored)).await;
    fs::remove_file(&path).unwrap();
    let TransferEvent::Uploaded(UploadedFile { place: FilePlace::Encrypted(file), .. }) = end
    else {
        panic!("{end:?}");
    };
    (stored, Place::Encrypted(file))
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_and_the_server_saw_none_of_it() {
    let folder = TempDir::new().unwrap();
    for length in [0, 1, 64 << 10, 3 * MIB + 7] {
        let (stored, place) = encrypted(&folder, length).await;
        assert_eq!(stored.len(), length);
        assert!(length < 100 || stored != bytes(length));
        let end = carry(download(place, folder.path(), "a b.bin"), give(&stored, ChunkEnd::Last));
        // An empty body still has its last chunk.
        if length == 0 {
            continue;
        }
        let TransferEvent::Saved { path, size } = end.await else { panic!("not saved") };
        assert_eq!((size, fs::read(&path).unwrap()), (length as u64, bytes(length)));
        fs::remove_file(path).unwrap();
    }
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
}

#[tokio::test]
async fn a_file_for_an_open_room_is_sent_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, bytes(100_000)).unwrap();
    let mut stored = Vec::new();
    let secrecy = Secrecy::Clear { content_type: "image/png".to_owned() };
    let end = carry(upload(&path, secrecy, Some(100_000)), store(&mut stored)).await;
    let TransferEvent::Uploaded(UploadedFile { place: FilePlace::Clear(url), size: 100_000 }) = end
    else {
        panic!("{end:?}");
    };
    assert_eq!((url.to_string().as_str(), stored), ("mxc://example.org/abc", bytes(100_000)));
}

// T-105
#[tokio::test]
async fn of_a_forged_file_not_a_byte_is_left() {
    let folder = TempDir::new().unwrap();
    let (stored, place) = encrypted(&folder, 300_000).await;
    let mut flipped = stored.clone();
    flipped[200_000] ^= 1;
    let shorter = stored[..250_000].to_vec();
    let longer = [stored, vec![0]].concat();
    for forged in [flipped, shorter, longer] {
        let order = download(place.clone(), folder.path(), "x");
        let end = carry(order, give(&forged, ChunkEnd::Last)).await;
        let TransferEvent::Failed(TransferFailure::Final(error)) = end else { panic!("{end:?}") };
        assert_eq!(error.code, "hash");
        assert!(names(folder.path()).is_empty());
    }
}

#[tokio::test]
async fn a_download_that_broke_off_leaves_nothing_and_may_be_tried_again() {
    let folder = TempDir::new().unwrap();
    let end =
        carry(download(clear(), folder.path(), "x"), give(&bytes(200_000), ChunkEnd::Aborted));
    assert!(matches!(end.await, TransferEvent::Failed(TransferFailure::Broken(_))));
    assert!(names(folder.path()).is_empty());
}

//
#[tokio::test]
async fn a_name_leads_nowhere_but_into_the_folder() {
    let outer = TempDir::new().unwrap();
    let folder = outer.path().join("inner");
    fs::create_dir(&folder).unwrap();
    let hostile = [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".bashrc",
        "-rf",
        "a\0b",
        "CON",
        "gpj.\u{202e}exe",
        "x\u{1b}[2J\n",
        "c:\\windows\\x",
        "",
    ];
    for name in hostile {
        let order = download(clear(), &folder, name);
        let end = carry(order, give(&bytes(10), ChunkEnd::Last)).await;
        let TransferEvent::Saved { path, .. } = end else { panic!("{name:?}: {end:?}") };
        assert_eq!(Path::new(&path).parent(), Some(folder.as_path()), "{name:?}");
        let saved = Path::new(&path).file_name().unwrap().to_str().unwrap();
        assert!(!saved.starts_with(['.', '-']) && !saved.contains(['\u{202e}', '\u{1b}']));
    }
    assert_eq!(names(outer.path()), ["inner"]);
    assert_eq!(names(&folder).len(), hostile.len());
    let long = "a".repeat(5000);
    let end = carry(download(clear(), &folder, &long), give(&bytes(1), ChunkEnd::Last)).await;
    assert!(matches!(end, TransferEvent::Saved { .. }), "{end:?}");
}

//
#[cfg(unix)]
#[tokio::test]
async fn nothing_that_exists_is_overwritten_and_no_link_is_followed() {
    let folder = TempDir::new().unwrap();
    let outside = folder.path().join("outside");
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("a.txt"), "mine").unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("a (2).txt")).unwrap();
    let order = download(clear(), &inside, "a.txt");
    let end = carry(order, give(&bytes(5), ChunkEnd::Last)).await;
    let TransferEvent::Saved { path, .. } = end else { panic!("{end:?}") };
    assert!(path.ends_with("a (3).txt"), "{path}");
    assert_eq!(fs::read(inside.join("a.txt")).unwrap(), b"mine");
    assert!(!outside.exists());
    for taken in ["a.txt", "a (2).txt"] {
        let to = SaveTo::File(inside.join(taken).to_str().unwrap().to_owned());
        let sink = Sink::Save { to, name: "x".to_owned() };
        let order = Download { place: clear(), sink, limit: 100 };
        let end = carry(TransferKind::Download(order), give(&bytes(5), ChunkEnd::Last)).await;
        let TransferEvent::Failed(TransferFailure::Final(error)) = end else { panic!("{end:?}") };
        assert_eq!(error.code, "exists");
    }
    assert!(!outside.exists());
}

#[tokio::test]
async fn what_is_too_large_is_not_begun_or_not_gone_on_with() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, bytes(101)).unwrap();
    let silent = |frame: ClientFrame| panic!("{frame:?}");
    let end = carry(upload(&path, Secrecy::Encrypted, Some(100)), silent).await;
    let TransferEvent::Failed(TransferFailure::Final(error)) = end else { panic!("{end:?}") };
    assert_eq!(error.code, "M_TOO_LARGE");
    fs::remove_file(&path).unwrap();
    let to = SaveTo::Folder(folder.path().to_str().unwrap().to_owned());
    let sink = Sink::Save { to, name: "x".to_owned() };
    let order = Download { place: clear(), sink, limit: 100_000 };
    let end = carry(TransferKind::Download(order), give(&bytes(100_001), ChunkEnd::Last)).await;
    assert!(matches!(end, TransferEvent::Failed(TransferFailure::Final(_))), "{end:?}");
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn what_is_no_file_is_not_sent() {
    let folder = TempDir::new().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing"), "/dev/zero".into()] {
        let silent = |frame: ClientFrame| panic!("{frame:?}");
        let end = carry(upload(&path, Secrecy::Encrypted, None), silent).await;
        assert!(matches!(end, TransferEvent::Failed(TransferFailure::Final(_))), "{path:?}");
    }
}

#[tokio::test]
async fn a_refusal_ends_an_upload_before_its_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, bytes(5 * MIB)).unwrap();
    let mut chunks = 0;
    let refuse = |frame: ClientFrame| {
        if let ClientFrame::Request(_) = frame {
            return vec![response(413, &json!({ "errcode": "M_TOO_LARGE" }))];
        }
        chunks += 1;
        Vec::new()
    };
    let end = carry(upload(&path, Secrecy::Encrypted, None), refuse).await;
    let TransferEvent::Failed(TransferFailure::Refused { error, .. }) = end else {
        panic!("{end:?}");
    };
    assert_eq!((error.status, error.errcode.as_str()), (413, "M_TOO_LARGE"));
    assert!(chunks <= 8, "{chunks}");
}

#[tokio::test]
async fn a_server_that_sends_more_than_it_may_is_given_up() {
    let folder = TempDir::new().unwrap();
    let flood = |_: ClientFrame| {
        let chunk = ChunkFrame { id: ID, end: ChunkEnd::More, payload: vec![0; 100] };
        vec![ServerFrame::Chunk(chunk); 100]
    };
    let end = carry(download(clear(), folder.path(), "x"), flood).await;
    assert!(matches!(end, TransferEvent::Failed(TransferFailure::Final(_))), "{end:?}");
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn what_is_canceled_leaves_nothing_and_the_server_is_told() {
    let folder = TempDir::new().unwrap();
    let mut transfers = Transfers::default();
    let kind = download(clear(), folder.path(), "x");
    transfers.take_order(TransferOrder { id: ID, kind });
    assert!(matches!(poll_fn(|cx| transfers.poll(cx)).await, Wanted::Frame));
    assert!(matches!(transfers.take_frame(), Some(ClientFrame::Request(_))));
    assert_eq!(names(folder.path()).len(), 1);
    transfers.take_order(TransferOrder { id: ID, kind: TransferKind::Cancel });
    let Some(ClientFrame::Cancel(frame)) = transfers.take_frame() else { panic!("not told") };
    assert_eq!(frame.id, ID);
    assert!(names(folder.path()).is_empty());
}
