//! Commands as scripts run them: the real program, a real homeserver, a real peer.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    homeserver::On,
    rig::{self, Lines, PASSWORD, Peer, Stack},
    scenario,
};

scenario::everywhere! {
    a_script_talks_while_another_process_holds_the_account,
    standard_input_is_a_message_and_a_direct_chat_is_found_by_its_user,
    a_direct_chat_one_is_invited_to_is_one_as_soon_as_one_has_joined,
    commands_at_the_same_moment_all_arrive_once,
    a_tail_goes_on_when_the_process_that_held_the_account_ends,
    a_holder_that_was_killed_leaves_nothing_in_the_way,
    login_undoes_what_it_cannot_finish,
    an_unreachable_server_is_exit_code_4,
    a_locked_store_is_exit_code_3,
    a_store_that_cannot_be_read_can_be_given_up,
    logout_is_refused_while_the_account_is_held_and_leaves_nothing_afterwards,
    nothing_readable_is_on_the_disk,
    commands_work_while_the_interface_is_open_and_while_it_closes,
}

/// Alice with a tail that follows everything, bob as an echo, and their room.
pub(crate) struct Scene {
    pub(crate) alice: Grotto,
    pub(crate) tail: Lines,
    pub(crate) bob: Peer,
    pub(crate) room: String,
}

fn scene(on: On, name: &str) -> Scene {
    let place = on.shared();
    let base = place.base.as_str();
    play(base, Grotto::log_in(place, name))
}

/// The scene with an alice who is logged in already.
pub(crate) fn play(base: &str, alice: Grotto) -> Scene {
    let mut bob = Peer::start_echo(Stack::Nio, base, "bob");
    let created = alice.json(&["create", "--name", "Garden", "--invite", &bob.user]);
    let room = created[0]["room_id"].as_str().unwrap().to_owned();
    bob.find("bob's join", |line| line["k"] == "joined" && line["room"] == room.as_str());
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    // The peer can talk in a room once its own sync has brought it.
    send(&alice, &[&room, "welcome"]);
    bob.hears("welcome");
    Scene { alice, tail, bob, room }
}

pub(crate) fn send(alice: &Grotto, arguments: &[&str]) -> String {
    let sent = alice.json(&[&["send"], arguments].concat());
    assert_eq!(sent.len(), 1);
    assert!(sent[0]["txn"].is_string() && sent[0]["room_id"].is_string(), "{sent:?}");
    sent[0]["event_id"].as_str().unwrap().to_owned()
}

pub(crate) fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks exit code and words of a command that must fail.
#[track_caller]
pub(crate) fn fails(output: &Output, expected: i32, words: &str) {
    assert_eq!(code(output), Some(expected), "{}", said(output));
    assert!(said(output).contains(words), "says not {words:?} but: {}", said(output));
    assert!(output.stdout.is_empty(), "a failure printed a result");
}

