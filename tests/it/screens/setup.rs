//! The way of a new device to the account's keys, and identities that changed, as a person sees them.

use grotto::{
    engine::{
        Alarm, AuthPrompt, BackupState, Command, CommandError, CommandId, DevicePolicy,
        IdentityState, IdentityStatus, LeftOut, LeftOutReason, Outcome, RecoveryState, RecoveryWay,
        Request, RoomTrust, SecretText, Update,
    },
    secret::Secret,
};

use super::{
    OWN, Screen,
    feed::{ROOM, open_room, room},
    seen,
};

const BOB: &str = "@bob:example.org";

fn requests(screen: &mut Screen) -> Vec<(CommandId, Request)> {
    let asked = screen.asked().into_iter();
    let request = |command| match command {
        Command::Request { id, request } => Some((id, request)),
        _ => None,
    };
    asked.filter_map(request).collect()
}

fn needs_recovery() -> Update {
    let ways = vec![RecoveryWay::RecoveryKey, RecoveryWay::OtherDevice, RecoveryWay::StartFresh];
    Update::Recovery(RecoveryState::NeedsRecovery { ways })
}

#[test]
fn locked_messages_are_said_above_and_a_typed_recovery_key_is_never_shown() {
    let mut screen = open_room(80, 18);
    screen.tell([needs_recovery()]);
    screen.press("alt-s");
    seen("recover", &mut screen);
    screen.press("enter E s S z space");
    assert!(screen.text().contains("•••••") && !screen.text().contains("EsSz"));
    screen.press("backspace enter");
    let [(id, Request::Recover { secret })] = &requests(&mut screen)[..] else { panic!("one") };
    assert_eq!(secret, &SecretText::from(Secret::new("EsSz".to_owned())));
    let message = "this is not the recovery key of this account".to_owned();
    let error = CommandError { code: "wrong_key".to_owned(), message };
    screen.tell([Update::Outcome { id: *id, result: Err(error) }]);
    assert!(screen.text().contains("this is not the recovery key"));
    screen.tell([Update::Recovery(RecoveryState::Restoring { done: 120, total: 300 })]);
    assert!(screen.text().contains("120 of 300 conversations' keys restored"));
    screen.tell([Update::Recovery(RecoveryState::Ready)]);
    assert!(!screen.text().contains("Unlocking"));
}

#[test]
fn what_is_said_at_the_end_does_not_depend_on_what_was_seen_on_the_way() {
    use RecoveryState::{
        ConnectingBackup, KeyToKeep, NeedsSetup, OutOfDate, Ready, Restoring, Saving, SettingUp,
        Signing, Unlocking,
    };
    let needs = || RecoveryState::NeedsRecovery { ways: vec![RecoveryWay::RecoveryKey] };
    for way in [
        vec![needs(), Ready],
        vec![needs(), Unlocking, Signing, ConnectingBackup, Ready],
        vec![ConnectingBackup, Restoring { done: 1, total: 2 }, Ready],
        vec![NeedsSetup, SettingUp, Ready],
        vec![NeedsSetup, SettingUp, ConnectingBackup, KeyToKeep, Saving, Ready],
        vec![Ready, OutOfDate, Saving, Ready],
    ] {
        let mut screen = open_room(80, 18);
        screen.tell(way.iter().cloned().map(Update::Recovery));
        let text = screen.text();
        assert!(text.contains("your recovery key opens everything on a new login"), "{way:?}");
    }
    for way in [vec![Ready], vec![ConnectingBackup, Ready], vec![Ready, Saving, Ready]] {
        let mut screen = open_room(80, 18);
        screen.tell(way.iter().cloned().map(Update::Recovery));
        assert!(!screen.text().contains("your recovery key"), "nobody waited: {way:?}");
    }
}

