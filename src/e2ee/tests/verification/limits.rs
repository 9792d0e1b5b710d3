//! Time-outs, floods, and verifications that meet each other.

use std::time::Duration;

use serde_json::json;

use super::Rig;
use crate::e2ee::{
    CancelCode, Ending, Notice, Scan, VerificationAct as Act, VerificationStage as Stage,
};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_request_that_nobody_answers_ends_here_after_two_minutes_and_everywhere_after_ten() {
    let mut rig = Rig::own_devices();
    rig.start(0, 1).unwrap();
    rig.world.pass(MINUTE + MINUTE);
    rig.settle();
    assert_eq!(rig.ending(1).0.as_str(), "m.timeout");
    assert_eq!(rig.stage(0), Stage::Asked);
    rig.world.pass(MINUTE * 8);
    rig.settle();
    let (code, by) = rig.ending(0);
    assert_eq!((code.as_str(), by), ("m.timeout", Ending::Us));
}

// T-80
#[test]
fn a_verification_that_takes_too_long_is_cancelled_on_both_sides() {
    let mut rig = Rig::couple();
    rig.compare(0, 1, 0);
    rig.world.pass(MINUTE * 10);
    rig.settle();
    assert_eq!(rig.ending(0).0.as_str(), "m.timeout");
    assert_eq!(rig.ending(1).0.as_str(), "m.timeout");
    let error = rig.try_act(0, Act::Confirm).unwrap_err();
    assert_eq!(error.code(), "out_of_turn");
}

#[test]
fn old_requests_and_those_from_the_future_are_not_heard() {
    for (offset, heard) in
        [(-600_001_i64, false), (-500_000, true), (200_000, true), (300_002, false)]
    {
        let mut rig = Rig::own_devices();
        let name = rig.world.clients[1].name();
        let at = i64::try_from(rig.world.now.0).unwrap() + offset;
        let request = json!({
            "from_device": "DEVICE0", "methods": ["m.sas.v1"],
            "timestamp": at, "transaction_id": "t",
        });
        let alice = rig.user(0);
        rig.world.server.put_in_inbox(&name, "m.key.verification.request", &alice, request);
        rig.settle();
        assert_eq!(!rig.views[1].is_empty(), heard, "{offset}");
    }
}

#[test]
fn two_requests_of_one_device_end_each_other() {
    let mut rig = Rig::own_devices();
    rig.start(0, 1).unwrap();
    let name = rig.world.clients[1].name();
    let request = json!({
        "from_device": "DEVICE0", "methods": ["m.sas.v1"],
        "timestamp": rig.world.now.0, "transaction_id": "another",
    });
    let alice = rig.user(0);
    rig.world.server.put_in_inbox(&name, "m.key.verification.request", &alice, request);
    rig.settle();
    assert_eq!(rig.ending(1).1, Ending::Us);
    assert_eq!(rig.ending(0).1, Ending::Them);
}

#[test]
fn a_flood_of_requests_takes_a_bounded_place() {
    let mut rig = Rig::own_devices();
    let name = rig.world.clients[0].name();
    let alice = rig.user(0);
    for i in 0..2_000 {
        // Devices that exist and devices that do not.
        let device = if i % 2 == 0 { "DEVICE1".to_owned() } else { format!("GHOST{i}") };
        let request = json!({
            "from_device": device, "methods": ["m.sas.v1"],
            "timestamp": rig.world.now.0, "transaction_id": format!("t{i}"),
        });
        rig.world.server.put_in_inbox(&name, "m.key.verification.request", &alice, request);
        let junk = json!({ "transaction_id": format!("u{i}"), "key": "x" });
        rig.world.server.put_in_inbox(&name, "m.key.verification.key", &alice, junk);
    }
    rig.settle();
    let machine = &rig.world.clients[0].machine;
    assert!(machine.verifications().len() <= 8);
    assert!(machine.verifications_held() <= 8 + 32 + 8);
}

