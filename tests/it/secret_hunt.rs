//! a whole life of an account with the most verbose log, and every secret that came into being
//! in it looked for in all that it left behind, and in the arguments of its processes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use grotto::{
    e2ee::{Lookup as _, Table},
    store::Store,
};
use serde_json::Value;

use crate::{
    grotto::Grotto,
    headless::{files, said},
    homeserver::On,
    recovery::await_backup,
    rig::{self, Lines, PASSWORD},
    scenario,
};

scenario::on_both! { no_secret_of_a_whole_life_is_left_in_logs_or_arguments }

const FILE_PASSPHRASE: &str = "gravel-moth-7714";
const INSIDE: &str = "nothing-to-see-in-this-file-4451";
/// Base64 of the shortest secrets, of 32 bytes.
const SHORTEST: usize = 43;

/// Runs a command to its end, as verbose as can be; looks at its arguments meanwhile.
fn run(grotto: &Grotto, arguments: &[&str]) -> Output {
    let mut command = grotto.command(&[&["-vvv", "--json"], arguments].concat());
    command.env("RUST_LOG", "trace").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = rig::finish(command.spawn().unwrap());
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    output
}

fn first(grotto: &Grotto, arguments: &[&str]) -> Value {
    let output = String::from_utf8(run(grotto, arguments).stdout).unwrap();
    serde_json::from_str(output.lines().next().unwrap()).unwrap()
}

fn follow(grotto: &Grotto, arguments: &[&str]) -> Lines {
    let mut command = grotto.command(&[&["-vvv", "--json"], arguments].concat());
    command.env("RUST_LOG", "trace");
    Lines::start(command)
}

