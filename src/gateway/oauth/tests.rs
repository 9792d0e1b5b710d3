//! What an authorization server, or who speaks for it, may not make us do.

use std::time::Duration;

use serde_json::json;

use super::{
    device::{DeviceGrant, Poll},
    error::OAuthError,
    metadata::{Metadata, Reach, kept},
    token::{Tokens, WhichScope, scope},
};

const REMOTE: &str = "https://matrix.example.org";
const LOCAL: &str = "http://127.0.0.1:8008";

fn metadata(endpoint: &str, homeserver: &str) -> Result<Metadata, OAuthError> {
    let json = json!({ "token_endpoint": endpoint, "issuer": "https://account.example.org/" });
    Metadata::parse(&json.to_string(), homeserver)
}

#[test]
fn secrets_go_to_no_address_in_the_clear_or_on_this_machine() {
    for bad in [
        "http://account.example.org/token",
        "https://127.0.0.1/token",
        "http://127.0.0.1:6379/",
        "https://localhost/token",
        "https://[::1]/token",
        "http://abc.onion/token",
        "https://user:password@account.example.org/token",
        "https://account.example.org/token#x",
        "https://account.example.org/to\u{7}ken",
        "ftp://account.example.org/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//account.example.org/token",
        "",
        &format!("https://account.example.org/{}", "x".repeat(3000)),
    ] {
        let refused = metadata(bad, REMOTE);
        assert!(matches!(refused, Err(OAuthError::Endpoint("token_endpoint"))), "{bad:?}");
        assert!(kept(bad, REMOTE, "token_endpoint").is_err(), "{bad:?}");
    }
    assert!(metadata("https://account.example.org/token?x=1", REMOTE).is_ok());
    // A homeserver on this machine may have its authorization server there too.
    assert!(metadata("http://127.0.0.1:9/token", LOCAL).is_ok());
    assert!(metadata("https://account.example.org/token", LOCAL).is_ok());
    assert!(metadata("http://account.example.org/token", LOCAL).is_err());
}

#[test]
fn one_bad_endpoint_spoils_the_rest_and_a_bad_page_only_itself() {
    let good = "https://account.example.org/x";
    for name in ["revocation_endpoint", "registration_endpoint", "device_authorization_endpoint"] {
        let json = json!({ "token_endpoint": good, name: "http://evil.example/" });
        assert!(Metadata::parse(&json.to_string(), REMOTE).is_err(), "{name}");
    }
    let json = json!({ "token_endpoint": good, "account_management_uri": "http://evil.example/" });
    let found = Metadata::parse(&json.to_string(), REMOTE).unwrap();
    assert_eq!(found.account_management_uri, None);
    assert!(!found.has_device_grant());
    assert!(Metadata::parse("[]", REMOTE).is_err());
    assert!(Metadata::parse("{}", REMOTE).is_err());
}

fn grant(change: &serde_json::Value) -> Result<DeviceGrant, OAuthError> {
    let mut json = json!({
        "device_code": "a-device-code", "user_code": "WDJB-MJHT",
        "verification_uri": "https://account.example.org/link", "expires_in": 1800,
    });
    for (key, value) in change.as_object().unwrap() {
        json[key] = value.clone();
    }
    DeviceGrant::parse(json.to_string().as_bytes(), Reach::Network)
}