fn a_script_talks_while_another_process_holds_the_account(on: On) {
    let Scene { alice, mut tail, mut bob, room } = scene(on, "alice");
    let first = send(&alice, &[&room, "hello **日本** 👍"]);
    let heard = bob.hears("hello **日本** 👍");
    assert_eq!(heard["content"]["formatted_body"], "hello <strong>日本</strong> 👍");
    let own = tail.find("her own message", |line| line["event_id"] == first.as_str());
    assert_eq!((&own["type"], &own["encrypted"]), (&json!("message"), &json!(true)));
    let echo = tail.find("the echo", |line| line["body"] == "echo: hello **日本** 👍");
    let expected = json!({
        "type": "message", "room_id": room, "ts": echo["ts"], "event_id": echo["event_id"],
        "sender": bob.user, "kind": "notice", "body": "echo: hello **日本** 👍", "encrypted": true,
        "shield": echo["shield"], "shield_reason": echo["shield_reason"], "edited": false,
    });
    assert_eq!(without_nulls(&echo), without_nulls(&expected));

    send(&alice, &["Garden", "better", "--edit", &first]);
    let edit = tail.find("the edit", |line| line["type"] == "edit");
    assert_eq!((&edit["relates_to"], &edit["body"]), (&json!(first), &json!("better")));
    send(&alice, &["Garden", "--react", "👍", &first]);
    let reaction = tail.find("the reaction", |line| line["type"] == "reaction");
    assert_eq!((&reaction["relates_to"], &reaction["key"]), (&json!(first), &json!("👍")));
    send(&alice, &["Garden", "so it is", "--reply", &first]);
    let reply = tail.find("the reply", |line| line["body"] == "so it is");
    assert_eq!(reply["reply_to"], first.as_str());

    for about in [["--reply", "$nothing"], ["--edit", "$nothing"]] {
        let refused = alice.run(&[&["send", "Garden", "lost"][..], &about].concat());
        fails(&refused, 1, "this room has no event $nothing");
    }

    bob.ask(json!({"do": "redact", "room": room, "event": echo["event_id"]}));
    let deletion = tail.find("the redaction", |line| line["type"] == "redaction");
    assert_eq!(deletion["relates_to"], echo["event_id"]);
    assert_eq!(tail.terminate(), Some(0));

    let history = alice.json(&["history", "Garden"]);
    let of = |kind: &str| history.iter().filter(|line| line["type"] == kind).count();
    assert_eq!((of("edit"), of("reaction"), of("undecryptable")), (1, 1, 0), "{history:#?}");
    let message = history.iter().find(|line| line["event_id"] == first.as_str()).unwrap();
    assert_eq!(message["edited"], true);
    let at = |event: &Value| history.iter().position(|line| line["event_id"] == *event).unwrap();
    let order = [&edit, &reaction, &reply].map(|line| at(&line["event_id"]));
    assert!(at(&message["event_id"]) < order[0] && order.is_sorted(), "newest last");
}

