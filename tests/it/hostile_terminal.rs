//! What reaches the terminal: a session with everything a stranger can name and write, recorded to
//! the byte and held to a grammar; and that the terminal is given back whatever ends the program.

use std::{collections::BTreeMap, path::Path, time::Instant};

use grotto::{
    engine::{Command, Update},
    tui::{self, Handle, TuiOptions},
};
use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    homeserver::On,
    rig::{self, PASSWORD, Peer, Stack, Terminal},
    scenario,
};

scenario::everywhere! {
    nothing_of_a_stranger_reaches_the_terminal_but_text,
    nothing_is_drawn_while_nothing_happens,
    a_signal_to_end_gives_the_terminal_back,
}

/// What must never come out as it went in. The second column is what is to be seen instead.
const ATTACKS: [(&str, &str); 17] = [
    ("\x1b[2J\x1b[H", "␛[2J␛[H"),
    ("\x1b[31;5m", "␛[31;5m"),
    ("\x1b[?1049l", "␛[?1049l"),
    ("\x1b]8;;http://evil.example/\x07link\x1b]8;;\x07", "␛]8;;http://evil.example/␇link␛]8;;␇"),
    ("\x1b]52;c;ZXZpbA==\x07", "␛]52;c;ZXZpbA==␇"),
    ("\x1b]0;title\x1b\\", "␛]0;title␛\\"),
    ("\x1bP$q\"p\x1b\\", "␛P$q\"p␛\\"),
    ("\x1b_Gi=1;AAAA\x1b\\", "␛_Gi=1;AAAA␛\\"),
    ("\x1bc", "␛c"),
    ("\u{9b}2J", "\u{fffd}2J"),
    ("\u{9d}52;c;ZXZpbA==\u{9c}", "\u{fffd}52;c;ZXZpbA==\u{fffd}"),
    ("\u{90}q\u{9c}", "\u{fffd}q\u{fffd}"),
    ("\x07\x08\x08\x0b\x0c\x0e\x0f", "␇␈␈␋␌␎␏"),
    ("\x7f", "␡"),
    ("\u{202e}txt.exe\u{202c}", "txt.exe"),
    ("\u{2066}\u{200f}isolated\u{2069}", "isolated"),
    ("\u{200b}\u{2060}\u{feff}zero", "zero"),
];

/// `word` and all attacks, beginning with the one of this number, so that each stands first
/// somewhere: what is long is cut.
fn hostile(word: &str, first: usize) -> String {
    let all = ATTACKS.iter().cycle().skip(first).take(ATTACKS.len());
    format!("{word}{}", all.map(|(attack, _)| *attack).collect::<String>())
}

/// How the beginning of [`hostile`] is to be seen.
fn seen(word: &str, first: usize) -> String {
    format!("{word}{}", ATTACKS[first].1)
}

/// Every mode that a recording switches, and whether it is on at the end.
type Modes = BTreeMap<String, bool>;

/// Reads what the program wrote, from taking the terminal until giving it back, by the grammar of
/// what grotto may send. (A shell around it writes before and after.)
///
/// # Panics
/// At the first thing it may not.
fn read(recording: &Path) -> Modes {
    let bytes = std::fs::read(recording).unwrap();
    let text = String::from_utf8(bytes).expect("a recording is UTF-8, so no byte of C1");
    let (start, end) = ("\x1b[?1049h", "\x1b[?1049l");
    let start = text.find(start).expect("the terminal was taken");
    let end = text.rfind(end).expect("the terminal was given back") + end.len();
    let mut modes = Modes::new();
    let mut rest = text[start..end].chars();
    while let Some(c) = rest.next() {
        let before = rest.as_str();
        if c != '\x1b' {
            assert!(!is_forbidden(c), "{c:?} before {:?}", before.get(..40));
            continue;
        }
        assert_eq!(rest.next(), Some('['), "an escape that is no CSI: {:?}", before.get(..40));
        let parameters: String =
            rest.clone().take_while(|c| ('\x30'..='\x3f').contains(c)).collect();
        let last = rest.nth(parameters.len()).expect("the recording ends within a sequence");
        assert!(is_ours(&parameters, last), "CSI {parameters} {last}");
        match last {
            'h' | 'l' => drop(modes.insert(parameters, last == 'h')),
            'u' => drop(modes.insert("keys".to_owned(), parameters.starts_with('>'))),
            _ => {}
        }
    }
    modes
}

/// The only sequences that grotto sends.
fn is_ours(parameters: &str, last: char) -> bool {
    match last {
        'h' | 'l' => ["?2026", "?1049", "?2004", "?1004", "?25", "?7"].contains(&parameters),
        'u' => [">1", "<1"].contains(&parameters),
        'J' => parameters == "2",
        'H' => parameters.split(';').filter(|part| part.parse::<u16>().is_ok()).count() == 2,
        'm' => {
            is_style(&parameters.split(';').map(|part| part.parse().unwrap()).collect::<Vec<_>>())
        }
        _ => false,
    }
}

