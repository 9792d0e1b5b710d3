//! From the start of the program to a full screen, with 100 rooms and 10,000 events on disk and a
//! homeserver that nobody can reach.

use grotto::{
    config::{Overrides, Paths},
    e2ee::{Decrypted, Machine, Shield, Step},
    matrix::{Event, Membership, OwnedRoomId, OwnedUserId, Position},
    rooms::{EventBody, RoomKind, RoomSummary, StoredEvent},
    secret::Secret,
    store::{Account, Pending, RoomRow, Store, StoreKey, Writes},
    time::Timestamp,
};
use serde_json::{Value, json};

use super::{
    Failure,
    rig::{self, GROTTO, Terminal},
    stats,
};

const ROOMS: u64 = 100;
const EVENTS: u64 = 100;
const MEMBERS: u64 = 20;
const RUNS: usize = 15;
const USER: &str = "@walker:localhost";
const MONDAY: u64 = 1_763_900_000_000;

pub(super) fn measure() -> Result<(), Failure> {
    let home = rig::folder("start");
    let overrides =
        Overrides { config_file: Some(home.join("config.toml")), data_dir: Some(home.clone()) };
    let paths = Paths::find(overrides)?;
    fill(&paths)?;
    let mut seen = Seen::default();
    for run in 0..=RUNS {
        let one = look(&home)?;
        // The first run reads the program and the store from the disk.
        if run > 0 {
            seen.add(&one);
        }
    }
    let title = format!("start: {ROOMS} rooms, {} events, {RUNS} runs", ROOMS * EVENTS);
    stats::head(&title);
    stats::times("start to the room list", &seen.list);
    stats::times("Enter to the newest messages", &seen.messages);
    let both: Vec<f64> = seen.list.iter().zip(&seen.messages).map(|(a, b)| a + b).collect();
    stats::times("together: the full screen", &both);
    let (list, full) = (stats::quantile(&seen.at_list, 0.5), stats::quantile(&seen.at_full, 0.5));
    stats::line(&format!("{:<52}{list:>9.1} MB", "resident memory, room list"));
    stats::line(&format!("{:<52}{full:>9.1} MB", "resident memory, full screen"));
    Ok(())
}

/// What the runs showed: seconds and megabytes.
#[derive(Default)]
struct Seen {
    list: Vec<f64>,
    messages: Vec<f64>,
    at_list: Vec<f64>,
    at_full: Vec<f64>,
}

impl Seen {
    fn add(&mut self, one: &[f64; 4]) {
        let [list, messages, at_list, at_full] = one;
        self.list.push(*list);
        self.messages.push(*messages);
        self.at_list.push(*at_list);
        self.at_full.push(*at_full);
    }
}

/// One start.
fn look(home: &std::path::Path) -> Result<[f64; 4], Failure> {
    let folder = home.to_str().ok_or("the folder has no name")?;
    let variables = [("XDG_RUNTIME_DIR", folder), ("XDG_CONFIG_HOME", folder)];
    let mut terminal = Terminal::start((120, 40), &[GROTTO, "--data-dir", folder], &variables);
    let wait = |text: &str| json!({ "do": "wait", "text": text, "ms": 10_000 });
    let number = |value: &Value| value.as_f64().ok_or_else(|| format!("no number: {value}"));
    let newest = format!("Room {}", ROOMS - 1);
    let list = terminal.ask(&wait(&newest));
    let pid = terminal.ask(&json!({ "do": "pid" }))["pid"].as_u64().ok_or("no process")?;
    let at_list = stats::resident(pid)?;
    let typed = terminal.ask(&json!({ "do": "type", "text": "\r" }));
    let messages = terminal.ask(&wait(&said(ROOMS - 1, EVENTS - 1)));
    if list["found"] != true || messages["found"] != true {
        return Err(format!("not on the screen: {list} {messages}").into());
    }
    let at_full = stats::resident(pid)?;
    terminal.signal("SIGTERM");
    terminal.exit_status();
    let took = number(&messages["t"])? - number(&typed["t"])?;
    Ok([number(&list["since_start"])?, took, at_list, at_full])
}

