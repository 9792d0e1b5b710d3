//! Codes to scan, in all three modes.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Rig;
use crate::e2ee::{OwnIdentity, Scan, VerificationAct as Act, VerificationStage as Stage};

fn code(rig: &Rig, client: usize) -> String {
    let stage = rig.stage(client);
    let Stage::Ready { code: Some(code), .. } = stage else { panic!("{stage:?}") };
    code
}

/// `scans` reads what `shows` shows, and the other side's user confirms.
fn verify(rig: &mut Rig, shows: usize, scans: usize) {
    let code = code(rig, shows);
    rig.act(scans, Act::Scanned { code });
    assert_eq!((rig.stage(shows), rig.stage(scans)), (Stage::Scanned, Stage::Reciprocated));
    assert!(!rig.ever_done(shows) && !rig.ever_done(scans));
    rig.act(shows, Act::Confirm);
    assert_eq!((rig.stage(shows), rig.stage(scans)), (Stage::Done, Stage::Done));
}

fn mode(code: &str) -> u8 {
    STANDARD.decode(code).unwrap()[7]
}

// T-89, between machines of ours
#[test]
fn users_verify_each_other_by_a_code() {
    for shows in [0, 1] {
        let mut rig = Rig::couple();
        rig.ready(0, 1, (Scan::Yes, Scan::Yes));
        assert_eq!(mode(&code(&rig, shows)), 0);
        verify(&mut rig, shows, 1 - shows);
        assert!(rig.trusts(0, 1) && rig.trusts(1, 0));
    }
}

// T-89, between machines of ours
#[test]
fn a_new_device_is_signed_by_a_code_whichever_side_shows_it() {
    for shows in [0, 1] {
        let mut rig = Rig::own_devices();
        rig.ready(1, 0, (Scan::Yes, Scan::Yes));
        assert_eq!(usize::from(mode(&code(&rig, shows))), shows + 1);
        verify(&mut rig, shows, 1 - shows);
        assert!(rig.is_signed(1));
        let own = rig.world.at(1, |machine, step| machine.own_identity(step));
        assert!(matches!(own.unwrap(), OwnIdentity::Verified { .. }));
    }
}

#[test]
fn a_code_with_other_keys_ends_the_verification() {
    for place in [60, 100] {
        let mut rig = Rig::couple();
        rig.ready(0, 1, (Scan::Yes, Scan::Yes));
        let mut bytes = STANDARD.decode(code(&rig, 0)).unwrap();
        bytes[place - 40] ^= 1;
        rig.act(1, Act::Scanned { code: STANDARD.encode(bytes) });
        let (code, _) = rig.ending(0);
        assert_eq!(code.as_str(), "m.key_mismatch");
        assert!(!rig.trusts(0, 1) && !rig.trusts(1, 0));
    }
}

#[test]
fn a_code_of_another_verification_is_refused() {
    let mut other = Rig::couple();
    other.start_with(0, 1, Scan::Yes).unwrap();
    other.act(0, Act::Cancel);
    other.ready(0, 1, (Scan::Yes, Scan::Yes));
    let foreign = code(&other, 0);
    let mut rig = Rig::couple();
    rig.ready(0, 1, (Scan::Yes, Scan::Yes));
    rig.act(1, Act::Scanned { code: foreign });
    assert!(matches!(rig.stage(1), Stage::Cancelled { .. }));
    assert!(!rig.trusts(0, 1) && !rig.trusts(1, 0));
}

// The keys are right, only the name is another's: who scans it says nothing of its secret.
#[test]
fn a_code_that_names_another_verification_is_refused_by_whoever_scans_it() {
    let mut rig = Rig::couple();
    rig.ready(0, 1, (Scan::Yes, Scan::Yes));
    let mut bytes = STANDARD.decode(code(&rig, 0)).unwrap();
    // The last letter of the name: eight bytes of head, two of length.
    let end = 10 + usize::from(u16::from_be_bytes([bytes[8], bytes[9]]));
    bytes[end - 1] ^= 1;
    let said = rig.log.len();
    rig.act(1, Act::Scanned { code: STANDARD.encode(bytes) });
    assert_eq!(rig.ending(1).0.as_str(), "m.unknown_transaction");
    assert!(rig.log[said..].iter().all(|said| said.kind.ends_with(".cancel")));
}

#[test]
fn a_wrong_secret_ends_the_verification() {
    let mut rig = Rig::couple();
    rig.ready(0, 1, (Scan::Yes, Scan::Yes));
    let mut bytes = STANDARD.decode(code(&rig, 0)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    rig.act(1, Act::Scanned { code: STANDARD.encode(bytes) });
    assert_eq!(rig.ending(0).0.as_str(), "m.key_mismatch");
    assert!(!rig.ever_done(0) && !rig.ever_done(1));
}

#[test]
fn who_says_that_the_scan_failed_verifies_nothing() {
    let mut rig = Rig::couple();
    rig.ready(0, 1, (Scan::Yes, Scan::Yes));
    let code = code(&rig, 0);
    rig.act(1, Act::Scanned { code });
    rig.act(0, Act::Mismatch);
    assert_eq!(rig.ending(1).0.as_str(), "m.user");
    assert!(!rig.trusts(0, 1) && !rig.trusts(1, 0));
}

#[test]
fn what_is_no_code_is_no_end_of_the_verification() {
    let mut rig = Rig::couple();
    rig.ready(0, 1, (Scan::Yes, Scan::Yes));
    let error = rig.try_act(1, Act::Scanned { code: "not base64 !".to_owned() }).unwrap_err();
    assert_eq!(error.code(), "bad_code");
    assert!(matches!(rig.stage(1), Stage::Ready { .. }));
}

// The seeds of the fuzzing of codes: whatever is scanned, nobody is verified by it.
#[test]
fn no_scanned_bytes_verify_anybody_but_those_that_were_shown() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fuzz/scanned_code");
    for seed in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        let mut rig = Rig::couple();
        rig.ready(0, 1, (Scan::Yes, Scan::Yes));
        drop(rig.try_act(1, Act::Scanned { code: STANDARD.encode(bytes) }));
        rig.settle();
        assert!(!rig.ever_done(0) && !rig.ever_done(1));
        assert!(!rig.trusts(0, 1) && !rig.trusts(1, 0));
    }
}
