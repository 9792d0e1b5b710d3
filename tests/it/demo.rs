//! `grotto demo` as a newcomer meets it: the real program in a terminal of 80 by 24.

use std::path::{Path, PathBuf};

use crate::rig::{self, GROTTO, Terminal};

/// The demo in a home of its own.
struct Newcomer {
    home: PathBuf,
    terminal: Terminal,
}

impl Newcomer {
    fn start() -> Self {
        let home = rig::folder("demo");
        // A configuration that the demo must neither read nor need.
        let config = home.join("config/grotto");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("config.toml"), "not a configuration").unwrap();
        let at = |name: &str| {
            let path = home.join(name);
            std::fs::create_dir_all(&path).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let folders = [
            ("HOME", at("home")),
            ("TMPDIR", at("tmp")),
            ("XDG_DATA_HOME", at("data")),
            ("XDG_CONFIG_HOME", at("config")),
            ("XDG_STATE_HOME", at("state")),
            ("XDG_CACHE_HOME", at("cache")),
            ("XDG_RUNTIME_DIR", at("runtime")),
        ];
        let folders: Vec<(&str, &str)> =
            folders.iter().map(|(name, path)| (*name, path.as_str())).collect();
        let terminal = Terminal::start((80, 24), &[GROTTO, "demo"], &folders);
        Self { home, terminal }
    }

    fn types(&mut self, keys: &str) {
        self.terminal.type_keys(keys);
    }

    fn sees(&mut self, text: &str) -> String {
        self.terminal.shows(text).join("\n")
    }
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

const TAB: &str = "\t";
const UP: &str = "\x1b[A";

#[test]
fn a_newcomer_chats_with_the_guide_finds_the_group_and_leaves_nothing_behind() {
    let mut newcomer = Newcomer::start();
    let screen = newcomer.sees("1/16");
    assert!(screen.contains("# Garden") && screen.contains("encrypted"), "{screen}");

    newcomer.types("hello there\r");
    let screen = newcomer.sees("2/16");
    assert!(screen.contains("👋 1"), "the guide reacts too:\n{screen}");

    newcomer.types(TAB);
    newcomer.sees("r reply");
    newcomer.types("r");
    newcomer.sees("replying to");
    newcomer.types("to this\r");
    newcomer.sees("3/16");

    newcomer.types(TAB);
    newcomer.sees("+ react");
    newcomer.types("+");
    newcomer.sees("React:");
    newcomer.types(":tada:\r");
    newcomer.sees("4/16");

    newcomer.types("i");
    newcomer.types(UP);
    newcomer.sees("editing your message");
    newcomer.types(" again\r");
    newcomer.sees("(edited)");
    newcomer.sees("5/16");

    newcomer.types("one\x0atwo\r");
    newcomer.sees("6/16");
    newcomer.types("skip\r");
    newcomer.sees("7/16");
    newcomer.types("skip\r");
    newcomer.sees("8/16");

    newcomer.types("/file /etc/hosts\r");
    newcomer.sees("9/16");
    newcomer.types(TAB);
    newcomer.sees("+ react");
    newcomer.types("w");
    let story = newcomer.sees("fingerprint");
    let maker = story.lines().find(|row| row.contains("of @guide:demo")).unwrap();
    let device = maker.split("device ").nth(1).unwrap()[..3].to_lowercase();
    newcomer.types("\x1b");
    newcomer.terminal.hides("fingerprint");
    newcomer.sees("+ react");
    newcomer.types(&format!("i{device}\r"));
    newcomer.sees("10/16");

    newcomer.types("/verify @guide:demo\r");
    newcomer.sees("How do you want to compare?");
    newcomer.types("y");
    newcomer.sees("They are the same");
    newcomer.sees("I see: ");
    newcomer.types("y");
    newcomer.sees("Verified: @guide:demo");
    newcomer.types("\r");
    newcomer.sees("11/16");

    newcomer.types("\x1ba");
    newcomer.sees("Garden  3 members");
    newcomer.sees("kettle");
    newcomer.types("hello you two\r");
    newcomer.sees("12/16");
    newcomer.types("Robin?\r");
    newcomer.sees("compost");

    for step in 13..=16 {
        newcomer.types("skip\r");
        newcomer.sees(&format!("{step}/16"));
    }
    newcomer.types("\x1bs");
    newcomer.sees("Make a recovery key?");
    newcomer.types("y");
    newcomer.sees("Your recovery key:");
    newcomer.types("y");
    newcomer.types("done\r");
    newcomer.sees("That was the tour");

    newcomer.types("\x11");
    assert_eq!(newcomer.terminal.exit_status(), 0);
    assert_eq!(files(&newcomer.home), [newcomer.home.join("config/grotto/config.toml")]);
}

#[test]
fn a_demo_that_is_told_to_end_gives_the_terminal_back() {
    let mut newcomer = Newcomer::start();
    newcomer.sees("1/16");
    newcomer.terminal.signal("SIGTERM");
    assert_eq!(newcomer.terminal.exit_status(), 0);
    let recording = std::fs::read(&newcomer.terminal.recording).unwrap();
    let leaves = b"\x1b[?1049l";
    assert!(recording.windows(leaves.len()).any(|part| part == leaves));
    assert_eq!(files(&newcomer.home).len(), 1);
}

#[test]
fn without_a_terminal_the_demo_says_so() {
    let output = std::process::Command::new(GROTTO)
        .arg("demo")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"));
}
