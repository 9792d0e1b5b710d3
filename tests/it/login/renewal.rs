//! Tokens that live for seconds, and logins that end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    headless::{code, fails, play, said, send},
    homeserver::{Homeserver, On, Place, gateway},
    rig::{self, PASSWORD},
};

use super::{device, web};

/// How long access tokens live; a third of it is left for a renewal on a busy machine.
const LIFE: Duration = Duration::from_secs(15);

/// Synapse with access tokens that live for [`LIFE`].
fn short_lived(settings: Value) -> Homeserver {
    let mut all = json!({"refreshable_access_token_lifetime": LIFE.as_millis() as u64});
    for (name, value) in settings.as_object().unwrap() {
        all[name] = value.clone();
    }
    Homeserver::synapse_with(&all)
}

#[test]
fn a_token_that_lives_for_seconds_is_renewed_without_a_pause_in_the_talk() {
    let server = short_lived(json!({}));
    goes_on(&server.place);
}

#[test]
fn a_gateway_service_takes_the_renewed_token() {
    let server = short_lived(json!({}));
    goes_on(&gateway(&server.place.base));
}

/// Waits until every access token that was given out by now is refused.
fn outlive(place: &Place, grotto: &Grotto) {
    let body = json!({
        "type": "m.login.password", "password": PASSWORD, "refresh_token": true,
        "identifier": {"type": "m.id.user", "user": grotto.user},
    });
    let login = rig::http(&place.base, "POST", "/_matrix/client/v3/login", None, &body);
    let token = login["access_token"].as_str().unwrap();
    let begun = Instant::now();
    let who = || {
        rig::http(
            &place.base,
            "GET",
            "/_matrix/client/v3/account/whoami",
            Some(token),
            &Value::Null,
        )
    };
    while who()["errcode"] != "M_UNKNOWN_TOKEN" {
        assert!(begun.elapsed() < rig::PATIENCE, "a token outlives its life");
    }
}

/// Somebody talks over several lives of a token.
fn goes_on(place: &Place) {
    let mut scene = play(&place.base, Grotto::log_in(place, "short"));
    let begun = Instant::now();
    let mut number = 0;
    // In both directions.
    while begun.elapsed() < 3 * LIFE {
        number += 1;
        let text = format!("still here {number}");
        send(&scene.alice, &[&scene.room, &text]);
        scene.bob.hears(&text);
        let echo = format!("echo: {text}");
        scene.tail.find("the echo", |line| line["body"] == echo.as_str());
    }
    let lost = |line: &&Value| line["type"] == "link" && line["state"] == "down";
    assert_eq!(scene.tail.unread().iter().find(lost), None, "the connection was kept");
    assert_eq!(scene.tail.terminate(), Some(0));
    // And after a while without any grotto the next one goes on.
    outlive(place, &scene.alice);
    send(&scene.alice, &[&scene.room, "back again"]);
    scene.bob.hears("back again");
}

#[test]
fn tokens_of_an_authorization_server_are_renewed_there_and_a_lost_answer_costs_nothing() {
    let (provider, server) = device::delegated();
    provider.with(|state| (state.life, state.lose) = (6, 2));
    let alice = device::log_in(&provider, &server, "alice");
    alice.json(&["create", "--name", "Garden"]);
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let renewals = || {
        provider.with(|state| {
            let renewals = state.log.iter().filter(|(_, fields)| {
                fields.get("grant_type").is_some_and(|grant| grant == "refresh_token")
            });
            renewals.count()
        })
    };
    let begun = Instant::now();
    while renewals() < 4 {
        assert!(begun.elapsed() < rig::PATIENCE, "{} renewals", renewals());
        send(&alice, &["Garden", "tick"]);
        tail.find("her message", |line| line["body"] == "tick");
    }
    assert_eq!(provider.with(|state| state.lose), 0, "answers were lost");

    // The authorization server ends the login: that is said, and what is here is kept.
    provider.with(|state| state.forget("alice"));
    let begun = Instant::now();
    let output = loop {
        let output = alice.run(&["send", "Garden", "more"]);
        if code(&output) != Some(0) || begun.elapsed() > rig::PATIENCE {
            break output;
        }
    };
    assert_ne!(code(&output), Some(0));
    drop(tail);
    fails(&alice.run(&["rooms"]), 1, "log");
    let login = ["login", &alice.user, "--homeserver", &server.place.base, "--device-code"];
    fails(&alice.run(&login), 1, "its keys and messages are still here");
    let output = alice.run(&["logout", "--yes"]);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
}

