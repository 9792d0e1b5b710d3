//! A request whose body is taken as it came, for endpoints where ruma's type would refuse what the
//! specification allows, or lose what clients put there.

use std::{marker::PhantomData, ops::Deref};

use ruma::api::{
    IncomingRequest, Metadata, OutgoingBody, OutgoingResponse,
    error::{DeserializationError, IntoHttpError},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// A request to the endpoint of `R`, with any JSON object as its body, which is answered with `A`:
/// ruma's type unless another is said.
///
/// A body that is not there is an empty object, so do other servers; but not where it is what is
/// to be put.
#[derive(Debug)]
pub(crate) struct Loose<R: IncomingRequest, A = <R as IncomingRequest>::OutgoingResponse> {
    given: Given,
    endpoint: PhantomData<fn() -> (R, A)>,
}

/// What a request says, whatever its endpoint.
#[derive(Debug)]
pub(crate) struct Given {
    /// The body.
    pub(crate) body: Map<String, Value>,
    /// The variable parts of the path, decoded, in their order.
    pub(crate) arguments: Vec<String>,
    /// The query, as it was written.
    query: String,
}

/// The same, answered with any JSON too.
pub(crate) type Plain<R> = Loose<R, LooseResponse>;

impl<R: IncomingRequest + Metadata, A> Metadata for Loose<R, A> {
    const METHOD: http::Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest, A: OutgoingResponse> IncomingRequest for Loose<R, A> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = A;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let body = match request.body() {
            [] if request.method() != http::Method::PUT => Map::new(),
            body => serde_json::from_slice(body)?,
        };
        let given = Given {
            body,
            arguments: path_args.iter().map(|&argument| argument.to_owned()).collect(),
            query: request.uri().query().unwrap_or_default().to_owned(),
        };
        Ok(Self { given, endpoint: PhantomData })
    }
}

impl<R: IncomingRequest, A> Deref for Loose<R, A> {
    type Target = Given;

    fn deref(&self) -> &Given {
        &self.given
    }
}

impl Given {
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

/// An answer whose body is any JSON, where ruma's type cannot hold what is to be said.
#[derive(Debug)]
pub(crate) struct LooseResponse(pub(crate) Value);

impl OutgoingResponse for LooseResponse {
    type Body = JsonBody;

    fn try_into_http_response_inner(self) -> Result<http::Response<JsonBody>, IntoHttpError> {
        Ok(http::Response::new(JsonBody(self.0)))
    }
}

/// JSON on its way out.
#[derive(Debug)]
pub(crate) struct JsonBody(Value);

impl OutgoingBody for JsonBody {
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
