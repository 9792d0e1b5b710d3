//! Several accounts in one home, and what is asked of somebody at a terminal.

use std::fs;

use crate::{
    grotto::Grotto,
    headless::{code, fails, said},
    homeserver::On,
    rig::{self, GROTTO, PASSWORD, Terminal},
    scenario,
};

scenario::everywhere! {
    of_several_accounts_the_named_or_the_default_one_is_used,
}

// What a terminal asks does not depend on the way to the server.
scenario::on_both! {
    a_terminal_is_asked_for_password_and_passphrase_without_echo,
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
    let asked = Grotto { home: rig::folder("asked"), user: rig::register(&place.base, "asked") };
    let environment = asked.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let start = |arguments: &[&str]| {
        Terminal::start((150, 24), &[&[GROTTO], arguments].concat(), &environment)
    };
    let mut login = asked.login(place);
    login.retain(|argument| !["--password-file", "-"].contains(argument));
    let mut login = start(&login);
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

    let mut rooms = start(&["keys", "status"]);
    asks(&mut rooms, "Passphrase of the store", 1);
    rooms.type_keys("wrong\r");
    asks(&mut rooms, "Passphrase of the store", 2);
    rooms.type_keys("open sesame\r");
    rooms.shows("fingerprint");
    assert_eq!(rooms.exit_status(), 0);
    for terminal in [login, rooms] {
        let seen = fs::read(&terminal.recording).unwrap();
        for secret in [PASSWORD, "open sesam"] {
            let found = seen.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret:?} was on the screen");
        }
    }
}
