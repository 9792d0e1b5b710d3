//! Where calls come in, over HTTP and over the stream: files go piece by piece, everything else
//! whole and within limits.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use serde::de::IgnoredAny;
use tokio::{sync::SemaphorePermit, time::timeout};

use super::{
    host::{Server, ServerError},
    media::{MediaCall, Wanted, parameter, whole},
    model::{Address, MediaJob, Refusal},
    patience::drain,
};
use crate::{
    gateway::{BodyStream, Call, CallFailure, Homeserver, Reply},
    secret::Secret,
    wire::{Limits, MediaInfo},
};

/// How long somebody with a large body waits for a place, and is told to wait when there is none.
const LARGE_BODY_PAUSE: Duration = Duration::from_secs(10);

impl Server {
    /// Answers a call, whatever way it came.
    pub(super) async fn answer(
        &self,
        request: Request<BodyStream>,
        limits: &Limits,
    ) -> Response<BodyStream> {
        self.respond(request, limits).await.unwrap_or_else(|refusal| boxed(refusal.response()))
    }

    async fn respond(
        &self,
        mut request: Request<BodyStream>,
        limits: &Limits,
    ) -> Result<Response<BodyStream>, Refusal> {
        let token = take_token(&mut request)?;
        match MediaCall::of(&request) {
            Some(MediaCall::Upload(id)) => self.take_file(request, token, id).await,
            Some(MediaCall::Download { server, id, name }) => {
                let range = request.headers().get(header::RANGE);
                let range = range.and_then(|range| range.to_str().ok()).map(str::to_owned);
                let open = MediaJob::Open { token, server, id: id.clone() };
                self.give_file(open, id, Wanted { range, name }).await
            }
            Some(MediaCall::Unknown) => {
                let (_, mut body) = request.into_parts();
                drain(&mut body).await;
                Err(Refusal::wrong_method())
            }
            None => {
                let (parts, body) = request.into_parts();
                let (body, _place) = self.read(body, token.as_ref(), limits).await?;
                if matches!(parts.method, Method::POST | Method::PUT) {
                    check_json(&body)?;
                }
                let request = Request::from_parts(parts, body);
                Ok(boxed(self.call(request, token).await.map_err(stopped)?))
            }
        }
    }

    /// Reads a whole body. A large one is only read of somebody with an account, and of few at
    /// once; the permit is to be kept as long as the body.
    async fn read(
        &self,
        mut body: BodyStream,
        token: Option<&Secret<String>>,
        limits: &Limits,
    ) -> Result<(Vec<u8>, Option<SemaphorePermit<'_>>), Refusal> {
        let read = self.read_of(&mut body, token, limits).await;
        if read.is_err() {
            drain(&mut body).await;
        }
        read
    }

    async fn read_of(
        &self,
        body: &mut BodyStream,
        token: Option<&Secret<String>>,
        limits: &Limits,
    ) -> Result<(Vec<u8>, Option<SemaphorePermit<'_>>), Refusal> {
        let mut read = Vec::new();
        if fill(&mut read, body, limits.max_anonymous_frame_bytes).await? == Filled::Whole {
            return Ok((read, None));
        }
        let Some(token) = token else {
            return Err(too_large(limits.max_anonymous_frame_bytes));
        };
        self.check(token).await?;
        let place = timeout(LARGE_BODY_PAUSE, self.large_bodies().acquire()).await;
        let place = place.ok().and_then(Result::ok);
        let place = place.ok_or_else(|| Refusal::too_often(LARGE_BODY_PAUSE))?;
        match fill(&mut read, body, limits.max_frame_bytes).await? {
            Filled::Whole => Ok((read, Some(place))),
            Filled::More => Err(too_large(limits.max_frame_bytes)),
        }
    }

    /// Refuses whoever has no account.
    async fn check(&self, token: &Secret<String>) -> Result<(), Refusal> {
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = Uri::from_static("/_matrix/client/v3/account/whoami");
        let answer = self.call(request, Some(token.clone())).await.map_err(stopped)?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(Refusal::new(401, "M_UNKNOWN_TOKEN", "the access token is not valid"))
    }
}

fn stopped(_stopped: ServerError) -> Refusal {
    Refusal::new(503, "M_UNKNOWN", "the server is stopping")
}

