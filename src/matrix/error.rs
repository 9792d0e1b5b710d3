//! The error body of the client-server API.
//!
//! # Spec
//! Client-Server API, "Standard error response".

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

/// What a homeserver answered instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{errcode}: {error} (HTTP {status})")]
pub struct MatrixError {
    /// HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The Matrix error code, for instance `M_FORBIDDEN`; `M_UNKNOWN` when the body had none.
    #[serde(default = "unknown")]
    pub errcode: String,
    /// The server's own words; untrusted text.
    #[serde(default)]
    pub error: String,
    /// How long the server asks to wait before another try.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// How the user may prove who they are, when the server wants that for this very call.
    #[serde(skip)]
    pub auth: Option<Box<UserAuth>>,
}

/// What a server wants of the user before it does what was asked.
///
/// # Spec
/// Client-Server API, "User-Interactive Authentication API".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAuth {
    /// Names the attempt; repeated in the answer.
    #[serde(default)]
    pub session: Option<String>,
    /// The ways to do it; one suffices.
    pub flows: Vec<AuthFlow>,
    /// What the stages say of themselves, by their names.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
}

/// One way to prove who one is: all of these stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthFlow {
    /// Their names, for instance `m.login.password`; untrusted text.
    #[serde(default)]
    pub stages: Vec<String>,
}

impl UserAuth {
    /// Whether this stage alone suffices.
    pub fn takes(&self, stage: &str) -> bool {
        self.flows.iter().any(|flow| flow.stages.as_slice() == [stage])
    }

    /// The page that a stage names, of the account's management, say, for a person to open: one of
    /// the web, and in ASCII, so that its name cannot look like another's.
    pub fn url(&self, stage: &str) -> Option<String> {
        let text = self.params.get(stage)?.get("url")?.as_str()?;
        let url = Url::parse(text).ok().filter(|_| !text.chars().any(char::is_control))?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        (is_plain && matches!(url.scheme(), "https" | "http")).then(|| url.into())
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

fn unknown() -> String {
    "M_UNKNOWN".to_owned()
}

impl MatrixError {
    /// Reads an error body; a body that is not one still gives an error with the status.
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let mut error = serde_json::from_slice::<Self>(body).unwrap_or(Self {
            status,
            errcode: unknown(),
            error: String::new(),
            retry_after_ms: None,
            auth: None,
        });
        error.status = status;
        if status == 401 && error.errcode != "M_UNKNOWN_TOKEN" {
            let auth = serde_json::from_slice::<UserAuth>(body).ok();
            error.auth = auth.filter(|auth| !auth.flows.is_empty()).map(Box::new);
        }
        error
    }

    /// Whether the same request may succeed later without a change: rate limits, server faults.
    pub fn is_retryable(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..=599)
    }

    /// The pause that the server asked for, an hour at most: a wrong number must not stop us for
    /// good.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(|pause| Duration::from_millis(pause).min(LONGEST_PAUSE))
    }

    /// Whether the access token is no longer valid.
    pub fn is_unknown_token(&self) -> bool {
        self.status == 401 && self.errcode == "M_UNKNOWN_TOKEN"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_error_keeps_its_status() {
        let error = MatrixError::parse(502, b"<html>bad gateway</html>");
        assert_eq!((error.status, error.errcode.as_str()), (502, "M_UNKNOWN"));
        assert!(error.is_retryable());
    }

    // A-50
    #[test]
    fn a_page_to_be_opened_is_of_the_web_and_spelled_out() {
        let page = |url: &str| {
            let body = serde_json::json!({ "flows": [{ "stages": ["m.oauth"] }],
                "params": { "m.oauth": { "url": url } } });
            let error = MatrixError::parse(401, body.to_string().as_bytes());
            error.auth.unwrap().url("m.oauth")
        };
        for wrong in [
            "file:///etc/passwd",
            "ssh://-oProxyCommand=x/",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://bank.example@evil.example/",
            "https://account.example/\u{1b}]52;c;x\u{7}",
            "https://account.example/\r\nx",
            "//account.example/",
            "not an address",
        ] {
            assert_eq!(page(wrong), None, "{wrong}");
        }
        let cyrillic = page("https://\u{430}ccount.example/\u{202e}x").unwrap();
        assert!(cyrillic.starts_with("https://xn--ccount-2nf.example/"), "{cyrillic}");
        assert!(cyrillic.is_ascii());
    }

    #[test]
    fn a_server_that_wants_proof_says_how_and_one_that_ended_the_login_does_not() {
        let body = br#"{"session":"s","flows":[{"stages":["a","b"]},{"stages":["m.oauth"]}],
            "params":{"m.oauth":{"url":"https://account.x"}}}"#;
        let auth = MatrixError::parse(401, body).auth.unwrap();
        assert!(auth.takes("m.oauth") && !auth.takes("a"));
        assert_eq!(auth.url("m.oauth"), Some("https://account.x/".to_owned()));
        assert_eq!(MatrixError::parse(403, body).auth, None);
        assert_eq!(MatrixError::parse(401, br#"{"errcode":"M_UNKNOWN_TOKEN"}"#).auth, None);
    }

    #[test]
    fn rate_limits_name_their_pause() {
        let error =
            MatrixError::parse(429, br#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}"#);
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        let body = format!(r#"{{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":{}}}"#, u64::MAX);
        let error = MatrixError::parse(429, body.as_bytes());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    }
}
