//! The store's folder on a real disk: what opens it, what keeps it shut, what survives.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use grotto::{
    e2ee::{Changes, Lookup as _, RecordKey, Table, Write},
    matrix::{Event, OwnedRoomId, Position},
    rooms::{EventBody, Shield, StoredEvent},
    secret::Secret,
    store::{
        Account, KdfCost, OpenError, Origin, Pending, Protection, Store, StoreError, StoreKey,
        Writes, set_passphrase_with,
    },
};
use serde_json::json;
use tempfile::TempDir;

/// Quick to try; tests only.
const CHEAP: KdfCost = KdfCost { memory_kib: 64, passes: 1 };

/// Whose store it is. The token is looked for on disk.
pub(crate) fn account() -> Account {
    Account {
        user_id: "@ann:example.org".try_into().unwrap(),
        device_id: "DEVICE".into(),
        homeserver: "https://example.org".to_owned(),
        stream_url: None,
        access_token: Secret::new("syt_marker_token".to_owned()),
    }
}

fn passphrase(text: &str) -> StoreKey {
    StoreKey::Passphrase(Secret::new(text.to_owned()))
}

/// The key of stores without passphrase in these tests.
fn known_key() -> StoreKey {
    StoreKey::Key(Secret::new(vec![7; 32]))
}

/// A folder with a store, closed again.
fn made(key: &StoreKey) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::create_with(dir.path(), key, &account(), CHEAP).unwrap());
    dir
}

fn open(dir: &Path, key: Option<&StoreKey>) -> OpenError {
    Store::open(dir, key).unwrap_err()
}

fn room() -> OwnedRoomId {
    "!room:example.org".try_into().unwrap()
}

fn event(number: i64, body: &str) -> (OwnedRoomId, StoredEvent) {
    let event: Event = serde_json::from_value(json!({
        "type": "m.room.message", "event_id": format!("${number}"), "content": {"body": body},
    }))
    .unwrap();
    (room(), StoredEvent { position: number, event, body: EventBody::Clear(Shield::None) })
}

fn write(store: &mut Store, events: Vec<(OwnedRoomId, StoredEvent)>) {
    store.commit(Pending::new(Writes { events, ..Writes::default() }, ())).unwrap();
}

#[test]
fn a_passphrase_opens_what_it_closed() {
    let dir = made(&passphrase("correct horse"));
    let mut store = Store::open(dir.path(), Some(&passphrase("correct horse"))).unwrap();
    assert_eq!(store.account(), &account());
    assert_eq!(store.protection(), Protection::Passphrase);
    assert_eq!(store.protection().warning(), None);
    write(&mut store, vec![event(1, "hello")]);
    drop(store);
    let store = Store::open(dir.path(), Some(&passphrase("correct horse"))).unwrap();
    assert_eq!(store.newest(&room(), 1).unwrap(), [event(1, "hello").1]);
}

#[test]
fn a_wrong_passphrase_and_a_missing_one_say_so() {
    let dir = made(&passphrase("correct horse"));
    let error = open(dir.path(), Some(&passphrase("wrong horse")));
    assert!(matches!(error, OpenError::WrongPassphrase), "{error}");
    assert!(error.is_locked());
    let error = open(dir.path(), None);
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    assert!(error.is_locked());
    assert!(error.to_string().contains("--passphrase-file"), "{error}");
}

#[test]
fn an_empty_passphrase_is_refused_and_leaves_no_account() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::create_with(dir.path(), &passphrase(""), &account(), CHEAP).unwrap_err();
    assert!(matches!(error, OpenError::EmptyPassphrase), "{error}");
    drop(Store::create_with(dir.path(), &passphrase("x"), &account(), CHEAP).unwrap());
    Store::open(dir.path(), Some(&passphrase("x"))).unwrap();
}

#[test]
fn without_passphrase_the_key_file_opens_and_the_user_is_warned() {
    let dir = made(&StoreKey::random().unwrap());
    let store = Store::open(dir.path(), None).unwrap();
    assert_eq!(store.protection(), Protection::KeyFile);
    assert!(store.protection().warning().unwrap().contains("grotto passphrase set"));
}