#[test]
fn keys_that_are_saved_are_counted_above_while_there_are_many() {
    let mut screen = open_room(80, 18);
    let saving = |to_upload| {
        let version = Some("7".to_owned());
        let backup = BackupState {
            version,
            checked: true,
            connected: true,
            trusted: true,
            ..BackupState::default()
        };
        Update::Backup(BackupState { to_upload, ..backup })
    };
    screen.tell([Update::Recovery(RecoveryState::Ready), saving(3)]);
    assert!(!screen.text().contains("Saving keys"), "a moment's work is not worth a row");
    screen.tell([saving(5900)]);
    assert!(screen.text().contains("Saving keys to the backup: 5900 to go"));
    screen.tell([saving(0)]);
    assert!(!screen.text().contains("Saving keys"));
}

#[test]
fn starting_fresh_says_what_it_breaks_and_is_not_the_first_choice() {
    let mut screen = open_room(80, 18);
    screen.tell([needs_recovery()]);
    screen.press("alt-s down down enter");
    assert!(screen.text().contains("stay locked for ever"));
    screen.press("enter");
    assert_eq!(requests(&mut screen), []);
    screen.press("alt-s down down enter y");
    assert!(matches!(requests(&mut screen)[..], [(_, Request::StartFresh)]));
    let refused = Some("wrong \u{1b}[31mpassword".to_owned());
    let prompt = AuthPrompt { takes_password: true, page: None, refused };
    screen.tell([Update::AuthNeeded(prompt)]);
    assert!(screen.text().contains("Password of this account (wrong ␛[31mpassword)"));
    screen.press("p w enter");
    let password = Some(SecretText::from("pw".to_owned()));
    assert!(matches!(&requests(&mut screen)[..],
        [(_, Request::Authenticate { password: given })] if *given == password));
}

fn password_wanted(refused: Option<&str>) -> Update {
    let refused = refused.map(ToOwned::to_owned);
    Update::AuthNeeded(AuthPrompt { takes_password: true, page: None, refused })
}

fn answers(screen: &mut Screen, typed: &str) -> bool {
    let password = Some(SecretText::from(typed.to_owned()));
    matches!(&requests(screen)[..],
        [(_, Request::Authenticate { password: given })] if *given == password)
}

#[test]
fn a_password_that_nobody_waits_for_is_asked_for_above_and_not_over_who_writes() {
    let mut screen = open_room(80, 18);
    screen.press("'hel'");
    screen.tell([password_wanted(None)]);
    screen.press("'lo'");
    let text = screen.text();
    assert!(text.contains("> hello"), "a letter went elsewhere:\n{text}");
    assert!(text.contains("The server asks for your password") && text.contains("[alt-s: how]"));
    screen.press("alt-s 'pw'");
    assert!(screen.text().contains("Password of this account"));
    screen.press("enter");
    assert!(answers(&mut screen, "pw"));
    assert!(!screen.text().contains("The server asks"));
    assert!(screen.text().contains("> hello"), "the message is still there");
}

#[test]
fn who_asked_for_something_and_writes_on_is_not_interrupted_by_what_comes_of_it() {
    let mut screen = open_room(80, 20);
    screen.tell([needs_recovery()]);
    screen.press("alt-s down down enter y");
    let [(id, Request::StartFresh)] = requests(&mut screen)[..] else { panic!("one") };
    screen.press("'y'");
    screen.tell([password_wanted(None)]);
    assert!(!screen.text().contains("Password of this account"));
    screen.press("alt-s 'pw' enter");
    assert!(answers(&mut screen, "pw"));
    // Who just typed it sees at once that it was wrong.
    screen.tell([Update::AuthOver, password_wanted(Some("wrong password"))]);
    assert!(screen.text().contains("The server refused the password, and asks for it again"));
    assert!(screen.text().contains("Password of this account (wrong password)"));
    screen.press("'pw2' enter");
    assert!(answers(&mut screen, "pw2"));
    screen.tell([Update::AuthOver]);
    screen.press("'es'");
    let outcome = Outcome::RecoveryKey { recovery_key: SecretText::from("EsSz".to_owned()) };
    screen.tell([Update::Outcome { id, result: Ok(outcome) }]);
    screen.tell([Update::Recovery(RecoveryState::KeyToKeep)]);
    screen.press("y");
    let text = screen.text();
    assert!(text.contains("> yesy") && !text.contains("EsSz"), "{text}");
    assert!(text.contains("recovery key waits to be written down"));
    assert_eq!(requests(&mut screen), [], "a letter of a message confirmed the key");
}