#[test]
fn a_login_that_expired_goes_on_with_its_device_and_keys() {
    let server = short_lived(json!({"refresh_token_lifetime": "45s"}));
    let alice = Grotto::log_in(&server.place, "soft");
    let created = alice.json(&["create", "--name", "Garden"]);
    let room = created[0]["room_id"].as_str().unwrap().to_owned();
    let event = send(&alice, &[&room, "before the end"]);
    let device = |grotto: &Grotto| grotto.json(&["keys", "status"])[0]["ed25519"].clone();
    let fingerprint = device(&alice);
    std::thread::sleep(Duration::from_secs(48));

    let output = alice.run(&["rooms"]);
    fails(&output, 1, "your keys and messages are kept");
    fails(&output, 1, &format!("grotto login {}", alice.user));
    let mut login = alice.login(&server.place);
    login.insert(0, "--json");
    let output = alice.run_with_input(&login, "wrong password");
    assert_eq!(code(&output), Some(1), "{}", said(&output));
    let output = alice.run_with_input(&login, PASSWORD);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    assert_eq!(device(&alice), fingerprint, "the same device with the same keys");
    let history = alice.json(&["history", &room, "--limit", "50"]);
    let old = history.iter().find(|line| line["event_id"] == event.as_str()).unwrap();
    assert_eq!((&old["type"], &old["body"]), (&json!("message"), &json!("before the end")));
    fails(&alice.run_with_input(&alice.login(&server.place), PASSWORD), 1, "logged in already");
}

#[test]
fn a_login_that_was_ended_is_told_and_keeps_its_keys_until_somebody_says_otherwise() {
    let place = On::Synapse.shared();
    let alice = Grotto::log_in(place, "hard");
    alice.json(&["create", "--name", "Garden"]);
    let token = rig::log_in(&place.base, &alice.user, PASSWORD);
    let call = |method: &str, path: &str, body: Value| {
        rig::http(&place.base, method, &format!("/_matrix/client/v3/{path}"), Some(&token), &body)
    };
    let devices = call("GET", "devices", Value::Null);
    let whoami = call("GET", "account/whoami", Value::Null);
    let devices = devices["devices"].as_array().unwrap().iter();
    let other = devices.map(|it| &it["device_id"]).find(|id| **id != whoami["device_id"]);
    let auth = json!({
        "type": "m.login.password", "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": alice.user},
    });
    let asked = json!({"devices": [other.unwrap()]});
    let session = call("POST", "delete_devices", asked.clone())["session"].clone();
    let mut proved = asked;
    proved["auth"] = auth;
    proved["auth"]["session"] = session;
    let deleted = call("POST", "delete_devices", proved);
    assert_eq!(deleted, json!({}));

    let files = crate::headless::files(&alice.home);
    let store = files.iter().find(|path| path.ends_with("store.db")).unwrap();
    fails(&alice.run(&["rooms"]), 1, "this device is logged out");
    assert!(store.exists());
    let login = alice.login(place);
    fails(&alice.run_with_input(&login, PASSWORD), 1, "its keys and messages are still here");
    assert!(store.exists());
    let output = alice.run(&["logout", "--yes"]);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    assert!(!store.exists());
    let output = alice.run_with_input(&login, PASSWORD);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
}

/// A way to a homeserver on which the answers to renewals are lost so often.
fn losing(base: &str, times: usize) -> Place {
    let (base, left) = (base.to_owned(), AtomicUsize::new(times));
    Place::at(web::serve(move |asked| {
        let answer = web::ask(&base, &asked);
        let is_renewal = asked.path().ends_with("/refresh");
        let lose = |left: usize| left.checked_sub(1);
        let is_lost =
            is_renewal && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok();
        answer.filter(|_| !is_lost)
    }))
}

#[test]
fn an_answer_to_a_renewal_that_is_lost_locks_nobody_out() {
    let server = short_lived(json!({}));
    let place = losing(&server.place.base, 2);
    let alice = Grotto::log_in(&place, "lost");
    alice.json(&["create", "--name", "Garden"]);
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let begun = Instant::now();
    while begun.elapsed() < 3 * LIFE {
        send(&alice, &["Garden", "tick"]);
        tail.find("her message", |line| line["body"] == "tick");
    }
    assert_eq!(tail.terminate(), Some(0));
    outlive(&place, &alice);
    send(&alice, &["Garden", "tock"]);
}