#[test]
fn requests_of_strangers_are_not_shown() {
    let mut rig = Rig::own_devices();
    rig.world.log_in("@mallory:x", "M");
    rig.views.push(Vec::new());
    rig.settle();
    let name = rig.world.clients[0].name();
    let mallory = rig.user(2);
    let request = json!({
        "from_device": "M", "methods": ["m.sas.v1"],
        "timestamp": rig.world.now.0, "transaction_id": "t",
    });
    rig.world.server.put_in_inbox(&name, "m.key.verification.request", &mallory, request);
    rig.settle();
    assert!(rig.views[0].is_empty());
}

#[test]
fn a_request_of_a_device_that_is_not_known_yet_is_shown_when_it_is() {
    let mut rig = Rig::own_devices();
    let new = rig.world.log_in("@alice:x", "NEW");
    rig.views.push(Vec::new());
    // Its request arrives before its keys are known here.
    rig.settle();
    let alice = rig.user(0);
    rig.world
        .at(new, |machine, step| {
            machine.start_verification((&alice, Some("DEVICE0".into())), None, Scan::No, step)
        })
        .unwrap()
        .unwrap();
    rig.settle();
    assert_eq!(rig.stage(0), Stage::Invited);
    assert_eq!(rig.views[0].last().unwrap().device.as_deref(), Some("NEW".into()));
}

#[test]
fn a_second_verification_with_the_same_user_has_to_wait() {
    let mut rig = Rig::couple();
    rig.start(0, 1).unwrap();
    assert_eq!(rig.start(0, 1).unwrap_err().code(), "under_way");
    rig.act(0, Act::Cancel);
    assert_eq!(rig.ending(1).0.as_str(), "m.user");
    rig.start(0, 1).unwrap();
    assert_eq!(rig.stage(1), Stage::Invited);
}

#[test]
fn whoever_restarts_knows_nothing_of_it_any_more_and_can_begin_anew() {
    let mut rig = Rig::couple();
    rig.compare(0, 1, 0);
    let now = rig.world.now;
    rig.world.clients[0].restart(now);
    assert!(rig.world.clients[0].machine.verifications().is_empty());
    rig.act(1, Act::Confirm);
    assert!(!rig.trusts(1, 0));
    rig.start(0, 1).unwrap();
    assert_eq!(rig.ending(1).0.as_str(), "m.unexpected_message");
    rig.world.pass(Duration::from_secs(1));
}

#[test]
fn a_request_that_was_taken_back_does_not_wait_for_its_device() {
    let mut rig = Rig::own_devices();
    let name = rig.world.clients[0].name();
    let alice = rig.user(0);
    let request = json!({
        "from_device": "GHOST", "methods": ["m.sas.v1"],
        "timestamp": rig.world.now.0, "transaction_id": "t",
    });
    rig.world.server.put_in_inbox(&name, "m.key.verification.request", &alice, request);
    rig.settle();
    assert_eq!(rig.world.clients[0].machine.verifications_held(), 1);
    let cancel = json!({ "transaction_id": "t", "code": "m.user", "reason": "never mind" });
    rig.world.server.put_in_inbox(&name, "m.key.verification.cancel", &alice, cancel);
    rig.settle();
    assert_eq!(rig.world.clients[0].machine.verifications_held(), 0);
}

#[test]
fn a_start_of_a_device_that_never_shows_itself_is_forgotten_whatever_lists_come_meanwhile() {
    let mut rig = Rig::own_devices();
    let name = rig.world.clients[0].name();
    let alice = rig.user(0);
    let start = json!({ "from_device": "GHOST", "method": "m.none", "transaction_id": "t" });
    rig.world.server.put_in_inbox(&name, "m.key.verification.start", &alice, start);
    rig.settle();
    for _ in 0..2 {
        rig.world.pass(MINUTE * 6);
        rig.world.at(0, |machine, step| machine.core.call_into_question(&alice, step)).unwrap();
        rig.settle();
    }
    assert_eq!(rig.world.clients[0].machine.verifications_held(), 0);
}