#[test]
fn a_passphrase_is_set_changed_and_removed() {
    let dir = made(&known_key());
    let change = |old: Option<&str>, new: Option<&str>| {
        let (old, new) = (old.map(passphrase), new.map(|new| Secret::new(new.to_owned())));
        set_passphrase_with(dir.path(), old.as_ref(), new.as_ref(), CHEAP)
    };
    assert_eq!(change(None, Some("one")).unwrap(), Protection::Passphrase);
    assert!(matches!(open(dir.path(), None), OpenError::Locked(_)));
    assert!(matches!(change(Some("two"), Some("three")), Err(OpenError::WrongPassphrase)));
    assert!(matches!(change(None, None), Err(OpenError::Locked(_))));
    change(Some("one"), Some("two")).unwrap();
    assert!(matches!(open(dir.path(), Some(&passphrase("one"))), OpenError::WrongPassphrase));
    Store::open(dir.path(), Some(&passphrase("two"))).unwrap();
    assert!(matches!(change(Some("two"), Some("")), Err(OpenError::EmptyPassphrase)));
    assert_eq!(change(Some("two"), None).unwrap(), Protection::KeyFile);
    Store::open(dir.path(), None).unwrap();
}

#[test]
fn a_key_that_does_not_fit_is_never_sealed() {
    let dir = made(&known_key());
    let wrong = StoreKey::Key(Secret::new(vec![8; 32]));
    assert!(matches!(open(dir.path(), Some(&wrong)), OpenError::WrongKey));
    let new = Secret::new("new".to_owned());
    let error = set_passphrase_with(dir.path(), Some(&wrong), Some(&new), CHEAP).unwrap_err();
    assert!(matches!(error, OpenError::WrongKey), "{error}");
    Store::open(dir.path(), None).unwrap();
    let short = StoreKey::Key(Secret::new(vec![7; 31]));
    assert!(matches!(open(dir.path(), Some(&short)), OpenError::WrongKey));
}

#[test]
fn a_folder_without_account_says_to_log_in() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(&dir.path().join("nobody"), None);
    assert!(matches!(error, OpenError::Missing(_)), "{error}");
    assert!(error.to_string().contains("log in"), "{error}");
    assert!(!dir.path().join("nobody").exists(), "looking must not make folders");
}

#[test]
fn an_account_is_not_overwritten_by_another_login() {
    let dir = made(&known_key());
    let error = Store::create_with(dir.path(), &known_key(), &account(), CHEAP).unwrap_err();
    assert!(matches!(error, OpenError::Exists(_)), "{error}");
}

#[test]
fn a_login_that_was_cut_short_can_be_made_again() {
    let dir = made(&known_key());
    fs::remove_file(dir.path().join("store.key")).unwrap();
    assert!(matches!(open(dir.path(), None), OpenError::KeyMissing(_)));
    drop(Store::create_with(dir.path(), &known_key(), &account(), CHEAP).unwrap());
    Store::open(dir.path(), None).unwrap();
}

#[test]
fn a_newer_schema_is_left_alone() {
    let dir = made(&known_key());
    raw(dir.path()).pragma_update(None, "user_version", 99).unwrap();
    let error = open(dir.path(), None);
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("use a newer grotto"), "{error}");
}

/// The database without the house around it.
fn raw(dir: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    connection.execute_batch(&format!("PRAGMA key = \"x'{}'\"", "07".repeat(32))).unwrap();
    connection
}

#[test]
fn a_store_of_schema_1_opens_with_everything_in_it() {
    let dir = made(&known_key());
    fs::remove_file(dir.path().join("store.db")).unwrap();
    let (_, stored) = event(4, "from the past");
    let connection = raw(dir.path());
    connection.execute_batch(include_str!("../../src/store/schema/0001.sql")).unwrap();
    connection
        .execute_batch(
            "INSERT INTO account VALUES (1, '@ann:example.org', 'DEVICE', 'https://example.org',
               NULL, 'syt_marker_token', 's9', x'00', 3);
             INSERT INTO room (id, room_id) VALUES (5, '!room:example.org');
             INSERT INTO gap VALUES (5, 4, 't1');
             PRAGMA user_version = 1;",
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO event (room, position, event_id, kind, event, body)
             VALUES (5, 4, '$4', 'm.room.message', ?1, ?2)",
            [serde_json::to_string(&stored.event), serde_json::to_string(&stored.body)]
                .map(Result::unwrap),
        )
        .unwrap();
    drop(connection);
    let store = Store::open(dir.path(), None).unwrap();
    assert_eq!(store.account(), &account());
    assert_eq!(store.position().unwrap(), Some(Position("s9".to_owned())));
    assert_eq!(store.newest(&room(), 9).unwrap(), [stored]);
    assert_eq!(store.gaps(&room()).unwrap()[0].position, 4);
}

