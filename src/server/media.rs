//! Files on their way in and out, piece by piece.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{
    front::broken,
    host::Server,
    model::{MediaDone, MediaJob, MediaRecord, PIECE_BYTES, Refusal},
    patience::drain,
};
use crate::{
    gateway::{BodyStream, CallFailure},
    secret::Secret,
};

/// Types that a browser may show; everything else is to be saved.
const SHOWN: &[&str] = &[
    "text/plain",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/flac",
];

/// A call that is about the bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MediaCall {
    /// Put one, under an id that was made before or under a new one.
    Upload(Option<String>),
    /// Get one. A thumbnail is the file itself: clients scale it, and encrypted ones are opaque.
    Download { server: String, id: String, name: Option<String> },
    /// One of these, by a method that it does not have.
    Unknown,
}

impl MediaCall {
    /// What this request wants of which file, if it is about one.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let decode = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
        let segments: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
        let download = |server: &str, id: &str, name: Option<&str>| {
            let name = name.filter(|name| !name.is_empty()).map(decode).unwrap_or_default();
            Some(Self::Download { server: decode(server)?, id: decode(id)?, name })
        };
        match (request.method(), segments.as_slice()) {
            (&Method::POST, ["_matrix", "media", "v1" | "v3" | "r0", "upload"]) => {
                Some(Self::Upload(None))
            }
            (&Method::PUT, ["_matrix", "media", "v1" | "v3" | "r0", "upload", _server, id]) => {
                Some(Self::Upload(Some(decode(id)?)))
            }
            (
                &Method::GET,
                ["_matrix", "client", "v1", "media", "download" | "thumbnail", server, id],
            ) => download(server, id, None),
            (&Method::GET, ["_matrix", "client", "v1", "media", "download", server, id, name]) => {
                download(server, id, Some(name))
            }
            (
                _,
                ["_matrix", "client", "v1", "media", "download" | "thumbnail", _, _]
                | ["_matrix", "client", "v1", "media", "download", _, _, _]
                | ["_matrix", "media", "v1" | "v3" | "r0", "upload"]
                | ["_matrix", "media", "v1" | "v3" | "r0", "upload", _, _],
            ) => Some(Self::Unknown),
            _ => None,
        }
    }
}

impl Server {
    /// Takes a file.
    pub(super) async fn take_file(
        &self,
        request: Request<BodyStream>,
        token: Option<Secret<String>>,
        id: Option<String>,
    ) -> Result<Response<BodyStream>, Refusal> {
        let (parts, mut body) = request.into_parts();
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let begin = MediaJob::Begin {
            token,
            id,
            content_type: text(header::CONTENT_TYPE).unwrap_or(DEFAULT_TYPE).to_owned(),
            file_name: parameter(parts.uri.query(), "filename"),
            announced: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        };
        let answer = self.media(begin).await;
        if answer.is_err() {
            drain(&mut body).await;
        }
        let MediaDone::Begun(id) = answer? else {
            return Err(unexpected());
        };
        match self.take_pieces(&mut body, &id).await {
            Ok(size) => {
                self.media(MediaJob::Finish { id: id.clone(), size }).await?;
                let uri = format!("mxc://{}/{id}", self.settings().name);
                Ok(whole(serde_json::json!({ "content_uri": uri }).to_string().into_bytes()))
            }
            Err(refusal) => {
                drain(&mut body).await;
                self.media(MediaJob::Discard { id }).await?;
                Err(refusal)
            }
        }
    }

    /// Writes what comes, in pieces of one size; gives the size of all.
    async fn take_pieces(&self, body: &mut BodyStream, id: &str) -> Result<u64, Refusal> {
        let (mut piece, mut size) = (Vec::new(), 0_u64);
        while let Some(bytes) = body.next().await {
            let mut bytes = bytes.map_err(broken)?;
            size += bytes.len() as u64;
            while PIECE_BYTES <= piece.len() + bytes.len() {
                piece.extend_from_slice(&bytes.split_to(PIECE_BYTES - piece.len()));
                let full = std::mem::take(&mut piece);
                self.media(MediaJob::Put { id: id.to_owned(), piece: full }).await?;
            }
            piece.extend_from_slice(&bytes);
        }
        if !piece.is_empty() {
            self.media(MediaJob::Put { id: id.to_owned(), piece }).await?;
        }
        Ok(size)
    }