#[test]
fn a_start_that_overtakes_the_keys_of_its_device_waits_for_them() {
    let mut rig = Rig::couple();
    rig.start(0, 1).unwrap();
    let request = rig.log.last().expect("the request").id.clone();
    let relation = json!({ "rel_type": "m.reference", "event_id": request });
    let ready = json!({
        "from_device": "NEW", "methods": ["m.sas.v1"], "m.relates_to": relation,
    });
    let start = json!({
        "from_device": "NEW", "method": "m.sas.v1", "m.relates_to": relation,
        "key_agreement_protocols": ["curve25519-hkdf-sha256"], "hashes": ["sha256"],
        "message_authentication_codes": ["hkdf-hmac-sha256.v2"],
        "short_authentication_string": ["decimal", "emoji"],
    });
    // Bob answers at a device that is not known yet, and goes on before it is.
    for (kind, content) in [("ready", &ready), ("start", &start), ("start", &start)] {
        let said = rig.say(1, kind, content);
        rig.hear(0, &said);
        rig.hear(1, &said);
    }
    assert_eq!(
        rig.world.clients[0].machine.verifications_held(),
        3,
        "one flow, one answer, one start"
    );
    rig.settle();
    assert_eq!(rig.stage(0), Stage::Asked, "it was given up for an event that came early");
    rig.world.log_in("@bob:x", "NEW");
    rig.views.push(Vec::new());
    rig.settle();
    assert_eq!(rig.stage(0), Stage::Waiting);
    let accepts = rig.log.iter().filter(|said| said.kind == "m.key.verification.accept");
    assert_eq!(accepts.map(|said| said.by).collect::<Vec<_>>(), [0]);
    assert_eq!(rig.views[0].last().unwrap().device.as_deref(), Some("NEW".into()));
}

#[test]
fn a_message_that_cannot_be_sent_ends_it_on_both_sides_and_says_so() {
    let mut rig = Rig::couple();
    rig.start(0, 1).unwrap();
    rig.try_act(1, Act::Accept { scan: Scan::No }).unwrap();
    let notices = rig.world.clients[1].take_notices();
    let ready = notices.into_iter().find_map(|notice| {
        let Notice::SendVerification { room, txn, content, .. } = notice else { return None };
        Some((room, txn, content))
    });
    let (room, txn, content) = ready.expect("the answer");
    let now = rig.world.now;
    rig.world.clients[1]
        .step(now, |machine, step| {
            machine.verification_unsent((&room, &txn), &content, "you may not write here", step)
        })
        .unwrap();
    rig.settle();
    let (code, by) = rig.ending(1);
    assert_eq!((code.as_str(), by), ("grotto.unsent", Ending::Us));
    assert_eq!(code.explained(), "a message of it could not be sent: you may not write here");
    let (code, by) = rig.ending(0);
    assert_eq!((code.as_str(), by), ("grotto.unsent", Ending::Them));
    assert_eq!(code.explained(), "a message of it could not be sent");
    let cancel = serde_json::to_string(&rig.log.last().unwrap().content).unwrap();
    assert!(!cancel.contains("you may not write here"), "only we are told what our server says");
}

#[test]
fn a_request_that_cannot_be_sent_ends_and_nothing_is_told() {
    let mut rig = Rig::couple();
    let (user, now, room) = (rig.user(1), rig.world.now, rig.room.clone());
    let view = rig.world.clients[0]
        .step(now, |machine, step| {
            machine.start_verification((&user, None), Some(&room), Scan::No, step)
        })
        .unwrap()
        .unwrap();
    let notices = rig.world.clients[0].take_notices();
    let request = notices.into_iter().find_map(|notice| {
        let Notice::SendVerification { txn, content, .. } = notice else { return None };
        Some((txn, content))
    });
    let (txn, content) = request.expect("the request");
    rig.world.clients[0]
        .step(now, |machine, step| machine.verification_unsent((&room, &txn), &content, "no", step))
        .unwrap();
    rig.settle();
    assert_eq!(rig.ending(0).0, CancelCode::Unsent("no".to_owned()));
    assert_eq!(rig.views[0].last().unwrap().id, view.id);
    assert!(rig.views[1].is_empty() && rig.log.is_empty());
}
