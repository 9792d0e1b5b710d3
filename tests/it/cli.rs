//! The command line itself: usage, help, completions, manual. No network, no account.

use std::process::{Command, Output};

use crate::rig::{GROTTO, folder};

/// Runs grotto in a folder of its own, with nothing of the caller's environment that it reads.
fn grotto(arguments: &[&str]) -> Output {
    let home = folder("cli");
    let mut command = Command::new(GROTTO);
    for name in ["ACCOUNT", "CONFIG", "DATA_DIR", "PASSPHRASE_FILE"] {
        command.env_remove(format!("GROTTO_{name}"));
    }
    command
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", &home)
        .env("XDG_DATA_HOME", home.join("data"));
    command.env("XDG_CONFIG_HOME", home.join("config"));
    command.stdin(std::process::Stdio::null()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Checks that `arguments` are refused as wrong usage, on standard error, saying `what`.
#[track_caller]
fn refused(arguments: &[&str], what: &str) {
    let output = grotto(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    assert!(said.contains(what), "{arguments:?} says not {what:?} but: {said}");
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_is_wrong() {
    refused(&["frobnicate"], "frobnicate");
    refused(&["send"], "ROOM");
    refused(&["send", "!room:example.org"], "TEXT");
    refused(&["send", "!r:example.org", "hi", "--notice", "--emote"], "--emote");
    refused(&["send", "!r:example.org", "hi", "--markdown", "--plain"], "--plain");
    refused(&["send", "!r:example.org", "hi", "--reply", "event"], "begins with $");
    refused(&["send", "!r:example.org", "hi", "--edit", "$a", "--reply", "$b"], "--reply");
    refused(&["send", "!r:example.org", "hi", "--react", "x", "$a"], "--react");
    refused(&["send", "!r:example.org", "--react", "x", "a"], "begins with $");
    refused(&["tail", "--since-start", "--backlog", "3"], "--backlog");
    refused(&["history", "r", "--limit", "0"], "--limit");
    refused(&["invite", "!r:example.org", "alice"], "@alice:example.org");
    refused(&["create", "--dm"], "--invite");
    refused(&["rooms", "--timeout", "soon"], "duration");
    refused(&["login", "@alice"], "@alice:example.org");
    refused(&["completions", "cmd.exe"], "cmd.exe");
    refused(&["gateway", "--homeserver", "http://127.0.0.1:1", "--tls-cert", "c"], "--tls-key");
}

#[test]
fn help_goes_to_standard_output_and_names_every_command_and_exit_code() {
    let output = grotto(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for word in COMMANDS {
        assert!(help.contains(&format!("\n  {word} ")), "{word}");
    }
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}");
    }
    for command in COMMANDS {
        let output = grotto(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(text(&output.stdout).contains("Usage: grotto"), "{command}");
    }
}

#[test]
fn completions_and_the_manual_know_every_command() {
    for shell in ["bash", "fish", "zsh", "elvish", "powershell"] {
        let output = grotto(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("passphrase-file"), "{shell}");
    }
    let output = grotto(&["man"]);
    assert_eq!(output.status.code(), Some(0));
    let manual = text(&output.stdout);
    for command in COMMANDS {
        assert!(
            manual.contains(&format!(".SH \"GROTTO {}\"", command.to_uppercase())),
            "{command}"
        );
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = grotto(&["--version"]);
    assert_eq!(text(&output.stdout), concat!("grotto ", env!("CARGO_PKG_VERSION"), "\n"));
}

const COMMANDS: &[&str] = &[
    "login",
    "logout",
    "passphrase",
    "rooms",
    "create",
    "join",
    "leave",
    "invite",
    "send",
    "tail",
    "history",
    "keys",
    "gateway",
    "completions",
    "man",
];
