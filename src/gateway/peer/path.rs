//! What a client may call: only the homeserver's Matrix API, and without a token only what needs
//! none.

use percent_encoding::percent_decode;

use super::machine::Identity;
use crate::wire::RequestFrame;

/// The one path outside `/_matrix/`.
const WELL_KNOWN: &str = "/.well-known/matrix/client";

/// Calls that need no token: method and path, the version left out.
const OPEN_CALLS: &[(&str, &str)] = &[
    ("GET", "login"),
    ("POST", "login"),
    ("POST", "refresh"),
    ("GET", "auth_metadata"),
    ("POST", "register"),
    ("GET", "register/available"),
];
/// Where servers that are not up to date yet have `auth_metadata`.
const UNSTABLE_METADATA: &str = "unstable/org.matrix.msc2965/auth_metadata";
/// What a path has beside letters and digits (RFC 3986): a URL parser would change all else.
const PUNCTUATION: &[u8] = b"-._~!$&'()*+,;=:@/%";
/// As it is, decoded once, twice and three times.
const MAX_DECODINGS: usize = 4;
/// Longest path and query together; most servers take less.
const MAX_URL_BYTES: usize = 48 << 10;
const MAX_CONTENT_TYPE_BYTES: usize = 255;
const VERSIONS: &[&str] = &["r0", "v1", "v3"];

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a method of the client-server API.
    Method,
    /// Not below `/_matrix/`, or could lead elsewhere.
    Path,
    /// A token of somebody else in the query.
    TokenInQuery,
    /// JSON body and announced body at once.
    TwoBodies,
    /// Path and query together are longer than any server takes.
    TooLong,
    /// The type of an upload cannot stand in a header.
    ContentType,
    /// The call needs a token.
    NoToken,
    /// The server is about to stop.
    Stopping,
}

impl Refusal {
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Path => 404,
            Self::TokenInQuery | Self::TwoBodies | Self::ContentType => 400,
            Self::TooLong => 414,
            Self::NoToken => 401,
            Self::Stopping => 503,
        }
    }

    pub(super) fn errcode(self) -> &'static str {
        match self {
            Self::Method | Self::Path => "M_UNRECOGNIZED",
            Self::TokenInQuery | Self::TwoBodies | Self::ContentType => "M_INVALID_PARAM",
            Self::TooLong => "M_TOO_LARGE",
            Self::NoToken => "M_MISSING_TOKEN",
            Self::Stopping => "GROTTO_GOING_AWAY",
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Method => "the method is GET, POST, PUT or DELETE",
            Self::Path => "only paths below /_matrix/ are passed on",
            Self::TokenInQuery => "the token stands in the handshake, not in a query",
            Self::TwoBodies => "a request has a body or an upload, not both",
            Self::TooLong => "path and query are longer than 48 KiB, percent-encoded",
            Self::ContentType => "the content type cannot stand in a header",
            Self::NoToken => "this connection has no access token: it may only log in",
            Self::Stopping => "the server is going away",
        }
    }
}

/// Checks a request before it is passed on.
pub(super) fn check(request: &RequestFrame, identity: Identity) -> Result<(), Refusal> {
    if !matches!(request.method.as_str(), "GET" | "POST" | "PUT" | "DELETE") {
        return Err(Refusal::Method);
    }
    if !is_ours(&request.path) {
        return Err(Refusal::Path);
    }
    if !fits(&request.path, &request.query) {
        return Err(Refusal::TooLong);
    }
    if request.query.iter().any(|(key, _)| key == "access_token") {
        return Err(Refusal::TokenInQuery);
    }
    if request.body.is_some() && request.upload.is_some() {
        return Err(Refusal::TwoBodies);
    }
    if request.upload.as_ref().is_some_and(|info| !is_content_type(&info.content_type)) {
        return Err(Refusal::ContentType);
    }
    match identity {
        Identity::Token => Ok(()),
        Identity::Anonymous if is_open(request) => Ok(()),
        Identity::Anonymous => Err(Refusal::NoToken),
    }
}

/// Whether the path stays below `/_matrix/`, as it is and decoded up to three times.
pub(in crate::gateway) fn is_ours(path: &str) -> bool {
    path == WELL_KNOWN
        || (path.starts_with("/_matrix/")
            && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || PUNCTUATION.contains(&byte))
            && path.split('%').skip(1).all(is_escape)
            && stays(path.as_bytes()))
}

/// What follows a `%`.
fn is_escape(text: &str) -> bool {
    text.as_bytes().first_chunk::<2>().is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
}

/// Whether nothing in it leads elsewhere, as it is and decoded: proxies and servers decode before
/// they look for dots, some more than once.
fn stays(path: &[u8]) -> bool {
    let mut text = path.to_vec();
    for _ in 0..MAX_DECODINGS {
        if text.iter().any(u8::is_ascii_control)
            || text.split(|byte| b"/\\".contains(byte)).any(is_dots)
        {
            return false;
        }
        text = percent_decode(&text).collect();
    }
    true
}

/// `.` and `..`, for some servers also with parameters (`..;x`).
fn is_dots(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
    name == b"." || name == b".."
}

/// Whether path and query fit into a request's head, percent-encoded at worst.
pub(super) fn fits(path: &str, query: &[(String, String)]) -> bool {
    let query = query.iter().map(|(key, value)| 3 * (key.len() + value.len()) + 2);
    path.len().saturating_add(query.sum()) <= MAX_URL_BYTES
}

