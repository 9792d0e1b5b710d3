//! What other users and a stolen disk can see: processes, folders, logs.

use std::{
    fs,
    io::{ErrorKind, Write},
    process::Stdio,
};

use crate::{
    grotto::Grotto,
    headless::{code, files, nothing_of, said, synapse_token},
    homeserver::On,
    rig::{self, GROTTO, PASSWORD, Peer, Stack, Terminal},
    scenario,
};

scenario::everywhere! {
    neither_processes_nor_files_show_a_secret,
}

const PASSPHRASE: &str = "plover-egg-5521";

/// `ESRCH`.
const NO_SUCH_PROCESS: i32 = 3;

/// Checks arguments and variables of a running process. That its variables cannot be read even by
/// its own user is as good. A process of another test may end at any moment.
fn shows_no_secret(pid: u32) {
    for name in ["cmdline", "environ"] {
        let text = match fs::read(format!("/proc/{pid}/{name}")) {
            // It ended, and whoever started it has not asked for its exit status yet.
            Ok(bytes) if bytes.is_empty() => continue,
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // It ended before the file was opened, or before it was read.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => continue,
            Err(error) => {
                assert_eq!((name, error.kind()), ("environ", ErrorKind::PermissionDenied));
                continue;
            }
        };
        assert!(name == "environ" || text.contains("grotto"), "{text:?}");
        for secret in [PASSWORD, PASSPHRASE, "syt_"] {
            assert!(!text.contains(secret), "{secret:?} is in {name}: {text:?}");
        }
    }
}

fn neither_processes_nor_files_show_a_secret(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let file = rig::folder("passphrase").join("passphrase");
    fs::write(&file, PASSPHRASE).unwrap();
    let file = file.to_str().unwrap();
    let alice = Grotto { home: rig::folder("hidden"), user: rig::register(base, "hidden") };
    let login = alice.login(place);
    let login = [&["-vvv"], &login[..], &["--passphrase-file", file]].concat();
    let mut command = alice.command(&login);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(PASSWORD.as_bytes()).unwrap();
    // A program that has only just begun has no arguments for a moment.
    while fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().is_empty() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it was told the password");
    }
    shows_no_secret(child.id());
    drop(stdin);
    let output = rig::finish(child);
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    fs::create_dir_all(alice.home.join("xdg_config_home/grotto")).unwrap();

    let unlocked = |arguments: &[&str]| {
        let mut command = alice.command(arguments);
        // A variable of other programs changes nothing about what ours logs.
        command.env("GROTTO_PASSPHRASE_FILE", file).env("RUST_LOG", "trace").stdin(Stdio::null());
        command
    };
    // The peer on matrix-nio signs no device.
    let output = unlocked(&["-vvv", "policy", "--devices", "all"]).output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let output = unlocked(&["-vvv", "create", "--name", "Cellar"]).output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let mut tail = rig::Lines::start(unlocked(&["-vvv", "--json", "tail"]));
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let output = unlocked(&["-vvv", "send", "Cellar", "the-wine-8842"]).output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let message = tail.find("the message", |line| line["body"] == "the-wine-8842");
    let output = unlocked(&["--json", "keys", "status"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let fingerprint = status["ed25519"].as_str().unwrap();
    let room = message["room_id"].as_str().unwrap();
    let token = synapse_token("syt", &alice.user);
    let secrets =
        ["the-wine-8842", "Cellar", room, fingerprint, PASSWORD, PASSPHRASE, &token, &alice.user];
    shows_no_secret(tail.pid());
    nothing_of(&secrets, &alice.home);
    assert_eq!(tail.terminate(), Some(0));
    nothing_of(&secrets, &alice.home);

    // A session at the screen, with somebody who shares keys.
    let mut bob = Peer::start_echo(Stack::Nio, base, "hiddenbob");
    let output = unlocked(&["-vvv", "invite", "Cellar", &bob.user]).output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    bob.find("bob's join", |line| line["k"] == "joined");
    let mut environment = alice.environment();
    environment.push(("GROTTO_PASSPHRASE_FILE".to_owned(), file.to_owned()));
    environment.push(("RUST_LOG".to_owned(), "trace".to_owned()));
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut terminal = Terminal::start((100, 24), &[GROTTO, "-vvv"], &environment);
    terminal.shows("online");
    terminal.shows("Cellar");
    terminal.type_keys("\r");
    terminal.shows("Write an encrypted message");
    terminal.type_keys("at-night-3317\r");
    bob.hears("at-night-3317");
    terminal.shows("echo: at-night-3317");
    for pid in running() {
        shows_no_secret(pid);
    }
    terminal.signal("SIGTERM");
    assert_eq!(terminal.exit_status(), 0);
    nothing_of(&[&secrets[..], &["at-night-3317", &bob.user]].concat(), &alice.home);
    let logs: Vec<_> =
        files(&alice.home).into_iter().filter(|path| path.ends_with("grotto.log")).collect();
    let log = fs::read_to_string(&logs[0]).unwrap();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "it is the most verbose: {log}");
}

/// All our programs that run on this machine now.
fn running() -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(GROTTO.as_bytes())
    })
    .collect()
}