#[test]
fn what_is_shown_of_a_grant_is_harmless_and_its_times_are_bounded() {
    for bad in [
        json!({"user_code": "\u{1b}]52;c;x\u{7}"}),
        json!({"user_code": "\u{202e}abc"}),
        json!({"user_code": ""}),
        json!({"user_code": "x".repeat(65)}),
        json!({"device_code": ""}),
        json!({"device_code": "two words"}),
        json!({"device_code": "x".repeat(5000)}),
        json!({"verification_uri": "http://account.example.org/link"}),
        json!({"verification_uri": "https://account.example.org/\u{1b}[2J"}),
        json!({"verification_uri": "https://127.0.0.1/link"}),
        json!({"verification_uri": "file:///etc/passwd"}),
        json!({"verification_uri": "ssh://account.example.org/"}),
        json!({"verification_uri": "javascript:alert(1)"}),
        json!({"expires_in": -1}),
        json!({"expires_in": "soon"}),
    ] {
        assert!(grant(&bad).is_err(), "{bad}");
    }
    let usual = grant(&json!({})).unwrap();
    assert_eq!(usual.interval, Duration::from_secs(5));
    let slow = grant(&json!({"interval": u64::MAX, "expires_in": u64::MAX})).unwrap();
    let bounds = (Duration::from_secs(60), Duration::from_secs(1800));
    assert_eq!((slow.interval, slow.expires_in), bounds);
    assert_eq!(grant(&json!({"interval": 0})).unwrap().interval, Duration::from_secs(1));
    assert!(!format!("{usual:?}").contains("a-device-code"));
    // A short way that leads elsewhere is none.
    let elsewhere = json!({"verification_uri_complete": "https://evil.example/?user_code=WDJB"});
    assert_eq!(grant(&elsewhere).unwrap().verification_uri_complete, None);
    // a name that looks like another's is spelled out.
    let cyrillic = json!({"verification_uri": "https://\u{430}ccount.example.org/link"});
    let shown = grant(&cyrillic).unwrap().verification_uri.to_string();
    assert!(shown.starts_with("https://xn--"), "{shown}");
}

fn tokens(change: &serde_json::Value) -> Result<Tokens, OAuthError> {
    let mut json = json!({"access_token": "mat_x", "token_type": "Bearer", "expires_in": 299});
    for (key, value) in change.as_object().unwrap() {
        json[key] = value.clone();
    }
    Tokens::parse(json.to_string().as_bytes())
}

#[test]
fn a_token_that_no_header_can_hold_is_refused_and_none_is_printed() {
    for bad in [
        json!({"access_token": "a\r\nX-Evil: 1"}),
        json!({"access_token": ""}),
        json!({"access_token": "x".repeat(9000)}),
        json!({"access_token": 7}),
        json!({"refresh_token": "two words"}),
        json!({"token_type": "mac"}),
    ] {
        assert!(tokens(&bad).is_err(), "{bad}");
    }
    let good = tokens(&json!({"refresh_token": "mar_y"})).unwrap();
    assert_eq!(good.expires_in, Some(Duration::from_secs(299)));
    let shown = format!("{good:?}");
    assert!(!shown.contains("mat_x") && !shown.contains("mar_y"), "{shown}");
    for odd in [json!({"expires_in": -5}), json!({"expires_in": 1e300}), json!({"expires_in": 0})] {
        assert_eq!(tokens(&odd).unwrap().expires_in, None);
    }
}

#[test]
fn a_poll_knows_the_four_answers_of_the_grant_and_no_other() {
    let refused = |code: &str| {
        Poll::of(Err(OAuthError::Refused { code: code.to_owned(), words: String::new() }))
    };
    assert!(matches!(refused("authorization_pending"), Ok(Poll::Pending)));
    assert!(matches!(refused("slow_down"), Ok(Poll::SlowDown)));
    assert!(matches!(refused("access_denied"), Ok(Poll::Denied)));
    assert!(matches!(refused("expired_token"), Ok(Poll::Expired)));
    assert!(refused("invalid_client").is_err());
}

#[test]
fn the_scope_is_one_device_and_the_whole_api() {
    assert_eq!(
        scope(WhichScope::Stable, "ABCDEFGHIJ"),
        "urn:matrix:client:api:* urn:matrix:client:device:ABCDEFGHIJ"
    );
    assert!(
        scope(WhichScope::Unstable, "A").contains("urn:matrix:org.matrix.msc2967.client:api:*")
    );
}