/// A file outside of what is searched.
fn kept(name: &str, text: &str) -> String {
    let path = rig::folder("kept").join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn log_in(on: On, user: &str) -> Grotto {
    let grotto = Grotto { home: rig::folder("hunted"), user: user.to_owned() };
    let output = {
        let place = on.shared();
        let login = grotto.login(place);
        grotto.run_with_input(&[&["-vvv", "--json"], &login[..]].concat(), PASSWORD)
    };
    assert!(output.status.success(), "{}", said(&output));
    grotto
}

fn no_secret_of_a_whole_life_is_left_in_logs_or_arguments(on: On) {
    let first_device = log_in(on, &rig::register(&on.shared().base, "hunted"));
    let made = first(&first_device, &["setup-recovery"]);
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    first(&first_device, &["create", "--name", "Cellar"]);
    // Its own: the arguments of the same test on another homeserver are looked at too.
    let message = format!("the-cellar-door-{:?}-1182", on.kind());
    let message = message.as_str();
    first(&first_device, &["send", "Cellar", message]);
    let file = kept("inside.txt", INSIDE);
    let sent = first(&first_device, &["send", "Cellar", "--file", &file]);
    let event = sent["event_id"].as_str().unwrap();
    await_backup(&first_device);

    // The next one by the recovery key, everything by the process that holds the account.
    let second = log_in(on, &first_device.user);
    let mut tail = follow(&second, &["tail"]);
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let recovery = kept("recovery", &key);
    let recovered = first(&second, &["recover", "--recovery-key-file", &recovery]);
    assert_eq!(recovered["cross_signed"], true, "{recovered}");
    let history = String::from_utf8(run(&second, &["history", "Cellar"]).stdout).unwrap();
    assert!(history.contains(message), "{history}");
    let saved = rig::folder("saved");
    run(&second, &["download", "Cellar", event, "--to", saved.to_str().unwrap()]);
    let exported = rig::folder("exported").join("keys.txt");
    let exported = exported.to_str().unwrap();
    let passphrase = kept("file-passphrase", FILE_PASSPHRASE);
    let by = ["--file-passphrase-file", &passphrase];
    run(&second, &[&["keys", "export", exported][..], &by].concat());

    // A third one by comparing emoji: it gets the secrets of the second.
    let third = log_in(on, &first_device.user);
    run(&third, &[&["keys", "import", exported][..], &by].concat());
    let user = first_device.user.as_str();
    let verify = ["--timeout", "90", "verify", user];
    let mut accepts = follow(&second, &[&verify[..], &["--accept", "--yes"]].concat());
    let mut asks = follow(&third, &[&verify[..], &["--yes"]].concat());
    for lines in [&mut asks, &mut accepts] {
        lines.find("the end", |line| line["done"] == true);
    }
    let mut third_tail = follow(&third, &["tail"]);
    third_tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    await_backup(&third);
    let arguments = arguments();
    assert!(arguments.iter().any(|line| line.contains("tail")), "{arguments:?}");
    assert_eq!((tail.terminate(), third_tail.terminate()), (Some(0), Some(0)));

    let mut secrets: BTreeSet<String> =
        [PASSWORD, FILE_PASSPHRASE, message, INSIDE, &key].map(str::to_owned).into();
    secrets.insert(key.replace(' ', ""));
    let homes = [&first_device, &second, &third].map(|it| it.home.clone());
    for home in &homes {
        secrets.extend(of_the_store(home));
    }
    assert!(200 < secrets.len(), "only {} secrets", secrets.len());
    for (home, what) in homes.iter().zip(["made", "recovered", "verified"]) {
        search(home, &secrets, what);
    }
    for line in arguments {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
}

/// The folder of the account below a home.
fn account_folder(home: &Path) -> PathBuf {
    let store = files(home).into_iter().find(|path| path.ends_with("store.db"));
    store.unwrap().parent().unwrap().to_owned()
}

/// All that the store keeps safe and that is long enough to be a key: the tokens, the key of the
/// database, and every text and row of bytes in a record, in the usual spellings.
fn of_the_store(home: &Path) -> BTreeSet<String> {
    let folder = account_folder(home);
    let store = Store::open(&folder, None).unwrap();
    let mut found = BTreeSet::from([store.account().access_token.expose().clone()]);
    let key = fs::read(folder.join("store.key")).unwrap();
    match std::str::from_utf8(&key) {
        Ok(text) => drop(found.insert(text.trim().to_owned())),
        Err(_) => found.extend(spellings(&key)),
    }
    for table in [
        Table::Account,
        Table::CrossSigning,
        Table::Backup,
        Table::InboundGroupSession,
        Table::OutboundGroupSession,
        Table::OlmSession,
        Table::Misc,
    ] {
        let before = found.len();
        for (_, value) in store.scan(table, None).unwrap() {
            let value: Value = serde_json::from_slice(&value).unwrap();
            texts(&value, &mut found);
        }
        let is_kept_by_all = table != Table::OutboundGroupSession && table != Table::OlmSession;
        assert!(before < found.len() || !is_kept_by_all || table == Table::Misc, "{table:?}");
    }
    found
}

fn texts(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if SHORTEST <= text.len() => {
            let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('='));
            into.extend(
                bytes.iter().filter(|bytes| bytes.len() <= 64).flat_map(|it| spellings(it)),
            );
            into.insert(text.clone());
        }
        Value::Array(values) => {
            let bytes: Option<Vec<u8>> =
                values.iter().map(|it| u8::try_from(it.as_u64()?).ok()).collect();
            match bytes.filter(|bytes| 32 <= bytes.len()) {
                Some(bytes) => into.extend(spellings(&bytes)),
                None => values.iter().for_each(|inner| texts(inner, into)),
            }
        }
        Value::Object(fields) => fields.values().for_each(|inner| texts(inner, into)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// As logs would show bytes.
fn spellings(bytes: &[u8]) -> [String; 4] {
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    let list = list.trim_matches(['[', ']']).to_owned();
    [STANDARD_NO_PAD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes), hex, list]
}

/// Everything that was written beside the database and its key.
fn search(home: &Path, secrets: &BTreeSet<String>, what: &str) {
    let mut log = String::new();
    for path in files(home) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "store.key" {
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        for secret in secrets {
            assert!(!text.contains(secret), "{what}: {secret:?} is in {}", path.display());
        }
        if name.starts_with("grotto.log") {
            log.push_str(&text);
        }
    }
    for said in ["TRACE", "grotto::engine", "backup_read", "signatures_upload"] {
        assert!(log.contains(said), "{said} is not in the most verbose log of who {what}: {log}");
    }
}

/// The arguments of all our programs that run now.
fn arguments() -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let ours = lines.filter(|line| line.starts_with(rig::GROTTO.as_bytes()));
    ours.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}
