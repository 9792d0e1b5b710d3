//! Several accounts in one home, and what is asked of somebody at a terminal.

use std::fs;

use crate::{
    grotto::Grotto,
    headless::{code, fails, said},
    rig::{self, GROTTO, PASSWORD, Synapse, Terminal},
};

#[test]
fn of_several_accounts_the_named_or_the_default_one_is_used() {
    let base = Synapse::shared();
    let alice = Grotto::log_in(base, "severala");
    let bob = Grotto { home: alice.home.clone(), user: rig::register(base, "severalb") };
    let login = ["login", &bob.user, "--homeserver", base, "--password-file", "-"];
    let output = alice.run_with_input(&login, PASSWORD);
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

#[test]
fn a_terminal_is_asked_for_password_and_passphrase_without_echo() {
    let base = Synapse::shared();
    let asked = Grotto { home: rig::folder("asked"), user: rig::register(base, "asked") };
    let environment = asked.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let start = |arguments: &[&str]| {
        Terminal::start((150, 24), &[&[GROTTO], arguments].concat(), &environment)
    };
    let mut login = start(&["login", &asked.user, "--homeserver", base]);
    for (question, answer) in [
        ("Password of", PASSWORD),
        ("Passphrase for messages", "open sesame"),
        ("The same again", "open sesami"),
        ("not the same", "open sesame"),
    ] {
        login.shows(question);
        login.type_keys(&format!("{answer}\r"));
    }
    // The second question for the passphrase's repetition is told from the first by its number.
    while login.screen().iter().filter(|line| line.contains("The same again")).count() < 2 {
        login.shows("The same again");
    }
    login.type_keys("open sesame\r");
    login.shows("is logged in as device");
    assert_eq!(login.exit_status(), 0);

    let mut rooms = start(&["keys", "status"]);
    rooms.shows("Passphrase of the store");
    rooms.type_keys("wrong\r");
    rooms.shows("once more");
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
