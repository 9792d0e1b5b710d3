//! From a call to its handler: methods and paths are those of ruma's types.

use std::{collections::HashMap, fmt};

use http::{Method, Request};
use percent_encoding::percent_decode_str;
use ruma::api::{
    IncomingRequest, IncomingRequestExt as _, Metadata, OutgoingResponse, OutgoingResponseExt as _,
    auth_scheme::{
        AccessToken, AccessTokenOptional, AppserviceTokenOptional, NoAccessToken, NoAuthentication,
    },
    error::FromHttpRequestError,
    path_builder::PathBuilder as _,
};

use super::{
    refusal::{Refusal, Stop},
    step::Step,
};
use crate::{
    matrix::{OwnedDeviceId, OwnedUserId},
    server::model::refusal::Done,
};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) user: OwnedUserId,
    pub(super) device: OwnedDeviceId,
    /// What the access token is stored under; not the token.
    pub(super) token_hash: String,
}

/// Where a call comes from, as text; an extension of the request, set by whoever knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub String);

/// What a handler knows beside the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    caller: Option<&'a Caller>,
    /// What came of the work that the handler asked for the last time.
    pub(super) done: Option<&'a Done>,
    /// Whether the time to wait is over: an empty answer is better than none.
    pub(super) is_late: bool,
    /// Where the call comes from; empty when nobody knows.
    pub(super) address: &'a str,
}

impl<'a> Context<'a> {
    pub(super) fn new(caller: Option<&'a Caller>, done: Option<&'a Done>, is_late: bool) -> Self {
        Self { caller, done, is_late, address: "" }
    }

    /// With where the call comes from.
    #[must_use]
    pub(super) fn from(self, address: Option<&'a Address>) -> Self {
        Self { address: address.map_or("", |address| address.0.as_str()), ..self }
    }

    /// Who calls; for endpoints that need a token, which only get here with one.
    pub(super) fn caller(&self) -> Result<&'a Caller, Refusal> {
        self.caller.ok_or_else(|| Refusal::new(401, "M_MISSING_TOKEN", "no access token"))
    }
}

/// What an endpoint needs of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Public,
    /// A token is looked at when there is one.
    Optional,
    /// Only with a token.
    User,
}

/// The marker types of ruma as values.
pub(super) trait HasAccess {
    const ACCESS: Access;
}

macro_rules! access {
    ($($scheme:ty => $access:ident),*) => {
        $(impl HasAccess for $scheme {
            const ACCESS: Access = Access::$access;
        })*
    };
}
access!(
    // Nobody has a token of an application service: the calls that may come with one are for all.
    AppserviceTokenOptional => Public,
    NoAuthentication => Public, NoAccessToken => Public, AccessTokenOptional => Optional,
    AccessToken => User
);

/// An answer with its whole body.
pub(super) type Response = http::Response<Vec<u8>>;