#[test]
fn a_password_that_was_given_elsewhere_is_not_asked_for_any_more() {
    let mut screen = open_room(80, 18);
    screen.tell([password_wanted(None)]);
    assert!(screen.text().contains("The server asks for your password"));
    screen.tell([Update::AuthOver]);
    assert!(!screen.text().contains("The server asks for your password"));
}

#[test]
fn a_new_recovery_key_stays_to_be_seen_until_one_says_that_one_has_it() {
    let mut screen = open_room(80, 20);
    screen.tell([Update::Recovery(RecoveryState::NeedsSetup)]);
    screen.press("alt-s enter");
    let [(id, Request::SetUpRecovery { passphrase: None })] = requests(&mut screen)[..] else {
        panic!("one")
    };
    let key = "EsSz ykH7 LCZx 7Cae cmKD wcmY JRXi Ybtu 8iQ3 t8Ez nRwK pUY1".to_owned();
    let outcome = Outcome::RecoveryKey { recovery_key: SecretText::from(key) };
    screen.tell([Update::Outcome { id, result: Ok(outcome) }]);
    seen("recovery_key", &mut screen);
    screen.press("enter");
    assert_eq!(requests(&mut screen), []);
    screen.tell([Update::Recovery(RecoveryState::KeyToKeep)]);
    assert!(screen.text().contains("recovery key waits to be written down"));
    screen.press("alt-s");
    let id = requests(&mut screen)[0].0;
    let outcome = Outcome::RecoveryKey { recovery_key: SecretText::from("Es".to_owned()) };
    screen.tell([Update::Outcome { id, result: Ok(outcome) }]);
    screen.press("y");
    assert!(matches!(requests(&mut screen)[..], [(_, Request::ConfirmRecoveryKey)]));
    screen.tell([Update::Recovery(RecoveryState::Ready)]);
    assert!(!screen.text().contains("waits to be written down"));
}

#[test]
fn a_recovery_key_that_is_out_of_date_is_typed_once_or_replaced() {
    let mut screen = open_room(80, 20);
    screen.tell([Update::Recovery(RecoveryState::OutOfDate)]);
    assert!(screen.text().contains("Recovery is out of date"));
    screen.press("alt-s");
    seen("recovery_out_of_date", &mut screen);
    screen.press("enter E s enter");
    assert!(matches!(&requests(&mut screen)[..], [(_, Request::Recover { .. })]));
    screen.press("alt-s down enter");
    let renew = Request::RenewRecoveryKey { passphrase: None };
    assert!(matches!(&requests(&mut screen)[..], [(_, request)] if *request == renew));
    screen.tell([Update::Recovery(RecoveryState::Saving)]);
    assert!(screen.text().contains("Bringing recovery up to date"));
    screen.tell([Update::Recovery(RecoveryState::Ready)]);
    assert!(!screen.text().contains("up to date"));
}

#[test]
fn a_new_recovery_key_can_be_made_when_all_is_well_and_is_not_the_first_choice() {
    let mut screen = open_room(80, 20);
    screen.tell([Update::Recovery(RecoveryState::Ready)]);
    screen.press("alt-s");
    assert!(screen.text().contains("opens nothing any more"));
    screen.press("enter");
    assert_eq!(requests(&mut screen), []);
    screen.press("alt-s y");
    let [(id, Request::RenewRecoveryKey { passphrase: None })] = requests(&mut screen)[..] else {
        panic!("one")
    };
    let outcome = Outcome::RecoveryKey { recovery_key: SecretText::from("EsSz".to_owned()) };
    screen.tell([Update::Outcome { id, result: Ok(outcome) }]);
    assert!(screen.text().contains("EsSz"));
}

