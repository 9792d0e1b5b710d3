//! `grotto serve` as whoever runs it meets it: the first start, invitations, what is done beside it,
//! what it refuses.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use grotto::{link::Transport, wire::STREAM_PATH};
use serde_json::{Value, json};

use crate::{
    gateway::ends::{Client, remote, run},
    grotto::Grotto,
    headless::{code, fails, said},
    homeserver::Place,
    rig::{self, GROTTO, Lines, PASSWORD, Peer},
};

/// A running server of one's own; killed when dropped.
struct Served {
    lines: Lines,
    data: PathBuf,
    /// What it said once it listened.
    said: Value,
}

impl Served {
    /// Serves a folder, with these further arguments.
    fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(GROTTO);
        command.args(["--json", "serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        command.args(arguments);
        let mut lines = Lines::start(command);
        let said = lines.find("its address", |line| line["listening"].is_string());
        Self { lines, data: data.to_owned(), said }
    }

    fn place(&self) -> Place {
        Place::at(self.said["url"].as_str().unwrap())
    }

    /// Runs a subcommand on its folder; it must succeed. Its lines.
    fn admin(&self, arguments: &[&str]) -> Vec<Value> {
        let output = admin(&self.data, arguments);
        assert_eq!(code(&output), Some(0), "{arguments:?}: {}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn invite(&self) -> String {
        self.admin(&["invite"])[0]["invite"].as_str().unwrap().to_owned()
    }

    fn http(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Value {
        rig::http(&self.place().base, method, path, token, body)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.lines.terminate();
    }
}

fn admin(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(GROTTO);
    command.args(["--json", "serve"]).args(arguments).arg("--data").arg(data);
    command.stdin(Stdio::null()).output().unwrap()
}

/// The program on a folder that it must refuse to serve.
fn refused(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(GROTTO);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

/// A home for an account that is not made yet.
fn newcomer(user: &str) -> Grotto {
    Grotto { home: rig::folder("newcomer"), user: user.to_owned() }
}

/// Registers with an invitation.
fn join_with(grotto: &Grotto, place: &Place, invite: &str) -> Output {
    let file = grotto.home.join("invite");
    fs::write(&file, invite).unwrap();
    let login = grotto.login(place);
    let register = ["--register", "--invite-file", file.to_str().unwrap()];
    grotto.run_with_input(&[&login[..], &register].concat(), PASSWORD)
}

#[test]
fn the_first_start_says_how_the_first_person_gets_in() {
    let data = rig::folder("first");
    let mut command = Command::new(GROTTO);
    command.args(["serve", "--name", "chat.example", "--listen", "127.0.0.1:0", "--data"]);
    let mut lines = Lines::start({
        command.arg(&data);
        command
    });
    let mut words = Vec::new();
    while !words.iter().any(|line: &String| line.contains("grotto serve invite")) {
        words.push(lines.find("its words", |_| true).as_str().unwrap().to_owned());
    }
    lines.terminate();
    let words = words.join("\n");
    assert!(words.starts_with("serving chat.example on 127.0.0.1:"), "{words}");
    assert!(words.contains("on this machine:"), "no other one reaches 127.0.0.1: {words}");
    let more = format!("grotto serve invite --data '{}'", data.display());
    assert!(words.contains(&more), "{words}");
    let command = words.lines().find(|line| line.contains("grotto login")).unwrap().trim();
    let invite = words.split("which is: ").nth(1).unwrap().split_whitespace().next().unwrap();

    // The same words again would be of no use: the address is another one. The invitation holds.
    let served = Served::start(&data, &[]);
    assert_eq!(served.said["name"], "chat.example", "the name stays");
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(arguments[..2], ["login", "@you:chat.example"], "{command}");
    assert_eq!((arguments[2], arguments[4]), ("--homeserver", "--register"), "{command}");
    let you = newcomer("@you:chat.example");
    let output = join_with(&you, &served.place(), invite);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    // An invitation is for one.
    let eve = newcomer("@eve:chat.example");
    fails(&join_with(&eve, &served.place(), invite), 1, "does not take this invitation");
    drop(served);

    // Now that somebody is there, a start invites nobody.
    let served = Served::start(&data, &[]);
    assert_eq!(served.said["invite"], Value::Null);
}

#[test]
fn an_invitation_lets_one_person_in_who_then_talks() {
    let served = Served::start(&rig::folder("invited"), &[]);
    let place = served.place();
    let uninvited = newcomer("@eve:localhost");
    let register = [&uninvited.login(&place)[..], &["--register"]].concat();
    fails(&uninvited.run_with_input(&register, PASSWORD), 1, "--invite-file");
    fails(&join_with(&uninvited, &place, "nonsense"), 1, "");

    let invite = served.invite();
    let ada = newcomer("@ada:localhost");
    let output = join_with(&ada, &place, &invite);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    fails(&join_with(&uninvited, &place, &invite), 1, "");
    let taken = newcomer("@ada:localhost");
    fails(&join_with(&taken, &place, &served.invite()), 1, "");
    let users = served.admin(&["users"]);
    assert_eq!((users.len(), &users[0]["user_id"]), (1, &json!("@ada:localhost")));

    // Another client that is invited.
    let nio = Peer::newcomer(&place.base, "@nora:localhost", Some(&served.invite()));
    drop(nio);
    let bob = newcomer("@bob:localhost");
    assert_eq!(code(&join_with(&bob, &place, &served.invite())), Some(0));
    let room = ada.json(&["create", "--dm", "--invite", &bob.user])[0]["room_id"].clone();
    bob.json(&["join", room.as_str().unwrap()]);
    let mut tail = bob.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    ada.json(&["send", &bob.user, "hello bob"]);
    let heard = tail.find("hello bob", |line| line["body"] == "hello bob");
    assert_eq!((&heard["sender"], &heard["encrypted"]), (&json!(ada.user), &json!(true)));
    assert_eq!(tail.terminate(), Some(0));
}

#[test]
fn another_password_ends_what_the_old_one_began() {
    let served = Served::start(&rig::folder("reset"), &[]);
    let place = served.place();
    let ada = newcomer("@ada:localhost");
    assert_eq!(code(&join_with(&ada, &place, &served.invite())), Some(0));
    let token = rig::log_in(&place.base, "ada", PASSWORD);
    let file = served.data.join("password");
    fs::write(&file, "a new password\n").unwrap();
    let file = file.to_str().unwrap();
    let missing = admin(&served.data, &["reset-password", "eve", "--password-file", file]);
    fails(&missing, 1, "eve");
    served.admin(&["reset-password", "ada", "--password-file", file]);
    let whoami =
        served.http("GET", "/_matrix/client/v3/account/whoami", Some(&token), &Value::Null);
    assert_eq!(whoami["errcode"], "M_UNKNOWN_TOKEN");
    rig::log_in(&place.base, "ada", "a new password");
    let wrong = json!({"type": "m.login.password", "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": "ada"}});
    let answer = served.http("POST", "/_matrix/client/v3/login", None, &wrong);
    assert_eq!(answer["errcode"], "M_FORBIDDEN");
}

/// Somebody's token, in a room where something bad was said.
fn scandal(served: &Served) -> (String, String, String) {
    let place = served.place();
    let ada = newcomer("@ada:localhost");
    assert_eq!(code(&join_with(&ada, &place, &served.invite())), Some(0));
    let token = rig::log_in(&place.base, "ada", PASSWORD);
    let room =
        served.http("POST", "/_matrix/client/v3/createRoom", Some(&token), &json!({"name": "R"}));
    let room = room["room_id"].as_str().unwrap().to_owned();
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/t1");
    let bad = json!({"msgtype": "m.text", "body": "bad words"});
    let event = served.http("PUT", &path, Some(&token), &bad)["event_id"].clone();
    (token, room, event.as_str().unwrap().to_owned())
}

#[test]
fn reports_keep_what_was_reported() {
    let served = Served::start(&rig::folder("reports"), &[]);
    let (token, room, event) = scandal(&served);
    let path = format!("/_matrix/client/v3/rooms/{room}/report/{event}");
    let reason = json!({"reason": "it is \u{1b}[31mrude"});
    assert_eq!(served.http("POST", &path, Some(&token), &reason), json!({}));
    let path = format!("/_matrix/client/v3/rooms/{room}/redact/{event}/t2");
    served.http("PUT", &path, Some(&token), &json!({}));

    let reports = served.admin(&["reports"]);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    let subject = &reports[0]["subject"]["event"];
    assert_eq!(reports[0]["reporter"], "@ada:localhost");
    assert_eq!(reports[0]["reason"], reason["reason"]);
    assert_eq!((&subject["room"], &subject["event"]), (&json!(room), &json!(event)));
    assert_eq!(subject["evidence"]["content"]["body"], "bad words");
    // People read them without the colors that a member chose.
    let mut command = Command::new(GROTTO);
    let words = command.args(["serve", "reports", "--data"]).arg(&served.data).output().unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("rude") && !words.contains('\u{1b}'), "{words:?}");
}

#[test]
fn a_backup_of_a_running_server_is_a_server() {
    let served = Served::start(&rig::folder("copied"), &[]);
    let (token, room, event) = scandal(&served);
    let folder = rig::folder("restored");
    let file = folder.join("server.db");
    served.admin(&["backup", file.to_str().unwrap()]);
    fails(
        &admin(&served.data, &["backup", file.to_str().unwrap()]),
        1,
        "server.db is there already",
    );
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/t2");
    served.http("PUT", &path, Some(&token), &json!({"msgtype": "m.text", "body": "too late"}));

    let restored = Served::start(&folder, &[]);
    let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=1");
    let page = restored.http("GET", &path, Some(&token), &Value::Null);
    assert_eq!(page["chunk"][0]["event_id"], event, "{page}");
    // It goes on from there.
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/t2");
    let text = json!({"msgtype": "m.text", "body": "a second life"});
    assert!(restored.http("PUT", &path, Some(&token), &text)["event_id"].is_string());
}

#[test]
fn what_cannot_be_served_is_said_with_a_way_out() {
    let served = Served::start(&rig::folder("held"), &["--name", "one.example"]);
    fails(&refused(&served.data, &[]), 1, "another process serves");
    let data = served.data.clone();
    drop(served);
    let output = refused(&data, &["--name", "two.example"]);
    fails(&output, 1, "this server's name is one.example");
    let empty = rig::folder("empty");
    fails(&refused(&empty, &["--name", "no name"]), 1, "cannot be the name");
    fails(&admin(&rig::folder("nothing"), &["users"]), 1, "there is no server");

    for (text, words) in [
        ("[limits]\nmax_file_mb = 5\n", "max_file_mb"),
        ("[rates]\nlogin = { burst = -1, pause_ms = 1 }\n", "expected u32"),
        ("[public\n", "server.toml"),
    ] {
        fs::write(data.join("server.toml"), text).unwrap();
        let output = refused(&data, &[]);
        fails(&output, 1, words);
        assert!(said(&output).contains("server.toml"), "{}", said(&output));
    }
    fs::remove_file(data.join("server.toml")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(GROTTO);
    command.args(["serve", "--listen", &address, "--data"]).arg(&data);
    fails(&command.output().unwrap(), 1, &format!("cannot listen on {address}"));
    drop(Served::start(&data, &["--name", "one.example"]));
}

/// Tries to register from an address of this machine; what it answers.
fn register_from(from: [u8; 4], base: &str, name: &str) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().local_address(IpAddr::from(from));
        let request = client.build().unwrap().post(format!("{base}/_matrix/client/v3/register"));
        let request = request.header("content-type", "application/json");
        let text = request.body(account(name).to_string()).send().await.unwrap().text().await;
        serde_json::from_str(&text.unwrap()).unwrap()
    })
}

