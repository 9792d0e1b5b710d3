//! Messages of ours on their way.

use super::rig::*;
use crate::matrix::OwnedTransactionId;

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn echo(txn: &str, kind: &str, content: Value, state: SendState) -> TimelineDelta {
    let content = content.as_object().expect("an object").clone();
    let (txn, kind) = (OwnedTransactionId::from(txn), kind.to_owned());
    TimelineDelta::Echo(Echo { txn, kind, content, at: Timestamp(5), state })
}

fn said(txn: &str, body: &str, state: SendState) -> TimelineDelta {
    echo(txn, "m.room.message", text(body), state)
}

fn mine(position: i64, body: &str, txn: &str) -> StoredEvent {
    let content = json!({"msgtype": "m.text", "body": body, "unsigned": {"transaction_id": txn}});
    secret(position, ALICE, "m.room.message", content)
}

#[test]
fn echoes_stand_at_the_end_in_the_order_they_came() {
    let mut timeline = fold([clear(1, BOB, "m.room.message", text("x"))]);
    timeline.apply(said("b", "one", SendState::Queued));
    timeline.apply(said("a", "two", SendState::Queued));
    timeline.apply(said("b", "one", SendState::Sending));
    timeline.apply(TimelineDelta::Events(vec![clear(2, BOB, "m.room.message", text("y"))]));
    assert_eq!(shown(&timeline), ["bob: x", "bob: y", "alice: one Sending", "alice: two Queued"]);
    timeline.apply(TimelineDelta::EchoDiscarded("a".into()));
    timeline.apply(said("a", "two", SendState::Sending));
    assert_eq!(shown(&timeline), ["bob: x", "bob: y", "alice: one Sending"]);
}

#[test]
fn an_echo_and_its_event_are_one_item_whichever_is_first() {
    let event = TimelineDelta::Events(vec![mine(7, "hi", "t")]);
    let untold = {
        let mut event = mine(7, "hi", "t");
        event.event.unsigned.transaction_id = None;
        TimelineDelta::Events(vec![event])
    };
    let queued = said("t", "hi", SendState::Queued);
    let sent = said("t", "hi", SendState::Sent(id("$7")));
    for deltas in [
        vec![&queued, &event, &sent, &sent],
        vec![&queued, &sent, &event],
        vec![&event, &queued, &sent],
        vec![&queued, &sent, &untold, &sent],
        vec![&queued, &untold, &sent],
    ] {
        let mut timeline = fold([]);
        for delta in deltas {
            timeline.apply(delta.clone());
        }
        assert_eq!(shown(&timeline), ["alice: hi"]);
    }
}

#[test]
fn others_cannot_take_an_echo_away_by_naming_its_transaction() {
    let mut timeline = fold([]);
    timeline.apply(said("t", "hi", SendState::Queued));
    let content = json!({"msgtype": "m.text", "body": "!", "unsigned": {"transaction_id": "t"}});
    let event = clear(1, BOB, "m.room.message", content);
    timeline.apply(TimelineDelta::Events(vec![event]));
    assert_eq!(shown(&timeline), ["bob: !", "alice: hi Queued"]);
}

#[test]
fn edits_reactions_and_removals_on_their_way_show_at_their_message() {
    let start = || fold([secret(1, ALICE, "m.room.message", text("a"))]);
    let mut timeline = start();
    timeline.apply(echo("e", "m.room.message", edit("b", "$1"), SendState::Queued));
    timeline.apply(echo("r", "m.reaction", reaction("👍", "$1"), SendState::Queued));
    assert_eq!(shown(&timeline), ["alice: b (edited) 👍1 Queued"]);
    timeline.apply(TimelineDelta::EchoDiscarded("e".into()));
    assert_eq!(shown(&timeline), ["alice: a 👍1"]);
    let before = version(&timeline, 1);
    timeline.apply(TimelineDelta::EchoDiscarded("r".into()));
    assert!(before < version(&timeline, 1));
    // About a message that is not here, they show by themselves, so that they can be taken back.
    timeline.apply(echo("f", "m.room.message", edit("c", "$far"), SendState::Queued));
    assert_eq!(shown(&timeline), ["alice: a", "alice: c Queued"]);
}

#[test]
fn a_message_keeps_its_text_until_the_server_has_its_removal() {
    let removal = |state| echo("d", "m.room.redaction", json!({"redacts": "$1"}), state);
    let mut timeline = fold([secret(1, ALICE, "m.room.message", text("a"))]);
    timeline.apply(removal(SendState::Queued));
    assert_eq!(shown(&timeline), ["alice: a removal Queued"]);
    let error = SendError { code: "M_FORBIDDEN".to_owned(), message: "no".to_owned() };
    timeline.apply(removal(SendState::Failed(error)));
    assert!(shown(&timeline)[0].starts_with("alice: a removal Failed"), "{:?}", shown(&timeline));
    timeline.apply(TimelineDelta::EchoDiscarded("d".into()));
    assert_eq!(shown(&timeline), ["alice: a"]);

    let again = echo("f", "m.room.redaction", json!({"redacts": "$1"}), SendState::Sending);
    timeline.apply(again);
    assert_eq!(shown(&timeline), ["alice: a removal Sending"]);
    let sent = SendState::Sent(id("$2"));
    timeline.apply(echo("f", "m.room.redaction", json!({"redacts": "$1"}), sent));
    assert_eq!(shown(&timeline), ["removed by alice: "]);
    let event = clear(2, ALICE, "m.room.redaction", json!({"redacts": "$1"}));
    timeline.apply(TimelineDelta::Events(vec![event]));
    assert_eq!(shown(&timeline), ["removed by alice: "]);
}

#[test]
fn a_reaction_that_failed_can_be_taken_back_at_its_message() {
    let mut timeline = fold([secret(1, BOB, "m.room.message", text("a"))]);
    let error = SendError { code: "M_FORBIDDEN".to_owned(), message: "no".to_owned() };
    let failed = SendState::Failed(error);
    timeline.apply(echo("r", "m.reaction", reaction("👍", "$1"), failed));
    let item = timeline.items().next_back().unwrap();
    let ItemKind::Message(message) = item.kind else { panic!("{item:?}") };
    assert_eq!(message.send.unwrap().txn, "r");
    timeline.apply(TimelineDelta::EchoDiscarded("r".into()));
    assert_eq!(shown(&timeline), ["bob: a"]);
}
