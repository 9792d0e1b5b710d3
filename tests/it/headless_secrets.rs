//! What other users and a stolen disk can see: processes, folders, logs.

use std::{
    fs,
    io::{ErrorKind, Write},
    process::Stdio,
};

use crate::{
    grotto::Grotto,
    headless::{code, nothing_of, said},
    rig::{self, PASSWORD, Synapse},
};

const PASSPHRASE: &str = "plover-egg-5521";

/// Checks arguments and variables of a running process. That its variables cannot be read even by
/// its own user is as good.
fn shows_no_secret(pid: u32) {
    for name in ["cmdline", "environ"] {
        let text = match fs::read(format!("/proc/{pid}/{name}")) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
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

#[test]
fn neither_processes_nor_files_show_a_secret() {
    let base = Synapse::shared();
    let file = rig::folder("passphrase").join("passphrase");
    fs::write(&file, PASSPHRASE).unwrap();
    let file = file.to_str().unwrap();
    let alice = Grotto { home: rig::folder("hidden"), user: rig::register(base, "hidden") };
    let login = ["-vv", "login", &alice.user, "--homeserver", base, "--password-file", "-"];
    let mut command = alice.command(&[&login[..], &["--passphrase-file", file]].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(PASSWORD.as_bytes()).unwrap();
    shows_no_secret(child.id());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    fs::create_dir_all(alice.home.join("xdg_config_home/grotto")).unwrap();

    let unlocked = |arguments: &[&str]| {
        let mut command = alice.command(arguments);
        command.env("GROTTO_PASSPHRASE_FILE", file).stdin(Stdio::null());
        command
    };
    let output = unlocked(&["-vv", "create", "--name", "Cellar"]).output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let mut tail = rig::Lines::start(unlocked(&["-vv", "--json", "tail"]));
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let output = unlocked(&["-vv", "send", "Cellar", "the-wine-8842"]).output().unwrap();
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    let message = tail.find("the message", |line| line["body"] == "the-wine-8842");
    let output = unlocked(&["--json", "keys", "status"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let fingerprint = status["ed25519"].as_str().unwrap();
    let room = message["room_id"].as_str().unwrap();
    let secrets =
        ["the-wine-8842", "Cellar", room, fingerprint, PASSWORD, PASSPHRASE, "syt_", &alice.user];
    shows_no_secret(tail.pid());
    nothing_of(&secrets, &alice.home);
    assert_eq!(tail.terminate(), Some(0));
    nothing_of(&secrets, &alice.home);
}
