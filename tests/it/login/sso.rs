//! Single sign-on: a link, a browser somewhere else, an address to paste back.

use std::fs;

use crate::{
    grotto::Grotto,
    headless::{fails, files, nothing_of, synapse_token},
    homeserver::{Homeserver, gateway},
    rig::{self, GROTTO, Terminal},
};

use super::{provider::Provider, web::browse};

/// Where browsers end.
const NOWHERE: &str = "https://grotto.invalid/";

/// A person at a terminal, wide enough for any address to stand on one line.
fn start(who: &Grotto, arguments: &[&str]) -> Terminal {
    let environment = who.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Terminal::start((400, 50), &[&[GROTTO], arguments].concat(), &environment)
}

/// The link on the screen.
fn link(terminal: &mut Terminal) -> String {
    terminal.shows("Passphrase for messages");
    terminal.type_keys("\r");
    let screen = terminal.shows("Address, or login token");
    let link = screen.iter().rev().find(|line| line.contains("/login/sso/redirect"));
    link.unwrap_or_else(|| panic!("no link: {screen:#?}")).trim().to_owned()
}

/// Waits until it failed with these words.
#[track_caller]
fn ends(terminal: &mut Terminal, words: &str) {
    assert_eq!(terminal.exit_status(), 1);
    let seen = fs::read(&terminal.recording).unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains(words), "says not {words:?} but: {seen}");
}

#[test]
fn signing_on_in_a_browser_elsewhere_logs_in() {
    let provider = Provider::start();
    let server = Homeserver::synapse_with(&provider.sign_on());
    let base = server.place.base.as_str();
    let who = Grotto { home: rig::folder("sso"), user: "@signedon:localhost".to_owned() };

    // Asked without a flag, the server's ways are offered, and its providers by name.
    let mut terminal = start(&who, &["-vvv", "login", &who.user, "--homeserver", base]);
    terminal.shows("Ways to log in");
    terminal.shows("single sign-on");
    terminal.type_keys("9\r");
    terminal.shows("none of these numbers");
    terminal.type_keys("2\r");
    terminal.shows("Acme Works");
    terminal.type_keys("1\r");
    let first = link(&mut terminal);
    assert!(first.contains("/login/sso/redirect/oidc-acme?"), "{first}");

    // Rubbish and an address of another attempt are refused, and asked for again.
    terminal.type_keys("https://evil.example/?loginToken=abc\r");
    terminal.shows("that is another address");
    let address = browse(&first, NOWHERE);
    let token = address.rsplit_once("loginToken=").unwrap().1.to_owned();
    terminal.type_keys(&format!("{NOWHERE}?grotto_state=0000&loginToken={token}\r"));
    terminal.shows("from another attempt");
    terminal.type_keys(&format!("{address}\r"));
    terminal.shows("is logged in as device");
    assert_eq!(terminal.exit_status(), 0);
    assert!(who.json(&["keys", "status"])[0]["uploaded"].as_bool().unwrap());

    // The token was neither echoed nor logged.
    let seen = fs::read(&terminal.recording).unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(!seen.contains(&token), "the token was on the screen");
    let tokens = ["syt", "syr"].map(|kind| synapse_token(kind, &who.user));
    nothing_of(&[&token, &tokens[0], &tokens[1]], &who.home);
    assert!(files(&who.home).iter().any(|path| path.ends_with("grotto.log")));
}

#[test]
fn a_provider_is_named_on_the_command_line_and_the_bare_token_will_do() {
    let provider = Provider::start();
    let server = Homeserver::synapse_with(&provider.sign_on());
    let base = server.place.base.as_str();
    let who = Grotto { home: rig::folder("sso"), user: "@signedon:localhost".to_owned() };
    let login = ["login", "localhost", "--homeserver", base, "--sso=beta"];

    fails(&who.run(&login), 2, "--device-code");
    let mut terminal = start(&who, &["login", "localhost", "--homeserver", base, "--sso=Gamma"]);
    ends(&mut terminal, "it has: Acme Works, Beta");
    let coded = who.run(&["login", "localhost", "--homeserver", base, "--device-code"]);
    fails(&coded, 1, "it offers a password, single sign-on (--sso)");

    let mut terminal = start(&who, &login);
    let address = browse(&link(&mut terminal), NOWHERE);
    let token = address.rsplit_once("loginToken=").unwrap().1;
    terminal.type_keys(&format!("{token}\r"));
    terminal.shows("@signedon:localhost is logged in as device");
    assert_eq!(terminal.exit_status(), 0);

    // Somebody else's login is not taken for one's own, and is ended again.
    let other = Grotto { home: rig::folder("sso"), user: "@other:localhost".to_owned() };
    let mut terminal =
        start(&other, &["login", &other.user, "--homeserver", base, "--sso=oidc-beta"]);
    let address = browse(&link(&mut terminal), NOWHERE);
    terminal.type_keys(&format!("{address}\r"));
    ends(&mut terminal, "that is the login of @signedon:localhost, not of @other:localhost");
    assert!(other.run(&["rooms"]).status.code() == Some(1), "nothing was kept");
}

#[test]
fn signing_on_goes_by_the_stream_that_is_named() {
    let provider = Provider::start();
    let server = Homeserver::synapse_with(&provider.sign_on());
    let place = gateway(&server.place.base);
    let stream = place.stream_url.unwrap();
    let who = Grotto { home: rig::folder("sso"), user: "@signedon:localhost".to_owned() };
    let login = ["--json", "login", &who.user, "--homeserver", &place.base, "--sso=beta"];
    let mut terminal = start(&who, &[&login[..], &["--stream-url", &stream]].concat());
    let address = browse(&link(&mut terminal), NOWHERE);
    terminal.type_keys(&format!("{address}\r"));
    terminal.shows(&format!("\"stream\":\"{stream}\""));
    assert_eq!(terminal.exit_status(), 0);
    assert!(who.json(&["keys", "status"])[0]["uploaded"].as_bool().unwrap());
}
