//! Recovery as a person does it: a recovery key is made on one device and opens the account's
//! messages on the next.

use std::{fs, process::Stdio, time::Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    cutter::{Cut, Cutter},
    grotto::Grotto,
    headless::{code, fails, said},
    homeserver::{On, Place},
    rig::{self, PASSWORD},
    scenario,
};

scenario::on_both! {
    a_recovery_key_opens_old_messages_on_the_next_device,
    a_second_recovery_key_is_not_made_by_mistake,
    a_login_in_a_terminal_ends_with_the_recovery_key_and_readable_messages,
    test_backup_wrong_recovery_key_fails,
    a_recovery_key_that_nobody_wrote_down_is_shown_again_after_a_restart,
    recovery_is_set_up_renewed_and_used_beside_a_screen_that_holds_the_account,
    a_recovery_whose_holder_is_killed_is_done_by_who_waits_for_it,
    a_reset_identity_leaves_the_recovery_key_out_of_date_until_it_is_typed,
}

/// Another device of the same account.
pub(crate) fn second(place: &Place, first: &Grotto) -> Grotto {
    let grotto = Grotto { home: rig::folder("grotto"), user: first.user.clone() };
    let output = grotto.run_with_input(&grotto.login(place), PASSWORD);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    grotto
}

/// Makes a recovery key.
pub(crate) fn set_up(grotto: &Grotto) -> String {
    let made = grotto.json(&["setup-recovery"]);
    made[0]["recovery_key"].as_str().unwrap().to_owned()
}

/// Recovers with a key in a file.
pub(crate) fn recover(grotto: &Grotto, key: &str) -> Value {
    let file = grotto.home.join("recovery-key");
    fs::write(&file, key).unwrap();
    let lines = grotto.json(&["recover", "--recovery-key-file", file.to_str().unwrap()]);
    lines.into_iter().next().unwrap()
}

fn a_recovery_key_opens_old_messages_on_the_next_device(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "recover");
    let key = set_up(&old);
    let again = old.run(&["setup-recovery"]);
    fails(&again, 1, "recovery key already");
    old.json(&["create", "--name", "Attic"]);
    old.json(&["send", "Attic", "the box with the letters"]);
    let tail = old.tail();
    await_backup(&old);
    drop(tail);

    let new = second(place, &old);
    let recovered = recover(&new, &key);
    assert_eq!(recovered["cross_signed"], true, "{recovered}");
    assert_eq!(recovered["backup_version"], "1", "{recovered}");
    assert_eq!(recovered["keys_restored"], 1, "{recovered}");
    let history = new.json(&["history", "Attic"]);
    assert!(history.iter().any(|line| line["body"] == "the box with the letters"), "{history:?}");
}

fn a_second_recovery_key_is_not_made_by_mistake(on: On) {
    let place = on.shared();
    let grotto = Grotto::log_in(place, "twice");
    // It keeps the storage open, so that another key could be made.
    let mut tail = grotto.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let key = set_up(&grotto);
    fails(&grotto.run(&["setup-recovery"]), 1, "recovery key already");
    assert_eq!(tail.terminate(), Some(0));
    let next = second(place, &grotto);
    assert_eq!(recover(&next, &key)["cross_signed"], true);
}

fn a_login_in_a_terminal_ends_with_the_recovery_key_and_readable_messages(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "terminal");
    let key = set_up(&old);
    old.json(&["create", "--name", "Attic"]);
    old.json(&["send", "Attic", "the box with the letters"]);
    let tail = old.tail();
    await_backup(&old);
    drop(tail);

    let new = Grotto { home: rig::folder("grotto"), user: old.user.clone() };
    let mut login = new.login(place);
    login.retain(|argument| !["--password-file", "-"].contains(argument));
    let mut terminal = new.start((150, 24), &login);
    terminal.shows("Password of");
    terminal.type_keys(&format!("{PASSWORD}\r"));
    terminal.shows("Passphrase for messages");
    terminal.type_keys("\r");
    terminal.shows("Recovery key or its passphrase");
    terminal.type_keys(&format!("{key}\r"));
    let screen = terminal.shows("1 key restored");
    assert!(!screen.iter().any(|row| row.contains("not verified yet")), "{screen:#?}");
    // The progress made room for what came of it.
    assert!(screen.iter().any(|row| row.starts_with("this device is signed")), "{screen:#?}");
    assert_eq!(terminal.exit_status(), 0);
    let recording = fs::read(&terminal.recording).unwrap();
    assert!(!recording.windows(9).any(|part| part == &key.as_bytes()[..9]), "the key was shown");
    let history = new.json(&["history", "Attic"]);
    assert!(history.iter().any(|line| line["body"] == "the box with the letters"), "{history:?}");
}

/// Waits until the backup has all keys.
pub(crate) fn await_backup(grotto: &Grotto) {
    let mut last = Value::Null;
    for _ in 0..1_000 {
        last = grotto.json(&["keys", "status"]).remove(0)["backup"].take();
        if last["trusted"] == true && last["to_upload"] == 0 {
            return;
        }
    }
    panic!("the keys never came to the backup: {last}");
}