/// Takes the token out of the request: the header's, or the query's of older clients.
fn take_token(request: &mut Request<BodyStream>) -> Result<Option<Secret<String>>, Refusal> {
    let headers = request.headers_mut();
    for name in [header::AUTHORIZATION, header::HOST] {
        // A relay before us may have read another one of them.
        if headers.get_all(&name).iter().nth(1).is_some() {
            let error = format!("the header {name} may stand there once");
            return Err(Refusal::new(400, "M_UNKNOWN", error));
        }
    }
    match headers.remove(header::AUTHORIZATION) {
        None => Ok(parameter(request.uri().query(), "access_token").map(Secret::new)),
        Some(value) => {
            let token = value.to_str().ok().and_then(|value| value.split_once(' '));
            token
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| Some(Secret::new(token.trim().to_owned())))
                .ok_or_else(|| {
                    let error = "the Authorization header is Bearer and a token";
                    Refusal::new(401, "M_MISSING_TOKEN", error)
                })
        }
    }
}

/// Whether a body is read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filled {
    Whole,
    More,
}

/// Reads on until the end, or until more than `most` bytes are there.
async fn fill(read: &mut Vec<u8>, body: &mut BodyStream, most: usize) -> Result<Filled, Refusal> {
    while read.len() <= most {
        match body.next().await {
            None => return Ok(Filled::Whole),
            Some(Ok(piece)) => read.extend_from_slice(&piece),
            Some(Err(failure)) => return Err(broken(failure)),
        }
    }
    Ok(Filled::More)
}

/// What a client is told whose body broke off.
pub(super) fn broken(failure: CallFailure) -> Refusal {
    match failure {
        CallFailure::TimedOut => Refusal::new(408, "M_UNKNOWN", "the body comes too slowly"),
        CallFailure::Unreachable | CallFailure::TooLarge | CallFailure::NotJson => {
            Refusal::new(400, "M_NOT_JSON", "the body ended before its end")
        }
    }
}

/// Refuses what is not one JSON value in UTF-8. What is read of it later may be only its beginning.
fn check_json(body: &[u8]) -> Result<(), Refusal> {
    let is_json = body.is_empty()
        || str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let refusal = || Refusal::new(400, "M_NOT_JSON", "the body is not JSON");
    is_json.then_some(()).ok_or_else(refusal)
}

fn too_large(most: usize) -> Refusal {
    let error = format!("a request's body has at most {most} bytes here");
    Refusal::new(413, "M_TOO_LARGE", error)
}

fn boxed(response: Response<Vec<u8>>) -> Response<BodyStream> {
    let (parts, body) = response.into_parts();
    let mut response = whole(body);
    *response.status_mut() = parts.status;
    response.headers_mut().extend(parts.headers);
    response
}

/// The stream's calls, without a socket between.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    pub(super) server: Server,
    pub(super) limits: Limits,
    /// Where the connection comes from, if it is one of the network.
    pub(super) from: Option<Address>,
}

impl Homeserver for Inside {
    async fn call(
        &self,
        call: &Call,
        token: Option<&Secret<String>>,
        upload: Option<BodyStream>,
    ) -> Result<Reply, CallFailure> {
        let mut request = request(call, token, upload).ok_or(CallFailure::Unreachable)?;
        if let Some(from) = &self.from {
            request.extensions_mut().insert(from.clone());
        }
        let response = self.server.answer(request, &self.limits).await;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let info = MediaInfo {
            content_type: header(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            length: header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        };
        let status = response.status().as_u16();
        Ok(Reply { status, retry_after: None, info, body: response.into_body() })
    }
}

/// The HTTP request that a call stands for.
fn request(
    call: &Call,
    token: Option<&Secret<String>>,
    upload: Option<BodyStream>,
) -> Option<Request<BodyStream>> {
    let mut target = call.path.clone();
    if !call.query.is_empty() {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&call.query);
        target = format!("{target}?{}", query.finish());
    }
    let mut request = Request::new(match (upload, &call.body) {
        (Some(upload), _) => upload,
        (None, Some(body)) => whole(body.get().as_bytes().to_vec()).into_body(),
        (None, None) => whole(Vec::new()).into_body(),
    });
    *request.method_mut() = call.method.parse().ok()?;
    *request.uri_mut() = target.parse::<Uri>().ok()?;
    let headers = request.headers_mut();
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Some(info) = &call.upload {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&info.content_type).ok()?);
        if let Some(length) = info.length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    Some(request)
}