fn without_nulls(value: &Value) -> Value {
    let fields = value.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn standard_input_is_a_message_and_a_direct_chat_is_found_by_its_user(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let alice = Grotto::log_in(place, "dmalice");
    let mut bob = Peer::start(Stack::Nio, base, "dmbob");
    fails(&alice.run(&["send", &bob.user, "x"]), 1, "direct chat");
    alice.json(&["create", "--dm", "--invite", &bob.user]);
    bob.find("bob's join", |line| line["k"] == "joined");
    let output = alice.run_with_input(&["send", &bob.user, "-", "--plain"], "two\n*lines*\n");
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let heard = bob.hears("two\n*lines*");
    assert!(heard["content"]["formatted_body"].is_null(), "plain is plain");
    let rooms = alice.json(&["rooms"]);
    assert_eq!((&rooms[0]["kind"], &rooms[0]["encrypted"]), (&json!("dm"), &json!(true)));
    fails(&alice.run(&["send", "No such room", "x"]), 1, "grotto rooms");
    fails(&alice.run_with_input(&["send", &bob.user, "-"], "\n"), 1, "empty");
}

fn a_direct_chat_one_is_invited_to_is_one_as_soon_as_one_has_joined(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let alice = Grotto::log_in(place, "invited");
    let mut bob = Peer::start(Stack::Nio, base, "inviter");
    let made = bob.ask(json!({"do": "create", "direct": true, "invite": [alice.user]}));
    alice.json(&["join", made["room"].as_str().unwrap()]);
    let rooms = alice.json(&["rooms"]);
    assert_eq!((&rooms[0]["kind"], &rooms[0]["room_id"]), (&json!("dm"), &made["room"]));
}

fn commands_at_the_same_moment_all_arrive_once(on: On) {
    let Scene { alice, mut tail, mut bob, room } = scene(on, "manyalice");
    assert_eq!(tail.terminate(), Some(0));
    let bodies: Vec<String> = (0..8).map(|number| format!("at once {number}")).collect();
    let children: Vec<_> = bodies
        .iter()
        .map(|body| {
            let mut command = alice.command(&["send", &room, body]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = rig::finish(child);
        assert_eq!(code(&output), Some(0), "{}", said(&output));
    }
    for body in &bodies {
        bob.hears(body);
    }
    let doubled: Vec<_> = bob.unread().iter().filter(|line| line["k"] == "decrypted").collect();
    let again = doubled.iter().filter(|line| bodies.iter().any(|b| line["content"]["body"] == **b));
    assert_eq!(again.count(), 0, "{doubled:#?}");
}

fn a_tail_goes_on_when_the_process_that_held_the_account_ends(on: On) {
    let Scene { alice, tail: mut first, mut bob, room } = scene(on, "heir");
    let mut second = alice.tail();
    second.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    bob.say(&room, "before");
    second.find("a message as a guest", |line| line["body"] == "before");
    assert_eq!(first.terminate(), Some(0));
    bob.say(&room, "after");
    second.find("a message as the holder", |line| line["body"] == "after");
    assert_eq!(second.terminate(), Some(0));
}

fn a_holder_that_was_killed_leaves_nothing_in_the_way(on: On) {
    let Scene { alice, tail, mut bob, room } = scene(on, "killed");
    let pid = rustix::process::Pid::from_raw(i32::try_from(tail.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    send(&alice, &[&room, "after the kill"]);
    bob.hears("after the kill");
}

fn login_undoes_what_it_cannot_finish(on: On) {
    let place = on.shared();
    let user = rig::register(&place.base, "carol");
    let carol = Grotto { home: rig::folder("carol"), user: user.clone() };
    let login = carol.login(place);
    let refused = carol.run_with_input(&login, "wrong");
    fails(&refused, 1, "wrong user name or password");
    let nowhere = format!("http://127.0.0.1:{}", rig::free_port());
    let login_nowhere = ["login", &user, "--homeserver", &nowhere, "--password-file", "-"];
    fails(&carol.run_with_input(&login_nowhere, PASSWORD), 4, "homeserver");
    let no_password = ["login", &user, "--homeserver", &place.base];
    fails(&carol.run(&no_password), 2, "--password-file");
    assert!(!carol.home.join("xdg_data_home/grotto/accounts").exists(), "a folder was left");
    fails(&carol.run(&["rooms"]), 1, "grotto login");

    let output = carol.run_with_input(&login, PASSWORD);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    assert!(said(&output).contains("passphrase set"), "the warning: {}", said(&output));
    fails(&carol.run_with_input(&login, PASSWORD), 1, "logged in already");
}

fn an_unreachable_server_is_exit_code_4(on: On) {
    let alice = Grotto::log_in(on.shared(), "offline");
    let config = alice.home.join("config.toml");
    let nowhere = format!("http://127.0.0.1:{}", rig::free_port());
    let text = format!("[accounts.a]\nuser_id = {:?}\nhomeserver = {nowhere:?}\n", alice.user);
    fs::write(&config, text).unwrap();
    let global = ["--config", config.to_str().unwrap(), "--timeout", "500ms"];
    fails(&alice.run(&[&global[..], &["rooms"]].concat()), 4, "--timeout");
    fails(&alice.run(&[&global[..], &["send", "!r", "x"]].concat()), 4, "--timeout");
}

fn a_locked_store_is_exit_code_3(on: On) {
    let home = rig::folder("passphrase");
    let file = |name: &str, text: &str| {
        let path = home.join(name);
        fs::write(&path, format!("{text}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong, new) =
        (file("right", "open sesame"), file("wrong", "sesame"), file("new", "a new one"));
    let place = on.shared();
    let alice = Grotto::log_in_with(place, "locked", &["--passphrase-file", &right]);
    fails(&alice.run(&["rooms"]), 3, "--passphrase-file");
    fails(&alice.run(&["rooms", "--passphrase-file", &wrong]), 3, "wrong passphrase");
    assert_eq!(code(&alice.run(&["rooms", "--passphrase-file", &right])), Some(0));

    let change = ["passphrase", "change", "--new-passphrase-file", &new, "--passphrase-file"];
    fails(&alice.run(&[&change[..], &[&wrong]].concat()), 3, "wrong passphrase");
    assert_eq!(code(&alice.run(&[&change[..], &[&right]].concat())), Some(0));
    fails(&alice.run(&["rooms", "--passphrase-file", &right]), 3, "wrong passphrase");
    fails(&alice.run(&["passphrase", "set", "--new-passphrase-file", &new]), 3, "change");
    let remove = alice.run(&["passphrase", "remove", "--passphrase-file", &new]);
    assert_eq!(code(&remove), Some(0), "{}", said(&remove));
    assert_eq!(code(&alice.run(&["rooms"])), Some(0));
}

fn a_store_that_cannot_be_read_can_be_given_up(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "giveup");
    let accounts = alice.home.join("xdg_data_home/grotto/accounts");
    let account = fs::read_dir(accounts).unwrap().next().unwrap().unwrap().path();
    fs::write(account.join("store.db"), vec![7; 65536]).unwrap();
    fails(&alice.run(&["logout", "--yes"]), 1, "grotto logout --local");
    let given_up = alice.run(&["logout", "--local", "--yes"]);
    assert_eq!(code(&given_up), Some(0), "{}", said(&given_up));
    assert!(said(&given_up).contains("the server was not told"), "{}", said(&given_up));
    assert_eq!(code(&alice.run_with_input(&alice.login(place), PASSWORD)), Some(0));
}

fn logout_is_refused_while_the_account_is_held_and_leaves_nothing_afterwards(on: On) {
    let alice = Grotto::log_in(on.shared(), "leaver");
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let pid = tail.pid().to_string();
    fails(&alice.run(&["logout", "--yes"]), 1, &pid);
    fails(&alice.run(&["passphrase", "remove"]), 1, &pid);
    assert_eq!(tail.terminate(), Some(0));
    let logout = alice.run(&["logout", "--yes"]);
    assert_eq!(code(&logout), Some(0), "{}", said(&logout));
    let accounts = alice.home.join("xdg_data_home/grotto/accounts");
    assert_eq!(files(&accounts), Vec::<std::path::PathBuf>::new());
    fails(&alice.run(&["rooms"]), 1, "grotto login");
}

fn nothing_readable_is_on_the_disk(on: On) {
    let Scene { alice, mut tail, mut bob, room } = scene(on, "secret");
    send(&alice, &[&room, "xyzzy-plugh-7731", "-vv"]);
    bob.hears("xyzzy-plugh-7731");
    tail.find("the echo", |line| line["body"] == "echo: xyzzy-plugh-7731");
    // While it runs (with its write-ahead log), and after it ended.
    let secrets = ["xyzzy-plugh", PASSWORD, &synapse_token("syt", &alice.user), &room, "Garden"];
    nothing_of(&secrets, &alice.home);
    assert_eq!(tail.terminate(), Some(0));
    nothing_of(&secrets, &alice.home);
}

/// How Synapse's tokens of a user begin: access tokens with "syt", refresh tokens with "syr". The
/// kind alone is so short that it comes up in encrypted files by chance.
pub(crate) fn synapse_token(kind: &str, user: &str) -> String {
    let name = user.trim_start_matches('@').split(':').next().unwrap();
    format!("{kind}_{}", STANDARD_NO_PAD.encode(name))
}

/// Looks for these in every file.
pub(crate) fn nothing_of(secrets: &[&str], home: &Path) {
    let files = files(home);
    assert!(files.iter().any(|path| path.ends_with("store.db")), "{files:?}");
    for path in files {
        let Ok(bytes) = fs::read(&path) else { continue };
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret:?} is readable in {}", path.display());
        }
    }
}

/// Every file below a folder.
pub(crate) fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn commands_work_while_the_interface_is_open_and_while_it_closes(on: On) {
    let Scene { alice, mut tail, mut bob, room } = scene(on, "screen");
    assert_eq!(tail.terminate(), Some(0));
    let mut terminal = alice.open((80, 24));
    terminal.shows("Garden");
    send(&alice, &[&room, "sent beside the screen"]);
    bob.hears("sent beside the screen");
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    terminal.signal("SIGTERM");
    assert_eq!(terminal.exit_status(), 0);
    bob.say(&room, "the screen is closed");
    tail.find("a message", |line| line["body"] == "the screen is closed");
    // A second interface is a guest of the tail.
    let mut guest = alice.open((80, 24));
    guest.shows("Garden");
    guest.signal("SIGTERM");
    assert_eq!(guest.exit_status(), 0);
    assert_eq!(tail.terminate(), Some(0));
}