type Handler =
    Box<dyn Fn(&mut Step<'_>, &Context<'_>, &Found<'_>) -> Result<Response, Stop> + Send + Sync>;

/// What answers the requests of one type.
type Handle<R> =
    fn(&mut Step<'_>, &Context<'_>, R) -> Result<<R as IncomingRequest>::OutgoingResponse, Stop>;

/// One endpoint.
pub(super) struct Route {
    pub(super) access: Access,
    handler: Handler,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Route {
    pub(super) fn run(
        &self,
        step: &mut Step<'_>,
        context: &Context<'_>,
        found: &Found<'_>,
    ) -> Result<Response, Stop> {
        (self.handler)(step, context, found)
    }
}

/// A request and the variable parts of its path, decoded, in their order.
#[derive(Debug)]
pub(super) struct Found<'a> {
    request: Request<&'a [u8]>,
    arguments: Vec<String>,
}

/// All endpoints.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: Vec<Route>,
    /// By the number of segments, as pattern, method and place in `routes`.
    patterns: HashMap<usize, Vec<(Vec<Segment>, Method, usize)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Fixed(&'static str),
    Variable,
}

impl Routes {
    /// Adds the endpoint of the request type `R`, under all paths it has ever had.
    pub(super) fn add<R>(&mut self, handler: Handle<R>)
    where
        R: IncomingRequest + Metadata + 'static,
        R::Authentication: HasAccess,
    {
        self.add_for(<R::Authentication as HasAccess>::ACCESS, handler);
    }

    /// Adds the endpoint of the request type `R`, for others than the specification says.
    pub(super) fn add_for<R>(&mut self, access: Access, handler: Handle<R>)
    where
        R: IncomingRequest + Metadata + 'static,
    {
        self.add_under(R::PATH_BUILDER.all_paths(), access, handler);
    }

    /// Adds the endpoint of the request type `R` under these paths, which ruma does not list.
    pub(super) fn add_at<R>(&mut self, paths: &[&'static str], handler: Handle<R>)
    where
        R: IncomingRequest + Metadata + 'static,
        R::Authentication: HasAccess,
    {
        let access = <R::Authentication as HasAccess>::ACCESS;
        self.add_under(paths.iter().copied(), access, handler);
    }

    fn add_under<R>(
        &mut self,
        paths: impl Iterator<Item = &'static str>,
        access: Access,
        handler: Handle<R>,
    ) where
        R: IncomingRequest + Metadata + 'static,
    {
        let place = self.routes.len();
        for path in paths {
            let pattern: Vec<Segment> = path.split('/').map(Segment::new).collect();
            self.patterns.entry(pattern.len()).or_default().push((pattern, R::METHOD, place));
        }
        let run: Handler = Box::new(move |step, context, found| {
            let arguments: Vec<&str> = found.arguments.iter().map(String::as_str).collect();
            let request = R::try_from_http_request(found.request.clone(), &arguments)
                .map_err(|error| unreadable(&error, found.request.body()))?;
            respond(handler(step, context, request)?)
        });
        self.routes.push(Route { access, handler: run });
    }

    /// The endpoint of a request.
    ///
    /// # Errors
    /// `M_UNRECOGNIZED`: 404 without one of that path, 405 without one of that method.
    pub(super) fn find<'a>(
        &self,
        request: Request<&'a [u8]>,
    ) -> Result<(&Route, Found<'a>), Refusal> {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').collect();
        let patterns = self.patterns.get(&segments.len()).map(Vec::as_slice).unwrap_or_default();
        let mut refusal = Refusal::unrecognized();
        // A fixed segment goes before a variable one: the most fixed pattern that fits.
        let mut best: Option<(usize, usize, Vec<String>)> = None;
        for (pattern, method, place) in patterns {
            let Some(arguments) = fit(pattern, &segments) else {
                continue;
            };
            let is_head = request.method() == Method::HEAD && *method == Method::GET;
            if request.method() != method && !is_head {
                refusal = Refusal::wrong_method();
                continue;
            }
            if best.as_ref().is_none_or(|(count, ..)| arguments.len() < *count) {
                best = Some((arguments.len(), *place, arguments));
            }
        }
        let (_, place, arguments) = best.ok_or_else(|| refusal.clone())?;
        let route = self.routes.get(place).ok_or(refusal)?;
        Ok((route, Found { request, arguments }))
    }
}

impl Segment {
    fn new(text: &'static str) -> Self {
        if text.starts_with('{') { Self::Variable } else { Self::Fixed(text) }
    }
}

/// The variable parts of a path that fits the pattern.
fn fit(pattern: &[Segment], segments: &[&str]) -> Option<Vec<String>> {
    let mut arguments = Vec::new();
    for (segment, text) in pattern.iter().zip(segments) {
        match segment {
            Segment::Fixed(fixed) if fixed == text => {}
            Segment::Fixed(_) => return None,
            Segment::Variable => {
                arguments.push(percent_decode_str(text).decode_utf8().ok()?.into_owned());
            }
        }
    }
    Some(arguments)
}

fn respond<R: OutgoingResponse>(response: R) -> Result<Response, Stop> {
    response.try_into_http_response::<Vec<u8>>().map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        Refusal::new(500, "M_UNKNOWN", "the answer cannot be written").into()
    })
}

/// A body that is no JSON, or a request that lacks something.
fn unreadable(error: &FromHttpRequestError, body: &[u8]) -> Refusal {
    let text = error.to_string();
    let ends_early = body.is_empty() && text.contains("EOF while parsing");
    if ends_early
        || !body.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err()
    {
        return Refusal::new(400, "M_NOT_JSON", "the body is not JSON");
    }
    if text.contains("missing field") {
        return Refusal::missing(text);
    }
    Refusal::bad_json(text)
}
