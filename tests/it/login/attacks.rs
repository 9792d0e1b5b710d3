//! Homeservers and authorization servers that mean harm to whoever logs in.

use std::fs;

use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    headless::{code, files, said},
    rig,
};

use super::web::{Answer, Asked, serve};

/// A homeserver that answers only what a login asks first; the rest is `more`'s.
fn homeserver(
    metadata: impl Fn(&str) -> Value + Send + Sync + 'static,
    more: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> String {
    serve(move |asked| {
        let base = format!("http://{}", asked.headers["host"]);
        match asked.path() {
            "/_matrix/client/versions" => Some(Answer::json(200, &json!({"versions": ["v1.18"]}))),
            "/_matrix/client/v3/login" => Some(Answer::json(200, &json!({"flows": []}))),
            "/_matrix/client/v1/auth_metadata" => Some(Answer::json(200, &metadata(&base))),
            _ => more(&asked),
        }
    })
}

/// Where everything is, at `base`.
fn everything(base: &str) -> Value {
    let at = |path: &str| format!("{base}/{path}");
    json!({
        "issuer": base, "token_endpoint": at("token"), "revocation_endpoint": at("revoke"),
        "registration_endpoint": at("register"), "device_authorization_endpoint": at("device"),
    })
}

/// Tries to log in by a code; it must fail, harmlessly, with these words.
#[track_caller]
fn is_refused(base: &str, words: &str) {
    let who = Grotto { home: rig::folder("evil"), user: "@alice:localhost".to_owned() };
    let arguments = ["-vvv", "--timeout", "20", "login", &who.user, "--homeserver", base];
    let output = who.run(&[&arguments[..], &["--device-code"]].concat());
    assert_ne!(code(&output), Some(0));
    let words_said = said(&output);
    assert!(words_said.contains(words), "says not {words:?} but: {words_said}");
    assert!(!words_said.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{words_said:?}");
    assert!(!words_said.contains("panicked"), "{words_said}");
    assert!(output.stdout.is_empty());
}

/// What a server of grants answers: a client, then `grant`, then `token`.
fn grants(
    grant: impl Fn(&str) -> Value + Send + Sync + 'static,
    token: impl Fn() -> Option<Answer> + Send + Sync + 'static,
) -> String {
    homeserver(everything, move |asked| {
        let base = format!("http://{}", asked.headers["host"]);
        match asked.path() {
            "/register" => Some(Answer::json(201, &json!({"client_id": "x"}))),
            "/device" => Some(Answer::json(200, &grant(&base))),
            "/token" => token(),
            _ => Some(Answer::json(404, &json!({}))),
        }
    })
}

fn usual(base: &str) -> Value {
    json!({
        "device_code": "code", "user_code": "ABCD", "verification_uri": format!("{base}/link"),
        "expires_in": 3, "interval": 1,
    })
}

#[test]
fn secrets_are_sent_to_no_address_that_others_can_read() {
    let clear = homeserver(
        |_| everything("http://account.example.org"),
        |_| panic!("nothing more is asked"),
    );
    is_refused(&clear, "no usable token_endpoint");
    let named = homeserver(
        |_| everything("https://user:password@account.example.org"),
        |_| panic!("nothing more is asked"),
    );
    is_refused(&named, "no usable token_endpoint");
    let none = homeserver(|_| json!({"issuer": "x"}), |_| panic!("nothing more is asked"));
    is_refused(&none, "no usable token_endpoint");
}

#[test]
fn a_redirect_is_not_followed() {
    let trap = serve(|asked| panic!("the redirect was followed to {}", asked.target));
    let server = homeserver(everything, move |_| Some(Answer::redirect(&trap)));
    is_refused(&server, "answers with a redirect");
}

#[test]
fn an_answer_without_end_is_given_up() {
    let huge = |_: &Asked| {
        let mut body = br#"{"client_id":""#.to_vec();
        body.resize(64 << 20, b'x');
        Some(Answer { status: 201, headers: Vec::new(), body })
    };
    is_refused(&homeserver(everything, huge), "too long");
    let huge =
        |_: &Asked| Some(Answer { status: 400, headers: Vec::new(), body: vec![b'['; 64 << 20] });
    is_refused(&homeserver(everything, huge), "too long");
}

#[test]
fn a_server_that_asks_to_slow_down_forever_is_left_when_the_code_expires() {
    let slow = || Some(Answer::json(400, &json!({"error": "slow_down"})));
    is_refused(&grants(usual, slow), "nobody allowed the login in time");
    let broken = || Some(Answer::json(503, &json!({})));
    is_refused(&grants(usual, broken), "nobody allowed the login in time");
}

#[test]
fn nothing_that_a_server_says_acts_on_the_terminal() {
    let loud = || {
        let words = "\u{1b}]52;c;x\u{7}\u{202e}\u{9b}31m no";
        Some(Answer::json(400, &json!({"error": words, "error_description": words})))
    };
    is_refused(&grants(usual, loud), "the authorization server refused");
    let code = |base: &str| {
        let mut grant = usual(base);
        grant["user_code"] = "\u{1b}[2JABCD".into();
        grant
    };
    is_refused(&grants(code, || panic!("never polled")), "no usable user_code");
    let elsewhere = |base: &str| {
        let mut grant = usual(base);
        grant["verification_uri"] = "http://phish.example/link".into();
        grant
    };
    is_refused(&grants(elsewhere, || panic!("never polled")), "no usable verification_uri");
}

#[test]
fn a_token_that_the_homeserver_does_not_know_leaves_nothing_behind() {
    let given = || {
        let tokens = json!({
            "access_token": "mat_stray_7781", "refresh_token": "mar_stray_7781",
            "token_type": "Bearer", "expires_in": 300,
        });
        Some(Answer::json(200, &tokens))
    };
    let base = grants(usual, given);
    let who = Grotto { home: rig::folder("evil"), user: "@alice:localhost".to_owned() };
    let login = ["-vvv", "login", &who.user, "--homeserver", &base, "--device-code"];
    let output = who.run(&login);
    assert_eq!(code(&output), Some(1), "{}", said(&output));
    assert!(!said(&output).contains("stray_7781"), "{}", said(&output));
    for path in files(&who.home) {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains("stray_7781"), "{}", path.display());
        assert!(!path.ends_with("store.db"));
    }
    assert_eq!(code(&who.run(&["rooms"])), Some(1));
}
