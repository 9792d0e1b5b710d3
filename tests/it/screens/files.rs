//! Files on the screen: sent by a line, saved by a key, their progress beside them.

use grotto::{
    engine::{Command, CommandError, Outcome, Request, SaveTo, Update},
    rooms::{FileFacts, SendState},
    tui::{Input, TerminalEffect},
};
use serde_json::json;

use super::{
    Screen,
    feed::{ROOM, delta, echo, event, events, open_room},
};

const BOB: &str = "@bob:example.org";

fn facts() -> FileFacts {
    let (path, name) = ("/home/ana/cat.png".to_owned(), "cat.png".to_owned());
    FileFacts { path, name, size: 12_000, mimetype: "image/png" }
}

/// A room with a message about a file of this name.
fn with_file(name: &str) -> Screen {
    let mut screen = open_room(100, 12);
    let info = json!({ "size": 12_000, "mimetype": "image/png\u{1b}[2J" });
    let content = json!({ "msgtype": "m.image", "body": name, "filename": name, "info": info });
    screen.tell([events([event(1, BOB, "m.room.message", content)])]);
    screen.press("tab");
    // What is seen is read.
    screen.frame();
    screen.asked();
    screen
}

#[test]
fn a_line_sends_a_file_with_its_caption() {
    let mut screen = open_room(80, 12);
    screen.press("'/file ~/cat.png' alt-enter 'my cat' enter");
    let wanted = TerminalEffect::Inspect("~/cat.png".to_owned());
    assert!(screen.terminal.contains(&wanted), "{:?}", screen.terminal);
    screen.asked();
    screen.input(Input::Inspected(Ok(facts())));
    let asked = screen.asked();
    let Some(Command::SendFile(draft)) =
        asked.iter().find(|command| matches!(command, Command::SendFile(_)))
    else {
        panic!("{asked:?}");
    };
    assert_eq!((draft.room.as_str(), draft.path.as_str()), (ROOM, "/home/ana/cat.png"));
    assert_eq!(
        (&draft.content["body"], &draft.content["filename"]),
        (&json!("my cat"), &json!("cat.png"))
    );
    screen.input(Input::Inspected(Ok(facts())));
    assert!(screen.asked().is_empty(), "nobody asked for a second");
}

#[test]
fn what_is_wrong_with_a_file_is_said_and_nothing_is_sent() {
    let mut screen = open_room(80, 12);
    screen.press("'/file /nowhere' enter");
    let error = CommandError { code: "file".to_owned(), message: "not\u{1b}[2J there".to_owned() };
    screen.input(Input::Inspected(Err(error)));
    assert!(screen.text().contains("not␛[2J there"), "{}", screen.text());
    assert!(!screen.asked().iter().any(|command| matches!(command, Command::SendFile(_))));
}

#[test]
fn tab_goes_on_with_a_path_and_names_what_it_may_be() {
    let mut screen = open_room(80, 12);
    screen.press("'/file ~/c' tab");
    assert!(screen.terminal.contains(&TerminalEffect::Complete("~/c".to_owned())));
    let names = vec!["cat.png".to_owned(), "cat.txt".to_owned()];
    screen.input(Input::Continuations { typed: "~/c".to_owned(), names });
    let text = screen.text();
    assert!(text.contains("/file ~/cat.") && text.contains("cat.png  cat.txt"), "{text}");
    // What it could have been is old news once it is sent.
    screen.press("'p' tab");
    let names = vec!["cat.png".to_owned(), "cat.png.old".to_owned()];
    screen.input(Input::Continuations { typed: "~/cat.p".to_owned(), names });
    assert!(screen.text().contains("cat.png.old"));
    screen.press("enter");
    assert!(!screen.text().contains("cat.png.old"), "{}", screen.text());
    screen.press("'/file ~/cat.'");
    // An answer to what is no longer typed changes nothing.
    let names = vec!["dog".to_owned()];
    screen.input(Input::Continuations { typed: "~/d".to_owned(), names });
    assert!(screen.text().contains("/file ~/cat."));
}

#[test]
fn a_file_is_saved_by_a_key_and_given_up_by_the_same() {
    let mut screen = with_file("../cat\u{202e}.png");
    let text = screen.text();
    assert!(text.contains("12 kB, image/png␛[2J") && text.contains("s save"), "{text}");
    screen.press("s");
    let asked = screen.asked();
    let [Command::Request { id, request: Request::Download { to, .. } }] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(*to, SaveTo::Folder("/home/ana/Downloads".to_owned()));
    screen.tell([Update::Progress { id: *id, done: 6_000, total: Some(12_000) }]);
    assert!(screen.text().contains("50 %"), "{}", screen.text());
    screen.press("s");
    assert_eq!(screen.asked(), [Command::Cancel(*id)]);
    let path = "/home/ana/Downloads/cat.png".to_owned();
    let saved = Outcome::Saved { path: path.clone(), size: 12_000, encrypted: false };
    screen.tell([Update::Outcome { id: *id, result: Ok(saved) }]);
    let text = screen.text();
    assert!(text.contains(&path) && text.contains("not encrypted"), "{text}");
}

#[test]
fn an_upload_says_how_far_it_is() {
    let mut screen = open_room(80, 12);
    let state = SendState::Uploading { done: 1, total: 4 };
    screen.tell([delta(echo("t", "cat.png", state))]);
    assert!(screen.text().contains("uploading 25 %"), "{}", screen.text());
}