fn test_backup_wrong_recovery_key_fails(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "recoverwrong");
    let _key = set_up(&old);
    let new = second(place, &old);
    for (text, words) in [
        ("EsSz ykH7 LCZx 7Cae cmKD wcmY JRXi Ybtu 8iQ3 t8Ez nRwK pUY1", "not the account's"),
        ("EsSz ykH7", "not a recovery key"),
    ] {
        let output = new.run_with_input(&["recover", "--recovery-key-file", "-"], text);
        fails(&output, 1, words);
    }
    let output = new.run_with_input(&["recover", "--recovery-key-file", "-"], "\n");
    fails(&output, 1, "empty");
    fails(&new.run(&["recover"]), 2, "--recovery-key-file");
}

/// The recovery key that stands on a screen.
fn key_on(screen: &[String]) -> String {
    let groups = screen.iter().flat_map(|row| row.split_whitespace());
    let is_group = |word: &&str| word.len() == 4 && word.chars().all(|c| c.is_ascii_alphanumeric());
    let is_other = |word: &&str| !(is_group(word) && word.starts_with("Es"));
    groups.skip_while(is_other).filter(is_group).take(12).collect::<Vec<_>>().join(" ")
}

fn a_recovery_key_that_nobody_wrote_down_is_shown_again_after_a_restart(on: On) {
    let grotto = Grotto::log_in(on.shared(), "keytokeep");
    let mut terminal = grotto.open((80, 24));
    terminal.shows("Without a recovery key");
    terminal.type_keys("\x1bs");
    terminal.shows("Make a recovery key?");
    terminal.type_keys("y");
    let made = key_on(&terminal.shows("Your recovery key:"));
    assert_eq!(made.len(), 12 * 4 + 11, "{made}");
    terminal.type_keys("\r");
    terminal.shows("waits to be written down");
    terminal.type_keys("\x11");
    assert_eq!(terminal.exit_status(), 0);

    let mut terminal = grotto.open((80, 24));
    terminal.shows("waits to be written down");
    terminal.type_keys("\x1bs");
    assert_eq!(key_on(&terminal.shows("Your recovery key:")), made);
    terminal.type_keys("y");
    terminal.shows("all set: your recovery key opens everything");
    let left = terminal.screen().join("\n");
    assert!(!left.contains("recovery key waits"), "{left}");
}

fn recovery_is_set_up_renewed_and_used_beside_a_screen_that_holds_the_account(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "beside");
    let mut screen = old.open((80, 24));
    screen.shows("Without a recovery key");
    let first = set_up(&old);
    screen.shows("all set: your recovery key opens everything");
    fails(&old.run(&["setup-recovery"]), 1, "--new-key");
    let renewed = old.json(&["setup-recovery", "--new-key"]);
    let key = renewed[0]["recovery_key"].as_str().unwrap();
    assert_ne!(key, first);

    let new = second(place, &old);
    let mut other = new.open((80, 24));
    other.shows("Old messages are locked");
    let output = new.run_with_input(&["recover", "--recovery-key-file", "-"], &first);
    fails(&output, 1, "not the account's");
    fails(&new.run(&["setup-recovery", "--new-key"]), 1, "does not have all");
    assert_eq!(recover(&new, key)["cross_signed"], true);
    other.shows("all set: your recovery key opens everything");
}

fn a_recovery_whose_holder_is_killed_is_done_by_who_waits_for_it(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "heir");
    let key = set_up(&old);
    let (cutter, through) = Cutter::before(place);
    let new = second(&through, &old);
    let mut tail = new.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    // What is asked of the holder from here on is not answered.
    cutter.arm(Cut::Mute);
    let file = new.home.join("key");
    fs::write(&file, &key).unwrap();
    let arguments = ["--json", "recover", "--recovery-key-file", file.to_str().unwrap()];
    let mut command = new.command(&arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let recovering = command.spawn().unwrap();
    let holder = Pid::from_raw(i32::try_from(tail.pid()).unwrap()).unwrap();
    kill_process(holder, Signal::KILL).unwrap();
    cutter.arm(Cut::None);
    let output = rig::finish(recovering);
    assert!(output.status.success(), "{}", said(&output));
    let recovered: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(recovered["cross_signed"], true, "{recovered}");
}

fn a_reset_identity_leaves_the_recovery_key_out_of_date_until_it_is_typed(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "resetkeys");
    let key = set_up(&old);
    let reset = ["--json", "reset-identity", "--yes", "--password-file", "-"];
    let output = old.run_with_input(&reset, PASSWORD);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["recovery"]["state"], "out_of_date", "{printed}");
    // A process that just started looks at its identity first.
    let mut tail = old.tail();
    let give_up = Instant::now() + rig::PATIENCE;
    loop {
        let recovery = old.json(&["keys", "status"]).remove(0)["recovery"].take();
        if recovery["state"] == "out_of_date" {
            break;
        }
        assert!(Instant::now() < give_up, "{recovery}");
    }
    assert_eq!(tail.terminate(), Some(0));
    recover(&old, &key);
    let new = second(place, &old);
    assert_eq!(recover(&new, &key)["cross_signed"], true);
}