/// Whether it may stand in a header.
fn is_content_type(text: &str) -> bool {
    text.len() <= MAX_CONTENT_TYPE_BYTES
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

fn is_open(request: &RequestFrame) -> bool {
    if request.upload.is_some() {
        return false;
    }
    let get = request.method == "GET";
    match request.path.strip_prefix("/_matrix/client/") {
        Some("versions" | UNSTABLE_METADATA) => get,
        Some(rest) => rest.split_once('/').is_some_and(|(version, call)| {
            VERSIONS.contains(&version) && OPEN_CALLS.contains(&(request.method.as_str(), call))
        }),
        None => get && request.path == WELL_KNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str) -> RequestFrame {
        RequestFrame { method: method.to_owned(), path: path.to_owned(), ..Default::default() }
    }

    #[test]
    fn nothing_outside_the_matrix_api_is_passed_on() {
        for path in [
            "",
            "/",
            "/_synapse/admin/v1/users",
            "/_matrix",
            "/_matrixx/client",
            "_matrix/client/versions",
            "//evil.example/_matrix/",
            "https://evil.example/_matrix/client/versions",
            "/_matrix/../_synapse/admin",
            "/_matrix/client/%2e%2E/%2e./_synapse",
            "/_matrix/.",
            "/_matrix/client\\..\\..\\_synapse",
            "/_matrix/client/versions?x=1",
            "/_matrix/client/versions#x",
            "/_matrix/client/ver sions",
            "/_matrix/client/vers\r\nHost: evil",
            "/_matrix/client/v3/rooms/!größe",
            "/_matrix/x%2f..%2f..%2f_synapse/admin",
            "/_matrix/x%2F%2e%2e%2F_synapse",
            "/_matrix/%252e%252e/_synapse",
            "/_matrix/x%255c..%255c_synapse",
            "/_matrix/..;a=b/_synapse",
            "/_matrix/client/versions%0d%0aX-Evil:%201",
            "/_matrix/client/%00",
            "/_matrix/client/{curly}",
            "/_matrix/client/100%",
            "/_matrix/client/%zz",
        ] {
            let refused = check(&request("GET", path), Identity::Token);
            assert_eq!(refused, Err(Refusal::Path), "{path:?}");
        }
    }

    #[test]
    fn what_no_head_can_hold_is_refused() {
        let mut long = request("GET", "/_matrix/client/v3/sync");
        long.query.push(("filter".to_owned(), "x".repeat(20_000)));
        assert_eq!(check(&long, Identity::Token), Err(Refusal::TooLong));
        for content_type in ["text/plain\r\nX-Evil: 1", "größe", &"x".repeat(256)] {
            let mut upload = request("POST", "/_matrix/media/v3/upload");
            let content_type = content_type.to_owned();
            upload.upload = Some(crate::wire::MediaInfo { content_type, length: None });
            assert_eq!(check(&upload, Identity::Token), Err(Refusal::ContentType));
        }
    }

    #[test]
    fn room_ids_and_dots_inside_names_are_passed_on() {
        for path in [
            "/_matrix/client/v3/rooms/!a%3Aexample.org/state/m.room.name/",
            "/_matrix/client/v3/directory/room/%23a%2Fb%3Aexample.org",
            "/_matrix/client/v3/user/@a:example.org/account_data/..x",
            "/_matrix/client/v3/rooms/!a/state/x/100%25%20..sure..",
            "/.well-known/matrix/client",
        ] {
            assert_eq!(check(&request("PUT", path), Identity::Token), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn without_a_token_one_may_only_log_in() {
        let open = |method, path| check(&request(method, path), Identity::Anonymous);
        for (method, path) in [
            ("GET", "/_matrix/client/versions"),
            ("GET", "/_matrix/client/v3/login"),
            ("POST", "/_matrix/client/r0/login"),
            ("POST", "/_matrix/client/v3/register"),
            ("POST", "/_matrix/client/v3/refresh"),
            ("GET", "/_matrix/client/v1/auth_metadata"),
            ("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata"),
            ("GET", "/.well-known/matrix/client"),
        ] {
            assert_eq!(open(method, path), Ok(()), "{path}");
        }
        for (method, path) in [
            ("GET", "/_matrix/client/v3/sync"),
            ("PUT", "/_matrix/client/v3/login"),
            ("POST", "/_matrix/client/v3/login/sso/redirect"),
            ("POST", "/_matrix/client/versions"),
            ("GET", "/_matrix/client/v3/refresh"),
            ("POST", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata"),
            ("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata/x"),
            ("GET", "/_matrix/client/v3/account/whoami"),
        ] {
            assert_eq!(open(method, path), Err(Refusal::NoToken), "{path}");
        }
    }

    #[test]
    fn a_token_in_the_query_is_refused() {
        let mut request = request("GET", "/_matrix/client/v3/account/whoami");
        request.query.push(("access_token".to_owned(), "stolen".to_owned()));
        assert_eq!(check(&request, Identity::Token), Err(Refusal::TokenInQuery));
    }

    #[test]
    fn only_methods_of_the_api_are_passed_on() {
        for method in ["get", "CONNECT", "PATCH", ""] {
            let refused = check(&request(method, "/_matrix/client/versions"), Identity::Token);
            assert_eq!(refused, Err(Refusal::Method), "{method:?}");
        }
    }
}
