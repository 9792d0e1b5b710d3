//! A conversation on real parts while everything around it fails: grotto is killed, the stream is
//! cut, the homeserver is killed, the disk is full, the clock goes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use grotto::{
    e2ee::{Lookup as _, Table},
    store::Store,
    wire::STREAM_PATH,
};
use serde_json::{Map, Value, json};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey};

use crate::{
    cutter::{Cut, Cutter},
    grotto::Grotto,
    homeserver::{Homeserver, Kind, On, Place, RateLimits},
    rig::{self, GROTTO, Lines, PASSWORD, Peer, Stack},
    scenario, talk,
};

scenario::on_both! {
    nothing_is_lost_doubled_or_garbled_while_everything_fails,
}

/// Messages each side says while things fail.
const COUNT: usize = 200;
const KILLS: usize = 30;
const CUTS: usize = 50;

/// What goes wrong once, in this order.
const FAULTS: [Fault; 6] = [
    Fault { after: 10_000, what: What::DiskFills },
    Fault { after: 2_000, what: What::DiskHasSpace },
    Fault { after: 10_000, what: What::ClockGoesBack },
    Fault { after: 10_000, what: What::ServerDies },
    Fault { after: 10_000, what: What::ServerDies },
    Fault { after: 10_000, what: What::ServerDies },
];

struct Fault {
    /// Milliseconds after the one before.
    after: u64,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    DiskFills,
    DiskHasSpace,
    ClockGoesBack,
    ServerDies,
}

/// The library that makes disk and clock fail, built with the C compiler.
pub(crate) struct Faults {
    library: PathBuf,
    folder: PathBuf,
}

impl Faults {
    pub(crate) fn build() -> Self {
        let folder = rig::folder("faults");
        let library = folder.join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/faults.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status()
            .unwrap();
        assert!(status.success());
        Self { library, folder }
    }

    fn apply(&self, command: &mut Command) {
        command.envs(self.environment());
    }

    /// What a program needs in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("FAULTS", &self.folder)]
    }

    pub(crate) fn fill_disk(&self) {
        std::fs::write(self.folder.join("full"), "").unwrap();
    }

    pub(crate) fn free_disk(&self) {
        std::fs::remove_file(self.folder.join("full")).unwrap();
    }

    /// From now on it is known what of each file is on the disk for certain.
    pub(crate) fn watch_disk(&self) {
        std::fs::create_dir(self.folder.join("disk")).unwrap();
    }

    /// What a power cut leaves of these files: what was synced, and nothing else.
    pub(crate) fn lose_what_was_not_synced(&self, files: &[&Path]) {
        for file in files {
            let synced = self.folder.join("disk").join(file.file_name().unwrap());
            if synced.exists() {
                std::fs::copy(synced, file).unwrap();
            } else if file.exists() {
                std::fs::remove_file(file).unwrap();
            }
        }
    }

    fn set_clock_back(&self, seconds: i64) {
        std::fs::write(self.folder.join("clock"), format!("{}", -seconds)).unwrap();
    }
}

/// Pseudo-random numbers from a seed (`SplitMix64`), so that a run can be told from another.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// Waits this long, or shorter when `over` ends.
fn pause(over: &Receiver<()>, milliseconds: u64) -> bool {
    over.recv_timeout(Duration::from_millis(milliseconds)) == Err(RecvTimeoutError::Timeout)
}

/// A running gateway; asked to end when dropped.
struct Gateway {
    lines: Lines,
    base: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.lines.terminate();
    }
}

/// `grotto gateway` in front of the homeserver.
fn gateway(base: &str) -> Gateway {
    let address = format!("127.0.0.1:{}", rig::free_port());
    let mut command = Command::new(GROTTO);
    command.args(["--json", "gateway", "--homeserver", base, "--listen", &address]);
    command.env("XDG_STATE_HOME", rig::folder("gateway"));
    let mut lines = Lines::start(command);
    lines.find("its address", |line| line["listening"].is_string());
    Gateway { lines, base: format!("http://{address}") }
}