/// Attributes and colors, whole ones.
fn is_style(parts: &[u8]) -> bool {
    match parts {
        [] => true,
        [38 | 48 | 58, 5, _, rest @ ..] | [38 | 48 | 58, 2, _, _, _, rest @ ..] => is_style(rest),
        [
            0..=4 | 7 | 9 | 22..=24 | 27 | 29..=37 | 39..=47 | 49 | 59 | 90..=97 | 100..=107,
            rest @ ..,
        ] => is_style(rest),
        _ => false,
    }
}

fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// A stranger who does all that a stranger can, in a room with `grotto` in it.
struct Stranger {
    base: &'static str,
    peer: Peer,
    token: String,
}

impl Stranger {
    fn put(&self, path: &str, body: &Value) {
        let path = format!("/_matrix/client/v3/rooms/{path}");
        let answer = rig::http(self.base, "PUT", &path, Some(&self.token), body);
        assert!(answer["errcode"].is_null(), "{path}: {answer}");
    }

    fn send(&mut self, room: &str, kind: &str, content: &Value) -> String {
        let command = json!({"do": "send", "room": room, "type": kind, "content": content});
        let answer = self.peer.ask(command);
        answer["event"].as_str().unwrap_or_else(|| panic!("not sent: {answer}")).to_owned()
    }

    /// Messages of every form; the last is `the end`.
    fn talk(&mut self, room: &str) {
        for (number, (attack, _)) in ATTACKS.iter().enumerate() {
            self.peer.say(room, &format!("m{number}{attack}"));
        }
        let name = hostile("file", 6);
        let file =
            json!({"msgtype": "m.file", "body": "caption", "filename": name, "info": {"size": 9}});
        let odd = json!({"msgtype": hostile("type", 4), "body": hostile("odd", 5)});
        let place = json!({"msgtype": "m.location", "body": hostile("place", 7), "geo_uri": hostile("geo:", 8)});
        for content in [file, odd, place] {
            self.send(room, "m.room.message", &content);
        }
        let target = self.peer.say(room, "react to this");
        for first in [3, 4, 9] {
            let key = hostile("k", first);
            let relation = json!({"rel_type": "m.annotation", "event_id": target, "key": key});
            self.send(room, "m.reaction", &json!({"m.relates_to": relation}));
        }
        let removed = self.peer.say(room, "to be removed");
        let reason = json!({"reason": hostile("reason", 9)});
        self.put(&format!("{room}/redact/{removed}/t1"), &reason);
        self.peer.say(room, "the end");
    }
}

fn nothing_of_a_stranger_reaches_the_terminal_but_text(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let grotto = Grotto::log_in(place, "careful");
    let mut peer = Peer::start(Stack::Nio, base, "stranger");
    peer.ask(json!({"do": "name", "name": hostile("eve", 1)}));
    let room = peer.create(&hostile("room", 0), &[&grotto.user]);
    let user = grotto.user.clone();
    grotto.json(&["join", &room]);
    peer.find("the join", |line| {
        line["sender"] == user.as_str() && line["content"]["membership"] == "join"
    });
    let token = rig::log_in(base, &peer.user, PASSWORD);
    let mut stranger = Stranger { base, peer, token };
    stranger.put(&format!("{room}/state/m.room.topic/"), &json!({"topic": hostile("topic", 2)}));
    stranger.peer.create(&hostile("lure", 10), &[&grotto.user]);

    let mut terminal = grotto.open((200, 50));
    terminal.shows(&seen("room", 0));
    terminal.shows(&seen("lure", 10));
    // The invite is the first of the list: the question names room and inviter.
    terminal.type_keys("\r");
    terminal.shows("invites you to");
    // Escape and what is typed next might come in one piece, which is another key.
    terminal.type_keys("\x1b[B\x1b");
    terminal.hides("invites you to");
    terminal.type_keys("\x1b[B\r");
    terminal.shows(&seen("topic", 2));
    stranger.talk(&room);
    terminal.shows("the end");
    let screen = terminal.shows("message removed").join("\n");
    for (number, (_, shown)) in ATTACKS.iter().enumerate() {
        assert!(screen.contains(&format!("m{number}{shown}")), "m{number}{shown}:\n{screen}");
    }
    for shown in
        [seen("eve", 1), seen("file", 6), seen("odd", 5), seen("place", 7), seen("reason", 9)]
    {
        assert!(screen.contains(&shown), "{shown}:\n{screen}");
    }

    walk(&mut terminal);
    stranger.put(
        &format!("{room}/typing/{}", stranger.peer.user),
        &json!({"typing": true, "timeout": 30_000}),
    );
    terminal.shows("is typing");
    terminal.type_keys("\x11");
    assert_eq!(terminal.exit_status(), 0);
    let modes = read(&terminal.recording);
    assert_given_back(&modes);
}

