//! A code that is allowed in a browser elsewhere, on a Synapse that leaves logins to an
//! authorization server.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::{
    grotto::Grotto,
    headless::{fails, nothing_of, send},
    homeserver::{Homeserver, gateway},
    rig::{self, GROTTO, Terminal},
};

use super::provider::Provider;

/// Synapse, and who logs people in for it.
pub(super) fn delegated() -> (Provider, Homeserver) {
    let provider = Provider::start();
    let server = Homeserver::synapse_with(&provider.delegation());
    (provider, server)
}

/// A login that waits, with nobody at a terminal.
pub(super) struct Waiting {
    child: Child,
    words: BufReader<std::process::ChildStderr>,
    /// All that was said so far.
    pub(super) said: String,
}

impl Waiting {
    pub(super) fn start(who: &Grotto, base: &str) -> Self {
        Self::start_with(who, base, &[])
    }

    /// The same with more arguments.
    fn start_with(who: &Grotto, base: &str, more: &[&str]) -> Self {
        let arguments =
            ["-vvv", "--json", "login", &who.user, "--homeserver", base, "--device-code"];
        let mut command = who.command(&[&arguments[..], more].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let words = BufReader::new(child.stderr.take().unwrap());
        Self { child, words, said: String::new() }
    }

    /// The code that is shown.
    pub(super) fn code(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.words.read_line(&mut line).unwrap() > 0, "no code: {}", self.said);
            self.said.push_str(&line);
            if let Some(code) = line.strip_prefix("Code: ") {
                return code.trim().to_owned();
            }
        }
    }

    /// Exit code and what was printed.
    pub(super) fn end(mut self) -> (Option<i32>, String, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.words.read_to_string(&mut self.said).unwrap();
        (self.child.wait().unwrap().code(), out, self.said)
    }
}

/// Somebody who is logged in by a code.
pub(super) fn log_in(provider: &Provider, server: &Homeserver, name: &str) -> Grotto {
    let who = Grotto { home: rig::folder("code"), user: format!("@{name}:localhost") };
    let mut waiting = Waiting::start(&who, &server.place.base);
    provider.allow(&server.place.base, &waiting.code(), name);
    let (code, out, said) = waiting.end();
    assert_eq!(code, Some(0), "{said}");
    let done: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(done["user_id"], who.user.as_str());
    who
}

#[test]
fn a_code_allowed_elsewhere_logs_in_without_a_terminal_and_logging_out_gives_the_tokens_back() {
    let (provider, server) = delegated();
    let alice = log_in(&provider, &server, "alice");
    assert!(alice.json(&["keys", "status"])[0]["uploaded"].as_bool().unwrap());
    alice.json(&["create", "--name", "Garden"]);
    send(&alice, &["Garden", "hello"]);
    let secrets = provider.with(|state| state.secrets());
    assert!(secrets.len() >= 2, "{secrets:?}");
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    nothing_of(&secrets, &alice.home);
    let asked = provider.with(|state| state.log.clone());
    let registered = asked.iter().filter(|(path, _)| path == "/register").count();
    assert_eq!(registered, 1);
    let scope = asked.iter().find(|(path, _)| path == "/device").unwrap().1["scope"].clone();
    assert!(scope.starts_with("urn:matrix:client:api:* urn:matrix:client:device:"), "{scope}");

    assert!(provider.with(|state| state.living("alice")) > 0);
    let output = alice.run(&["logout", "--yes"]);
    assert!(output.status.success(), "{}", crate::headless::said(&output));
    assert_eq!(provider.with(|state| state.living("alice")), 0);
    fails(&alice.run(&["rooms"]), 1, "no account yet");
}

#[test]
fn a_code_goes_by_the_stream_that_is_named() {
    let (provider, server) = delegated();
    let place = gateway(&server.place.base);
    let stream = place.stream_url.unwrap();
    let alice = Grotto { home: rig::folder("code"), user: "@alice:localhost".to_owned() };
    let mut waiting = Waiting::start_with(&alice, &place.base, &["--stream-url", &stream]);
    provider.allow(&place.base, &waiting.code(), "alice");
    let (code, out, said) = waiting.end();
    assert_eq!(code, Some(0), "{said}");
    let done: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(done["stream"], stream.as_str());
    assert!(alice.json(&["keys", "status"])[0]["uploaded"].as_bool().unwrap());
}

#[test]
fn refused_in_the_browser_or_known_by_older_names_only() {
    let (provider, server) = delegated();
    let base = server.place.base.as_str();
    let eve = Grotto { home: rig::folder("code"), user: "@eve:localhost".to_owned() };
    let mut waiting = Waiting::start(&eve, base);
    provider.deny(&waiting.code());
    let (code, out, said) = waiting.end();
    assert_eq!((code, out.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("refused in the browser"), "{said}");

    // Asked to slow down it does, and a server of before is asked by the names it knows.
    provider.with(|state| (state.slow_downs, state.is_old) = (1, true));
    log_in(&provider, &server, "eve");
    let scopes = provider.with(|state| {
        let devices = state.log.iter().filter(|(path, _)| path == "/device");
        devices.map(|(_, fields)| fields["scope"].clone()).collect::<Vec<_>>()
    });
    assert!(scopes.last().unwrap().contains("org.matrix.msc2967"), "{scopes:?}");
    assert_eq!(provider.with(|state| state.slow_downs), 0);

    // Of the login as somebody else nothing is kept.
    let bob = Grotto { home: rig::folder("code"), user: "@bob:localhost".to_owned() };
    let mut waiting = Waiting::start(&bob, base);
    provider.allow(base, &waiting.code(), "mallory");
    let (code, _, said) = waiting.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("that is the login of @mallory:localhost"), "{said}");
    assert_eq!(provider.with(|state| state.living("mallory")), 0);
}

#[test]
fn at_a_terminal_the_code_comes_with_a_picture_where_there_is_room() {
    let (provider, server) = delegated();
    let base = server.place.base.as_str();
    let carol = Grotto { home: rig::folder("code"), user: "@carol:localhost".to_owned() };
    let environment = carol.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // The only way the server has: nothing to choose.
    let login = [GROTTO, "login", &carol.user, "--homeserver", base];
    let mut small = Terminal::start((80, 12), &login, &environment);
    small.shows("Passphrase for messages");
    small.type_keys("\r");
    small.shows("Waiting for");
    assert!(!small.screen().iter().any(|line| line.contains('▀')));
    small.type_keys("\u{3}");
    assert_eq!(small.exit_status(), 1);

    let mut large = Terminal::start((100, 50), &login, &environment);
    large.shows("Passphrase for messages");
    large.type_keys("\r");
    let screen = large.shows("Waiting for");
    assert!(screen.iter().filter(|line| line.contains('▀')).count() > 10, "{screen:#?}");
    let code = screen.iter().find_map(|line| line.strip_prefix("Code: ")).unwrap();
    provider.allow(base, code.trim(), "carol");
    large.shows("is logged in as device");
    assert_eq!(large.exit_status(), 0);
}