fn account(name: &str) -> Value {
    json!({"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}})
}

#[test]
fn registrations_are_limited_by_address_on_every_way_in() {
    let data = rig::folder("address");
    let settings = "[registration]\nopen = true\n\
        [rates]\nregister = { burst = 2, pause_ms = 3_600_000 }\n";
    fs::write(data.join("server.toml"), settings).unwrap();
    let served = Served::start(&data, &[]);
    let base = served.place().base;
    let (one, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    assert!(register_from(one, &base, "a")["user_id"].is_string());
    let url = format!("{}{STREAM_PATH}", base.replace("http", "ws"));
    run(async {
        let transport = Transport::connect(&remote(&url), None).await.unwrap();
        let mut client = Client { transport, last_id: 0, seen: Vec::new() };
        let path = "/_matrix/client/v3/register";
        let (status, answer) = client.call("POST", path, Some(account("b"))).await;
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = client.call("POST", path, Some(account("c"))).await;
        assert_eq!((status, &answer["errcode"]), (429, &json!("M_LIMIT_EXCEEDED")), "{answer}");
    });
    assert_eq!(register_from(one, &base, "d")["errcode"], "M_LIMIT_EXCEEDED");
    assert!(register_from(other, &base, "e")["user_id"].is_string(), "others are not concerned");
}
