//! A request whose body is taken as it came, for endpoints where ruma's type would refuse what the
//! specification allows, or lose what clients put there.

use std::marker::PhantomData;

use ruma::api::{
    IncomingRequest, Metadata,
    error::{DeserializationError, IntoHttpError},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// A request to the endpoint of `R`, with any JSON object as its body.
///
/// A body that is not there is an empty object: so do other servers, for the calls that need none.
#[derive(Debug)]
pub(crate) struct Loose<R> {
    /// The body.
    pub(crate) body: Map<String, Value>,
    /// The variable parts of the path, decoded, in their order.
    pub(crate) arguments: Vec<String>,
    /// The query, as it was written.
    query: String,
    endpoint: PhantomData<fn() -> R>,
}

impl<R: Metadata> Metadata for Loose<R> {
    const METHOD: http::Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for Loose<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = R::OutgoingResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let body = match request.body() {
            [] => Map::new(),
            body => serde_json::from_slice(body)?,
        };
        Ok(Self {
            body,
            arguments: path_args.iter().map(|&argument| argument.to_owned()).collect(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            endpoint: PhantomData,
        })
    }
}

impl<R> Loose<R> {
    /// The body as a type of our own.
    ///
    /// # Errors
    /// `M_BAD_JSON` when it is another; `M_MISSING_PARAM` when a field is not there.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        read(Value::Object(self.body.clone()))
    }

    /// A variable part of the path; empty when the path has fewer.
    pub(crate) fn argument(&self, place: usize) -> &str {
        self.arguments.get(place).map_or("", String::as_str)
    }

    /// A parameter of the query, decoded.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// JSON as a type of our own.
///
/// # Errors
/// `M_BAD_JSON` when it is another; `M_MISSING_PARAM` when a field is not there.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|error| {
        let text = error.to_string();
        if text.starts_with("missing field") {
            Refusal::missing(text)
        } else {
            Refusal::bad_json(text)
        }
    })
}

/// The endpoint of `R`, only for those with a token, also where the specification asks for none.
#[derive(Debug)]
pub(crate) struct Known<R>(pub(crate) Loose<R>);

impl<R: Metadata> Metadata for Known<R> {
    const METHOD: http::Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = ruma::api::auth_scheme::AccessToken;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for Known<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = LooseResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        Loose::try_from_http_request_inner(request, path_args).map(Self)
    }
}

/// An answer whose body is any JSON, where ruma's type cannot hold what is to be said.
#[derive(Debug)]
pub(crate) struct LooseResponse(pub(crate) Value);

/// The endpoint of `R`, both ways with any JSON.
#[derive(Debug)]
pub(crate) struct Plain<R>(pub(crate) Loose<R>);

impl<R: Metadata> Metadata for Plain<R> {
    const METHOD: http::Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for Plain<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = LooseResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        Loose::try_from_http_request_inner(request, path_args).map(Self)
    }
}

impl ruma::api::OutgoingResponse for LooseResponse {
    type Body = JsonBody;

    fn try_into_http_response_inner(self) -> Result<http::Response<JsonBody>, IntoHttpError> {
        Ok(http::Response::new(JsonBody(self.0)))
    }
}

/// JSON on its way out.
#[derive(Debug)]
pub(crate) struct JsonBody(Value);

impl ruma::api::OutgoingBody for JsonBody {
    type Error = IntoHttpError;

    fn content_type(&self) -> Option<http::HeaderValue> {
        Some(http::HeaderValue::from_static("application/json"))
    }

    fn try_into_buf<T: Default + bytes::BufMut + AsRef<[u8]>>(self) -> Result<T, Self::Error> {
        let mut buffer = T::default();
        buffer.put_slice(self.0.to_string().as_bytes());
        Ok(buffer)
    }
}
