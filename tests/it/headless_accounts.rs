//! Several accounts in one home, and what is asked of somebody at a terminal.

use std::{fs, process::Command};

use serde_json::json;

use crate::{
    grotto::Grotto,
    headless::{code, fails, said},
    homeserver::{On, Place},
    rig::{self, GROTTO, PASSWORD, Terminal},
    scenario,
};

scenario::everywhere! {
    of_several_accounts_the_named_or_the_default_one_is_used,
}

// What a terminal asks does not depend on the way to the server.
scenario::on_both! {
    a_terminal_is_asked_for_password_and_passphrase_without_echo,
    answers_typed_ahead_are_taken_in_order_and_never_shown,
}

fn of_several_accounts_the_named_or_the_default_one_is_used(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "severala");
    let user = rig::register(&place.base, "severalb");
    let bob = Grotto { home: alice.home.clone(), user };
    let output = alice.run_with_input(&bob.login(place), PASSWORD);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    fails(&alice.run(&["rooms"]), 2, "--account");
    fails(&alice.run(&["--account", "nobody", "rooms"]), 1, "nobody");
    let create = ["--account", &alice.user, "create", "--name", "Attic"];
    alice.json(&create);
    let names = |arguments: &[&str]| -> Vec<String> {
        let rooms = alice.json(arguments);
        rooms.iter().map(|room| room["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["--account", &alice.user, "rooms"]), ["Attic"]);
    assert_eq!(names(&["--account", &bob.user, "rooms"]), [""; 0]);

    let config = alice.home.join("xdg_config_home/grotto/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    let text = format!(
        "[general]\ndefault_account = \"home\"\n[accounts.home]\nuser_id = {:?}\n",
        alice.user
    );
    fs::write(&config, text).unwrap();
    assert_eq!(names(&["rooms"]), ["Attic"]);
    assert_eq!(names(&["--account", "home", "rooms"]), ["Attic"]);
    let output = alice.command(&["--json", "rooms"]).env("GROTTO_ACCOUNT", &bob.user).output();
    let output = output.unwrap();
    assert_eq!((code(&output), output.stdout.len()), (Some(0), 0), "{}", said(&output));
}

/// Waits until a question is on the screen so many times.
fn asks(terminal: &mut Terminal, question: &str, times: usize) {
    while terminal.shows(question).iter().filter(|line| line.contains(question)).count() < times {}
}

fn a_terminal_is_asked_for_password_and_passphrase_without_echo(on: On) {
    let place = on.shared();
    let asked = Asked::new(place, "asked");
    let mut login = asked.login(place);
    for (question, times, answer) in [
        ("Password of", 1, PASSWORD),
        ("Passphrase for messages", 1, "open sesame"),
        ("The same again", 1, "open sesami"),
        ("Passphrase for messages", 2, "open sesame"),
        ("The same again", 2, "open sesame"),
    ] {
        asks(&mut login, question, times);
        login.type_keys(&format!("{answer}\r"));
    }
    login.shows("is logged in as device");
    assert_eq!(login.exit_status(), 0);

    let mut rooms = asked.start(&[&[GROTTO, "keys", "status"]]);
    asks(&mut rooms, "Passphrase of the store", 1);
    rooms.type_keys("wrong\r");
    asks(&mut rooms, "Passphrase of the store", 2);
    rooms.type_keys("open sesame\r");
    rooms.shows("fingerprint");
    assert_eq!(rooms.exit_status(), 0);
    [login, rooms].iter().for_each(nothing_was_shown);
}

fn answers_typed_ahead_are_taken_in_order_and_never_shown(on: On) {
    let place = on.shared();
    let asked = Asked::new(place, "ahead");
    let mut login = asked.login(place);
    login.shows("Password of");
    let answers = [PASSWORD, "open sesame", "open sesami", "open sesame", "open sesame", ""];
    login.type_keys(&answers.join("\r"));
    login.shows("is logged in as device");
    assert_eq!(login.exit_status(), 0);
    let mut status = asked.start(&[&[GROTTO, "keys", "status"]]);
    status.shows("Passphrase of the store");
    status.type_keys("wrong\ropen sesame\r");
    status.shows("fingerprint");
    assert_eq!(status.exit_status(), 0);
    [login, status].iter().for_each(nothing_was_shown);
}

#[test]
fn however_a_question_ends_the_terminal_is_as_it_was() {
    let place = On::Serve.shared();
    let asked = Asked::new(place, "interrupted");
    let arguments = asked.arguments(place);
    let script = r#"
        trap : INT TERM
        check() { [ "$before" = "$(stty -g)" ] && echo "$1: as it was" || stty -a; }
        before=$(stty -g)
        "$@"; check "ended by $?"
        "$@"; check "ended by $?, again"
        set -m
        "$@"; check stopped
        fg > /dev/null; check "ended by $?, after a stop"
        "$@"; check "ended by $?, for good""#;
    let mut shell = asked.start(&[&["bash", "-c", script, "bash", GROTTO], &arguments]);
    asks(&mut shell, "Password of", 1);
    shell.type_keys("open sesam\u{3}");
    shell.shows("ended by 1: as it was");
    asks(&mut shell, "Password of", 2);
    end_child(&mut shell);
    shell.shows("ended by 1, again: as it was");
    asks(&mut shell, "Password of", 3);
    shell.type_keys("open sesam\u{1a}");
    shell.shows("stopped: as it was");
    asks(&mut shell, "Password of", 4);
    shell.type_keys("\u{4}");
    shell.shows("ended by 1, after a stop: as it was");
    asks(&mut shell, "Password of", 5);
    shell.type_keys("open sesam\u{1c}");
    shell.shows("ended by 131, for good: as it was");
    assert_eq!(shell.exit_status(), 0);
    nothing_was_shown(&shell);
}

/// Sends SIGTERM to what a shell runs.
fn end_child(shell: &mut Terminal) {
    let pid = shell.ask(&json!({ "do": "pid" }))["pid"].as_u64().unwrap();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let ended = Command::new("kill").args(["-TERM", children.trim()]).status().unwrap();
    assert!(ended.success());
}

/// An account that is made at a terminal.
struct Asked {
    grotto: Grotto,
}

impl Asked {
    fn new(place: &Place, name: &str) -> Self {
        let user = rig::register(&place.base, name);
        Self { grotto: Grotto { home: rig::folder("asked"), user } }
    }

    /// How it logs in, so that it is asked for everything.
    fn arguments<'a>(&'a self, place: &'a Place) -> Vec<&'a str> {
        let mut arguments = self.grotto.login(place);
        arguments.retain(|argument| !["--password-file", "-"].contains(argument));
        arguments
    }

    fn login(&self, place: &Place) -> Terminal {
        self.start(&[&[GROTTO], &self.arguments(place)])
    }

    fn start(&self, program: &[&[&str]]) -> Terminal {
        let environment = self.grotto.environment();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Terminal::start((150, 24), &program.concat(), &environment)
    }
}

fn nothing_was_shown(terminal: &Terminal) {
    let seen = fs::read(&terminal.recording).unwrap();
    for secret in [PASSWORD, "open sesam"] {
        let found = seen.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret:?} was on the screen");
    }
}