/// A store as weeks of use leave it.
fn fill(paths: &Paths) -> Result<(), Failure> {
    let account = Account {
        user_id: OwnedUserId::try_from(USER)?,
        device_id: "WALKER".into(),
        homeserver: format!("http://127.0.0.1:{}", rig::free_port()),
        stream_url: None,
        access_token: Secret::new("token".to_owned()),
    };
    let dir = paths.account_dir(USER);
    let mut store = Store::create(&dir, &StoreKey::random()?, &account)?;
    let mut step = Step::new(&store, Timestamp(MONDAY));
    drop(Machine::open(&account.user_id, &account.device_id, &mut step)?);
    let (crypto, _, _) = step.finish();
    let position = Some(Position("s1".to_owned()));
    store.commit(Pending::new(Writes { crypto, position, ..Writes::default() }, ()))?;
    for room in 0..ROOMS {
        let writes = one_room(room)?;
        store.commit(Pending::new(writes, ()))?;
    }
    Ok(())
}

fn one_room(room: u64) -> Result<Writes, Failure> {
    let id = OwnedRoomId::try_from(format!("!room{room:03}:localhost"))?;
    let summary = RoomSummary {
        room_id: id.clone(),
        name: format!("Room {room}"),
        kind: RoomKind::Group,
        membership: Membership::Join,
        encrypted: true,
        unread: 0,
        highlights: 0,
        members: MEMBERS,
        topic: Some("Everything about this room, in one line.".to_owned()),
        last_activity: Timestamp(at(room, EVENTS)),
        inviter: None,
    };
    let record = json!({ "members_complete": true });
    let mut writes = Writes { rooms: vec![RoomRow { summary, record }], ..Writes::default() };
    for (kind, key, content) in state(room) {
        let event = json!({ "type": kind, "state_key": key, "event_id": format!("$s-{room}-{kind}-{key}"),
            "sender": user(0), "origin_server_ts": at(room, 0), "content": content });
        writes.state.push((id.clone(), Event::parse(&event.to_string())?));
    }
    for number in 0..EVENTS {
        writes.events.push((id.clone(), message(room, number)?));
    }
    Ok(writes)
}

fn at(room: u64, number: u64) -> u64 {
    MONDAY + room * 3_600_000 + number * 20_000
}

fn user(number: u64) -> String {
    if number == 0 { USER.to_owned() } else { format!("@member{number}:localhost") }
}

fn state(room: u64) -> Vec<(&'static str, String, Value)> {
    let whole = |kind, content| (kind, String::new(), content);
    let mut all = vec![
        whole("m.room.create", json!({ "room_version": "12" })),
        whole("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
        whole("m.room.name", json!({ "name": format!("Room {room}") })),
        whole("m.room.topic", json!({ "topic": "Everything about this room, in one line." })),
        whole("m.room.join_rules", json!({ "join_rule": "invite" })),
        whole("m.room.history_visibility", json!({ "history_visibility": "shared" })),
        whole("m.room.power_levels", json!({ "users_default": 0, "events_default": 0 })),
    ];
    all.extend((0..MEMBERS).map(|member| {
        let content = json!({ "membership": "join", "displayname": format!("Member {member}") });
        ("m.room.member", user(member), content)
    }));
    all
}

fn said(room: u64, number: u64) -> String {
    format!("Message {number} of room {room}")
}

fn message(room: u64, number: u64) -> Result<StoredEvent, Failure> {
    let session_id = "QzWCB8mfFGUhrgCCVHFwIfKZpWTqWDmYsAIC5N+fd8c".to_owned();
    let outer = json!({ "type": "m.room.encrypted", "event_id": format!("$e-{room}-{number}"),
        "sender": user(number % MEMBERS), "origin_server_ts": at(room, number), "content": {
            "algorithm": "m.megolm.v1.aes-sha2", "sender_key": session_id, "session_id": session_id,
            "device_id": "DEVICE", "ciphertext": "A".repeat(320) } });
    let body = format!("{}: it was a bright cold day in April.", said(room, number));
    let content = json!({ "msgtype": "m.text", "body": body });
    let inner = Decrypted {
        kind: "m.room.message".to_owned(),
        content: content.as_object().cloned().unwrap_or_default(),
        session_id,
        message_index: u32::try_from(number)?,
        shield: Shield::None,
        shared_by: None,
    };
    Ok(StoredEvent {
        position: i64::try_from(number)? + 1,
        event: Event::parse(&outer.to_string())?,
        body: EventBody::Decrypted(inner),
    })
}