fn trust(state: Option<IdentityState>, left_out: Vec<LeftOut>) -> Update {
    let user: grotto::matrix::OwnedUserId = BOB.try_into().unwrap();
    let changed = state.map(|state| IdentityStatus { user, state, master_key: None });
    Update::RoomTrust(RoomTrust {
        room_id: Some(ROOM.try_into().unwrap()),
        devices: DevicePolicy::Signed,
        known: 31,
        left_out,
        changed: changed.into_iter().collect(),
        newcomers: Vec::new(),
    })
}

#[test]
fn devices_without_keys_are_counted_in_the_header_and_listed() {
    let mut screen = open_room(100, 14);
    let left_out = LeftOut {
        user_id: BOB.try_into().unwrap(),
        device_id: "BRIDGE".into(),
        reason: LeftOutReason::Unsigned,
    };
    screen.tell([trust(None, vec![left_out])]);
    assert!(screen.text().contains("1 of 31 devices left out"));
    screen.press("alt-t");
    seen("left_out", &mut screen);
    assert!(screen.text().contains("BRIDGE of @bob:example.org"));
}

#[test]
fn a_room_open_to_all_devices_says_so_loudly_and_how_to_close_it() {
    let mut screen = open_room(100, 14);
    let mut open = trust(None, Vec::new());
    if let Update::RoomTrust(trust) = &mut open {
        trust.devices = DevicePolicy::All;
    }
    screen.tell([open]);
    assert!(screen.text().contains("ALL devices get keys (alt-t)"));
    screen.press("alt-t");
    let text = screen.text();
    assert!(text.contains(&format!("grotto policy '{ROOM}' --devices signed")), "{text}");
}

#[test]
fn a_long_room_name_pushes_no_warning_off_the_screen() {
    for width in [40, 80] {
        let mut screen = open_room(width, 14);
        let mut named = room(ROOM, &"a very long name ".repeat(12));
        named.encrypted = true;
        screen.tell([Update::Rooms(vec![named])]);
        screen.tell([trust(Some(IdentityState::PinViolation), Vec::new())]);
        let text = screen.text();
        assert!(text.contains("identity changed (alt-t)"), "{text}");
    }
}

#[test]
fn a_changed_identity_that_was_accepted_is_warned_of_no_more() {
    let mut screen = open_room(80, 16);
    let (user, state) = (BOB.try_into().unwrap(), IdentityState::PinViolation);
    screen.tell([Update::Alarm(Alarm::IdentityChanged { user, state })]);
    screen.tell([trust(Some(IdentityState::PinViolation), Vec::new())]);
    assert!(screen.text().contains("nothing is sent until"));
    screen.press("alt-t up enter");
    assert!(!screen.text().contains("nothing is sent until"));
}

#[test]
fn an_identity_that_changed_is_settled_by_a_choice_that_is_never_the_first() {
    let mut screen = open_room(80, 16);
    screen.tell([trust(Some(IdentityState::PinViolation), Vec::new())]);
    screen.press("alt-t enter");
    assert_eq!(requests(&mut screen), []);
    screen.press("alt-t up enter");
    assert!(matches!(&requests(&mut screen)[..],
        [(_, Request::AcknowledgeIdentity { user })] if user.as_str() == BOB));
    screen.tell([trust(Some(IdentityState::VerificationViolation), Vec::new())]);
    screen.press("alt-t");
    assert!(screen.text().contains("You had verified"));
    screen.press("y");
    assert!(matches!(&requests(&mut screen)[..],
        [(_, Request::Verify { user, .. })] if user.as_str() == BOB && user.as_str() != OWN));
}