/// Sends until the server has it, as a careful script does: the same transaction id each time.
fn insist(alice: &Grotto, faults: &Faults, room: &str, txn: &str, body: &str) {
    let (_never, nothing) = channel();
    let mut said = Vec::new();
    for _ in 0..500 {
        let line = ["--json", "--timeout", "20", "send", room, "--txn", txn, "-"];
        let mut command = alice.command(&line);
        faults.apply(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(std::io::Write::write_all(&mut child.stdin.take().unwrap(), body.as_bytes()));
        let output = rig::finish(child);
        if output.status.success() {
            return;
        }
        said.push(String::from_utf8_lossy(&output.stderr).into_owned());
        pause(&nothing, 200);
    }
    panic!("message {txn} could not be sent: {:#?}", &said[said.len() - 20..]);
}

/// Keeps a `grotto tail` running and kills it at random moments.
fn kill_and_start_again(alice: &Grotto, faults: &Faults, kills: &AtomicUsize, over: &Receiver<()>) {
    let mut dice = Dice(1);
    loop {
        let mut command = alice.command(&["--json", "tail"]);
        faults.apply(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let going_on = pause(over, 500 + dice.roll(3_000));
        // SIGKILL, wherever it is.
        child.kill().unwrap();
        child.wait().unwrap();
        if !going_on {
            return;
        }
        kills.fetch_add(1, Ordering::SeqCst);
    }
}

fn cut_again_and_again(cutter: &Cutter, over: &Receiver<()>) {
    let mut dice = Dice(2);
    loop {
        let cut = [Cut::InsideRequest, Cut::BeforeAnswer, Cut::InsideAnswer];
        cutter.arm(cut[usize::try_from(dice.roll(3)).unwrap()]);
        if !pause(over, 300 + dice.roll(1_500)) {
            cutter.arm(Cut::None);
            return;
        }
    }
}

fn nothing_is_lost_doubled_or_garbled_while_everything_fails(on: On) {
    let mut homeserver = Homeserver::start(on, RateLimits::Raised);
    let place = homeserver.place.clone();
    let base = place.base.as_str();
    let faults = Faults::build();
    let gateway = match on.kind() {
        Kind::Synapse => Some(gateway(base)),
        Kind::Serve => None,
    };
    let stream = gateway.as_ref().map_or(base, |gateway| &gateway.base);
    let stream_url = Some(format!("{}{STREAM_PATH}", stream.replace("http", "ws")));
    let (cutter, through) = Cutter::before(&Place { stream_url, ..place.clone() });
    let alice = Grotto::log_in(&through, "alice");
    let mut bob = Peer::start(Stack::Nio, base, "bob");
    let mut carol = Peer::start(Stack::Sdk, base, "carol");
    let room = carol.create("torture", &[&bob.user, &alice.user]);
    bob.find("bob's join", |line| line["k"] == "joined");
    alice.json(&["join", &room]);
    for peer in [&mut bob, &mut carol] {
        peer.find("alice's join", |line| {
            line["sender"] == alice.user.as_str() && line["content"]["membership"] == "join"
        });
    }

    let kills = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let sent = AtomicUsize::new(0);
    let (ends, overs): (Vec<Sender<()>>, Vec<Receiver<()>>) = (0..3).map(|_| channel()).unzip();
    let mut overs = overs.into_iter();
    let (killing, cutting, breaking) =
        (overs.next().unwrap(), overs.next().unwrap(), overs.next().unwrap());
    std::thread::scope(|scope| {
        let (alice, faults, kills, done) = (&alice, &faults, &kills, &done);
        let (room, cutter) = (room.as_str(), &cutter);
        scope.spawn(move || kill_and_start_again(alice, faults, kills, &killing));
        scope.spawn(move || cut_again_and_again(cutter, &cutting));
        let homeserver = &mut homeserver;
        scope.spawn(move || {
            // One after the other, spread over the run.
            for fault in FAULTS {
                if !pause(&breaking, fault.after) {
                    return;
                }
                match fault.what {
                    What::DiskFills => faults.fill_disk(),
                    What::DiskHasSpace => faults.free_disk(),
                    What::ClockGoesBack => faults.set_clock_back(3_600),
                    What::ServerDies => {
                        homeserver.kill();
                        homeserver.start_again();
                    }
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
        let peers: Vec<_> = [("bob", &mut bob), ("carol", &mut carol)]
            .into_iter()
            .map(|(who, peer)| {
                scope.spawn(move || {
                    for start in (0..COUNT).step_by(20) {
                        talk::burst(peer, room, who, start..start + 20);
                    }
                })
            })
            .collect();
        let mut number = 0;
        // As long as it takes for every fault to happen and every message to be sent.
        while number < COUNT
            || kills.load(Ordering::SeqCst) < KILLS
            || cutter.cuts() < CUTS
            || done.load(Ordering::SeqCst) < FAULTS.len()
        {
            insist(alice, faults, room, &format!("torture{number}"), &talk::body("alice", number));
            number += 1;
        }
        for peer in peers {
            peer.join().unwrap();
        }
        drop(ends);
        sent.store(number, Ordering::SeqCst);
    });
    let said = sent.load(Ordering::SeqCst);
    assert!(kills.load(Ordering::SeqCst) >= KILLS && cutter.cuts() >= CUTS);

    // Calm: whatever is on its way arrives, and every side holds the same.
    insist(&alice, &faults, &room, "last", "alice rests");
    for (who, peer) in [("bob", &mut bob), ("carol", &mut carol)] {
        peer.hears("alice rests");
        let heard = talk::heard(peer, &room, &alice.user);
        talk::assert_same(&format!("{who} heard alice"), &heard, &talk::bodies("alice", said));
    }
    let history = alice.json(&["history", &room, "--limit", "10000"]);
    for (who, peer) in [("bob", &bob), ("carol", &carol)] {
        let held = talk::held(&history, &peer.user);
        talk::assert_same(&format!("alice holds {who}"), &held, &talk::bodies(who, COUNT));
    }
    let lost: Vec<&Value> = history.iter().filter(|line| line["type"] == "undecryptable").collect();
    assert!(lost.is_empty(), "{} undecryptable, first {:?}", lost.len(), lost.first());
    let token = rig::log_in(base, &bob.user, PASSWORD);
    assert_no_index_used_twice(base, &token, &room, &alice.user);
    assert_one_time_keys_are_whole(base, &token, &alice);
}

/// Reads the whole room from the server: no two events of `sender` share session and index.
fn assert_no_index_used_twice(base: &str, token: &str, room: &str, sender: &str) {
    let mut seen: BTreeMap<(String, u64), Value> = BTreeMap::new();
    let mut from = String::new();
    loop {
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=f&limit=500&from={from}");
        let page = rig::http(base, "GET", &path, Some(token), &json!(null));
        for event in page["chunk"].as_array().unwrap() {
            if event["type"] != "m.room.encrypted" || event["sender"] != sender {
                continue;
            }
            let session = event["content"]["session_id"].as_str().unwrap().to_owned();
            let index = message_index(event["content"]["ciphertext"].as_str().unwrap());
            let before = seen.insert((session, index), event["event_id"].clone());
            assert!(before.is_none(), "{before:?} and {} share an index", event["event_id"]);
        }
        match page["end"].as_str() {
            Some(end) => from = end.to_owned(),
            None => break,
        }
    }
    assert!(COUNT <= seen.len(), "only {} encrypted events seen", seen.len());
}

/// Claims all one-time keys that the server holds for alice: her store has the private half of each.
fn assert_one_time_keys_are_whole(base: &str, token: &str, alice: &Grotto) {
    let accounts = alice.home.join("xdg_data_home/grotto/accounts");
    let folder = std::fs::read_dir(accounts).unwrap().next().unwrap().unwrap().path();
    let store = Store::open(&folder, None).unwrap();
    let records = store.scan(Table::Account, None).unwrap();
    let record: Value = serde_json::from_slice(&records[0].1).unwrap();
    let private = one_time_keys(&record).expect("an account has one-time keys");
    let public: BTreeSet<String> = private
        .values()
        .map(|secret| serde_json::from_value::<Curve25519SecretKey>(secret.clone()).unwrap())
        .map(|secret| Curve25519PublicKey::from(&secret).to_base64())
        .collect();
    let device = store.account().device_id.to_string();
    let claim = json!({"one_time_keys": {&alice.user: {&device: "signed_curve25519"}}});
    let mut claimed = 0;
    loop {
        let answer = rig::http(base, "POST", "/_matrix/client/v3/keys/claim", Some(token), &claim);
        let keys = answer["one_time_keys"][&alice.user][&device].as_object().cloned();
        let Some(key) = keys.and_then(|keys| keys.into_iter().next()).map(|(_, key)| key) else {
            break;
        };
        if key["fallback"] == true {
            break;
        }
        let key = key["key"].as_str().unwrap();
        assert!(public.contains(key), "the server has {key}, the store has no private half");
        claimed += 1;
    }
    assert!(0 < claimed, "the server held no one-time key");
}

/// The private one-time keys in a pickled account, wherever the record keeps it.
fn one_time_keys(record: &Value) -> Option<&Map<String, Value>> {
    let fields = record.as_object()?;
    let here = fields.get("one_time_keys").and_then(|keys| keys["private_keys"].as_object());
    here.or_else(|| fields.values().find_map(one_time_keys))
}

/// The index in a Megolm message: version 3, then field 1 of a protobuf message.
fn message_index(ciphertext: &str) -> u64 {
    let bytes = STANDARD_NO_PAD.decode(ciphertext).unwrap();
    assert_eq!(bytes[..2], [3, 0x08], "not a Megolm message");
    let mut index = 0;
    for (place, byte) in bytes[2..].iter().enumerate() {
        index |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    index
}