#[test]
fn flipped_bytes_are_called_damage_wherever_they_are() {
    let dir = made(&known_key());
    let mut store = Store::open(dir.path(), None).unwrap();
    write(&mut store, (0..400).map(|number| event(number, &"x".repeat(500))).collect());
    drop(store);
    let path = dir.path().join("store.db");
    let whole = fs::read(&path).unwrap();
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        let store = Store::open(dir.path(), None)?;
        Ok::<_, OpenError>(store.newest(&room(), 500)?)
    };
    // The salt, the first page, the middle, near the end.
    for at in [3, 1000, whole.len() / 2, whole.len() - 5000] {
        let error = flip(at).unwrap_err();
        assert!(matches!(error, OpenError::Store(StoreError::Damaged(_))), "at {at}: {error:?}");
        assert!(error.to_string().contains("backup"), "{error}");
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(Store::open(dir.path(), None).and_then(|s| Ok(s.newest(&room(), 500)?)).is_err());
    fs::write(&path, b"").unwrap();
    let error = open(dir.path(), None);
    assert!(matches!(error, OpenError::DatabaseMissing(_)), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(dir.path(), None), OpenError::DatabaseMissing(_)));
}

#[test]
fn a_damaged_key_file_is_told_from_a_damaged_store() {
    for key in [known_key(), passphrase("x")] {
        let dir = made(&key);
        let path = dir.path().join("store.key");
        let text = fs::read_to_string(&path).unwrap();
        for broken in
            [text.split_at(text.len() / 2).0.to_owned(), text.replacen("\":\"", "\":\"zz", 1)]
        {
            fs::write(&path, broken).unwrap();
            let error = open(dir.path(), Some(&passphrase("x")));
            assert!(matches!(error, OpenError::KeyDamaged(_)), "{error}");
        }
    }
}

#[test]
fn a_key_file_cannot_make_us_take_all_memory() {
    let dir = made(&passphrase("x"));
    let path = dir.path().join("store.key");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"memory_kib\":64", "\"memory_kib\":4000000000")).unwrap();
    let error = open(dir.path(), Some(&passphrase("x")));
    assert!(matches!(error, OpenError::KeyDamaged(_)), "{error}");
}

#[cfg(unix)]
#[test]
fn what_others_may_read_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = made(&known_key());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let key = dir.path().join("store.key");
    assert_eq!((mode(dir.path()), mode(&key)), (0o700, 0o600));
    assert_eq!(mode(&dir.path().join("store.db")), 0o600);
    set(&key, 0o644);
    let error = open(dir.path(), None);
    assert!(matches!(error, OpenError::Exposed { mode: 0o644, .. }), "{error}");
    assert!(error.to_string().contains("chmod 600 '"), "{error}");
    set(&key, 0o600);
    set(dir.path(), 0o755);
    let error = open(dir.path(), None);
    assert!(error.to_string().contains("chmod 700 '"), "{error}");
}

#[test]
fn nothing_on_disk_can_be_read_without_the_key() {
    let dir = made(&passphrase("marker passphrase"));
    let mut store = Store::open(dir.path(), Some(&passphrase("marker passphrase"))).unwrap();
    write(&mut store, vec![event(1, "marker message")]);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for marker in ["marker", "SQLite format", "example.org", "room_id"] {
            let found = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
            assert!(!found, "{marker} in {}", path.display());
        }
    }
}

#[test]
fn a_store_restored_from_a_backup_is_noticed_once_and_its_group_sessions_end() {
    let dir = made(&known_key());
    let key = RecordKey("!room:example.org".to_owned(), String::new());
    let put = |store: &mut Store| {
        let value = Some(zeroize::Zeroizing::new(b"ratchet".to_vec()));
        let write = Write { table: Table::OutboundGroupSession, key: key.clone(), value };
        let crypto = Changes { writes: vec![write] };
        store.commit(Pending::new(Writes { crypto, ..Writes::default() }, ())).unwrap();
    };
    let session = |store: &Store| store.get(Table::OutboundGroupSession, &key).unwrap();
    let mut store = Store::open(dir.path(), None).unwrap();
    put(&mut store);
    drop(store);
    let backup = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join("store.db"), backup.path().join("store.db")).unwrap();
    let store = Store::open(dir.path(), None).unwrap();
    assert_eq!(store.origin(), Origin::Original, "opened again where it was");
    assert!(session(&store).is_some());
    drop(store);

    fs::rename(backup.path().join("store.db"), dir.path().join("store.db")).unwrap();
    let mut store = Store::open(dir.path(), None).unwrap();
    assert_eq!(store.origin(), Origin::Copy);
    assert!(session(&store).is_none(), "the ratchet may be behind what was sent");
    put(&mut store);
    drop(store);
    let store = Store::open(dir.path(), None).unwrap();
    assert_eq!(store.origin(), Origin::Original, "said once");
    assert!(session(&store).is_some());
}