/// Through everything that stands over the screen and quotes a stranger.
fn walk(terminal: &mut Terminal) {
    terminal.type_keys(&format!("\x1b[200~{}\x1b[201~", hostile("pasted", 4)));
    // Who pastes would not write pictures of controls: they are left out.
    terminal.shows("pasted]52;c;ZXZpbA==]0;title");
    terminal.type_keys("\x03/leave\r");
    terminal.shows("Leave room");
    terminal.type_keys("\x1b");
    terminal.hides("Leave room");
    // Alt with an arrow as many terminals send it: nothing of it is typed.
    terminal.type_keys("\x1b\x1b[Dmarker");
    terminal.shows("> marker");
    terminal.type_keys("\x03");
    // The switcher, all messages one after another, a reply, and the question before a removal.
    terminal.type_keys("\x0b");
    terminal.shows("Go to a room");
    terminal.type_keys("\x03\t");
    terminal.shows("r reply");
    terminal.type_keys(&"k".repeat(12));
    terminal.type_keys("r");
    terminal.shows("replying to eve");
    terminal.type_keys("\x03\tkkkkd");
    terminal.shows("Remove this message");
    terminal.type_keys("\x03");
    for (columns, rows) in [(40, 12), (80, 24), (30, 5), (200, 50)] {
        terminal.resize(columns, rows);
        terminal.screen();
    }
    terminal.type_keys("\x03");
}

/// All that was switched on is off, and the cursor is there.
fn assert_given_back(modes: &Modes) {
    let expected = [
        ("?1004", false),
        ("?1049", false),
        ("?2004", false),
        ("?2026", false),
        ("?25", true),
        ("?7", true),
        ("keys", false),
    ];
    let expected: Modes = expected.into_iter().map(|(name, on)| (name.to_owned(), on)).collect();
    assert_eq!(*modes, expected);
}

fn nothing_is_drawn_while_nothing_happens(on: On) {
    let place = on.shared();
    let grotto = Grotto::log_in(place, "idle");
    grotto.json(&["create", "--name", "quiet place"]);
    let mut terminal = grotto.open((80, 24));
    terminal.shows("quiet place");
    terminal.shows("● online");
    // What begins with a start comes to its end at some time; then nothing is drawn for many looks,
    // each of which waits until nothing came for a while.
    let drawn = |terminal: &Terminal| std::fs::metadata(&terminal.recording).unwrap().len();
    let give_up = Instant::now() + rig::PATIENCE;
    let (mut before, mut quiet) = (0, 0);
    while quiet < 20 {
        let screen = terminal.screen();
        let now = drawn(&terminal);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        assert!(Instant::now() < give_up, "it draws and draws:\n{}", screen.join("\n"));
    }
    terminal.type_keys("\x11");
    assert_eq!(terminal.exit_status(), 0);
}

/// Runs a program in a shell in a terminal; the shell says afterwards how it found the terminal.
fn in_a_shell(program: &[&str], environment: &[(&str, &str)]) -> (Terminal, std::path::PathBuf) {
    let pid = rig::folder("shell").join("pid");
    let script =
        "sh -c 'echo $$ >\"$0\"; exec \"$@\"' \"$0\" \"$@\"; echo status $?; stty -a; read wait";
    let start = ["sh", "-c", script, pid.to_str().unwrap()];
    (Terminal::start((100, 30), &[&start, program].concat(), environment), pid)
}

fn assert_usable(terminal: &mut Terminal, status: &str) {
    let screen = terminal.shows("icanon").join("\n");
    assert!(screen.contains(status), "{screen}");
    assert!(!screen.contains("-icanon") && !screen.contains("-echo "), "{screen}");
    assert_given_back(&read(&terminal.recording));
}

fn a_signal_to_end_gives_the_terminal_back(on: On) {
    let place = on.shared();
    let grotto = Grotto::log_in(place, "ended");
    let environment = grotto.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (mut terminal, pid) = in_a_shell(&[rig::GROTTO], &environment);
    terminal.shows("● online");
    let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_usable(&mut terminal, "status 0");
}

/// Marks the run of this binary that is to panic.
const CHILD: &str = "a-screen-that-panics";

/// In the child: shows the screen and panics under it.
fn panic_under_the_screen() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (updates, told) = tokio::sync::mpsc::channel::<Update>(1);
        let (commands, _asked) = tokio::sync::mpsc::channel::<Command>(1);
        let options = TuiOptions::new("@ana:example.org".try_into().unwrap());
        let screen = tui::run(Handle { commands, updates: told }, options);
        let panics = async {
            // The screen takes the second only after the first, and draws in between or before.
            updates.send(Update::Synced).await.unwrap();
            updates.send(Update::CaughtUp).await.unwrap();
            let gone = updates.reserve().await.map(drop);
            panic!("on purpose: {gone:?}");
        };
        tokio::select! { shown = screen => shown.unwrap(), () = panics => {} }
    });
}

#[test]
fn a_panic_gives_the_terminal_back() {
    if std::env::args().any(|argument| argument == CHILD) {
        return panic_under_the_screen();
    }
    let own = std::env::current_exe().unwrap();
    let name = "hostile_terminal::a_panic_gives_the_terminal_back";
    let child = [own.to_str().unwrap(), "--exact", name, CHILD, "--nocapture", "--test-threads=1"];
    let (mut terminal, _) = in_a_shell(&child, &[]);
    terminal.shows("internal error at");
    assert_usable(&mut terminal, "status 101");
}