    /// Gives a file, or a stretch of it.
    pub(super) async fn give_file(
        &self,
        open: MediaJob,
        id: String,
        wanted: Wanted,
    ) -> Result<Response<BodyStream>, Refusal> {
        let MediaDone::Opened(record) = self.media(open).await? else {
            return Err(unexpected());
        };
        let size = record.size.unwrap_or_default();
        let stretch = match wanted.range.as_deref().map(|range| stretch(range, size)) {
            None | Some(Asked::All) => None,
            Some(Asked::Stretch(from, to)) => Some((from, to)),
            Some(Asked::Nothing) => {
                return Ok(out_of_range(size));
            }
        };
        let (from, to) = stretch.unwrap_or((0, size));
        let mut response = Response::new(self.pieces(id, from, to));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
        if stretch.is_some() {
            let range = format!("bytes {from}-{}/{size}", to.saturating_sub(1));
            headers.insert(header::CONTENT_RANGE, value(&range));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        describe(&mut response, &record, wanted.name.as_deref());
        Ok(response)
    }

    /// The bytes from `from` up to `to`.
    fn pieces(&self, id: String, from: u64, to: u64) -> BodyStream {
        let server = self.clone();
        Box::pin(futures_util::stream::unfold(Some(from), move |at| {
            let (server, id) = (server.clone(), id.clone());
            async move {
                let at = at.filter(|at| *at < to)?;
                let size = PIECE_BYTES as u64;
                let read = MediaJob::Read { id, piece: at / size };
                let Ok(MediaDone::Piece(piece)) = server.media(read).await else {
                    return Some((Err(CallFailure::Unreachable), None));
                };
                let mut bytes = Bytes::from(piece);
                let skipped = usize::try_from(at % size).unwrap_or(usize::MAX).min(bytes.len());
                drop(bytes.split_to(skipped));
                bytes.truncate(usize::try_from(to - at).unwrap_or(usize::MAX));
                if bytes.is_empty() {
                    return Some((Err(CallFailure::Unreachable), None));
                }
                let next = at + bytes.len() as u64;
                Some((Ok(bytes), Some(next)))
            }
        }))
    }
}

/// How a file is wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The `Range` header.
    pub(super) range: Option<String>,
    /// The name in the path.
    pub(super) name: Option<String>,
}

const DEFAULT_TYPE: &str = "application/octet-stream";

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// No range that we know: the whole file.
    All,
    /// From this byte up to that one.
    Stretch(u64, u64),
    /// Nothing of it is there.
    Nothing,
}

/// Reads a `Range` header; several ranges at once count as none.
fn stretch(range: &str, size: u64) -> Asked {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .filter(|list| !list.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let (from, to) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size),
        (Err(_), Ok(last)) if first.is_empty() => (size.saturating_sub(last), size),
        _ => return Asked::All,
    };
    if from < to { Asked::Stretch(from, to) } else { Asked::Nothing }
}

/// Headers that say what it is, and keep a browser from believing too much of it.
fn describe(response: &mut Response<BodyStream>, record: &MediaRecord, name: Option<&str>) {
    let essence = record.content_type.split(';').next().unwrap_or_default().trim();
    let kind = if SHOWN.contains(&essence.to_ascii_lowercase().as_str()) {
        "inline"
    } else {
        "attachment"
    };
    let disposition = match name.or(record.file_name.as_deref()) {
        Some(name) => {
            format!("{kind}; filename*=utf-8''{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
        }
        None => kind.to_owned(),
    };
    for (name, text) in [
        (header::CONTENT_TYPE, record.content_type.as_str()),
        (header::CONTENT_DISPOSITION, &disposition),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
        (header::ACCEPT_RANGES, "bytes"),
    ] {
        response.headers_mut().insert(name, value(text));
    }
}

fn out_of_range(size: u64) -> Response<BodyStream> {
    let mut response = whole(Vec::new());
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    response.headers_mut().insert(header::CONTENT_RANGE, value(&format!("bytes */{size}")));
    response
}

/// A header's value; what cannot be one is the default type.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(DEFAULT_TYPE))
}

/// An answer whose body is there already.
pub(super) fn whole(body: Vec<u8>) -> Response<BodyStream> {
    let length = body.len();
    let pieces = futures_util::stream::iter([Ok(Bytes::from(body))]);
    let mut response: Response<BodyStream> = Response::new(Box::pin(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A parameter of a query, decoded.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn unexpected() -> Refusal {
    Refusal::new(500, "M_UNKNOWN", "the file cannot be handled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(stretch("bytes=0-0", 10), Asked::Stretch(0, 1));
        assert_eq!(stretch("bytes=5-", 10), Asked::Stretch(5, 10));
        assert_eq!(stretch("bytes=-3", 10), Asked::Stretch(7, 10));
        assert_eq!(stretch("bytes=-30", 10), Asked::Stretch(0, 10));
        assert_eq!(stretch("bytes=5-99", 10), Asked::Stretch(5, 10));
        assert_eq!(stretch("bytes=10-", 10), Asked::Nothing);
        assert_eq!(stretch("bytes=-0", 10), Asked::Nothing);
        for odd in ["bytes=5-4", "bytes=1-2,4-5", "lines=1-2", "bytes=x-", "bytes=", ""] {
            assert_eq!(stretch(odd, 10), Asked::All, "{odd}");
        }
    }
}