#[test]
fn a_destroyed_store_leaves_nothing() {
    let dir = made(&known_key());
    let store = Store::open(dir.path(), None).unwrap();
    assert!(matches!(Store::destroy(dir.path()), Err(OpenError::Held { .. })));
    drop(store);
    Store::destroy(dir.path()).unwrap();
    assert!(!dir.path().exists());
    assert!(matches!(Store::destroy(dir.path()), Err(OpenError::Missing(_))));
}

const CHILD_DIR: &str = "GROTTO_TEST_STORE_CHILD";

/// Not a test by itself: the other process of the tests below. Writes steps of three events for
/// ever (or until one fails) and says after each commit that it is done.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let mut store = Store::open(Path::new(&dir), None).unwrap();
    let mut out = std::io::stdout();
    let first = store.bounds(&room()).unwrap().map_or(0, |(_, last)| (last + 1) / 3);
    for step in first.. {
        let events = (0..3).map(|n| event(step * 3 + n, &"x".repeat(3000))).collect();
        let position = Some(Position(step.to_string()));
        let writes = Writes { events, position, ..Writes::default() };
        match store.commit(Pending::new(writes, step)) {
            Ok(step) => writeln!(out, "\ncommitted {step}").unwrap(),
            Err(error) => {
                writeln!(out, "\nstopped {} {error}", error.is_disk_full()).unwrap();
                return;
            }
        }
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["store::child", "--exact", "--nocapture"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn spawn(dir: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    command(program.to_str().unwrap()).env(CHILD_DIR, dir).spawn().unwrap()
}

/// Reads what the child says until `enough` says so; gives the last committed step.
fn listen(child: &mut Child, mut enough: impl FnMut(&str) -> bool) -> Option<i64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut last = None;
    for line in lines {
        if let Some(step) = line.strip_prefix("committed ") {
            last = step.parse().ok();
        }
        if enough(&line) {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

#[test]
fn what_was_committed_survives_being_killed_at_any_moment() {
    let dir = made(&known_key());
    for round in 0..25 {
        let mut child = spawn(dir.path());
        // Kills fall at different points of different commits: the child writes on meanwhile.
        let mut seen = 0;
        let last = listen(&mut child, |line| {
            seen += usize::from(line.starts_with("committed "));
            seen > round % 7
        });
        let store = Store::open(dir.path(), None).unwrap();
        let steps: i64 = store.position().unwrap().unwrap().0.parse().unwrap();
        assert!(steps >= last.unwrap(), "round {round}: {steps} of {last:?}");
        let events = store.newest(&room(), usize::MAX).unwrap();
        let places: Vec<i64> = events.iter().map(|stored| stored.position).collect();
        assert_eq!(places, (0..(steps + 1) * 3).collect::<Vec<_>>(), "a step is whole or absent");
    }
}

#[test]
fn the_lock_names_its_holder_and_ends_with_it_however_it_ends() {
    let dir = made(&known_key());
    let mut child = spawn(dir.path());
    let pid = child.id();
    listen(&mut child, |line| {
        if line.starts_with("committed ") {
            let error = open(dir.path(), None);
            assert!(
                matches!(&error, OpenError::Held { holder: Some(holder), .. } if holder.pid == pid),
                "{error}"
            );
            assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
            return true;
        }
        false
    });
    Store::open(dir.path(), None).unwrap();
}

/// A real full disk, where the system lets an ordinary user mount one in a namespace of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_the_commit_and_loses_nothing_that_was_committed() {
    let script = "mount -t tmpfs -o size=1m none \"$1\" && cp -p \"$2\"/* \"$1\" && chmod 700 \"$1\" \
                  && \"$0\" store::child --exact --nocapture; rm -f \"$2\"/*; cp -p \"$1\"/* \"$2\"";
    let (dir, disk) = (made(&known_key()), tempfile::tempdir().unwrap());
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(std::env::current_exe().unwrap()).args([disk.path(), dir.path()]);
    command.env(CHILD_DIR, disk.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return };
    let mut stopped = None;
    let last = listen(&mut child, |line| {
        stopped = stopped.take().or_else(|| line.strip_prefix("stopped ").map(str::to_owned));
        false
    });
    let Some(last) = last else { return };
    assert!(stopped.as_ref().is_some_and(|why| why.starts_with("true ")), "{stopped:?}");
    let store = Store::open(dir.path(), None).unwrap();
    assert_eq!(store.position().unwrap(), Some(Position(last.to_string())));
    assert_eq!(store.bounds(&room()).unwrap(), Some((0, last * 3 + 2)));
}
