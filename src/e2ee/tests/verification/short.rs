//! Short strings from end to end, in both roles.

use super::Rig;
use crate::{
    e2ee::{OwnIdentity, Scan, VerificationAct as Act, VerificationStage as Stage},
    matrix::OwnedUserId,
};

// TestVerificationSAS
#[test]
fn a_new_device_of_ours_is_signed_after_both_sides_confirmed() {
    for (asks, starts) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut rig = Rig::own_devices();
        assert!(!rig.is_signed(1));
        rig.compare(asks, 1 - asks, starts);
        rig.act(0, Act::Confirm);
        assert_eq!(rig.stage(0), Stage::Confirmed);
        assert!(!rig.is_signed(1));
        rig.act(1, Act::Confirm);
        assert_eq!((rig.stage(0), rig.stage(1)), (Stage::Done, Stage::Done));
        assert!(rig.is_signed(1));
        let own = rig.world.at(1, |machine, step| machine.own_identity(step));
        assert!(matches!(own.unwrap(), OwnIdentity::Verified { .. }));
    }
}

#[test]
fn two_users_verify_each_other_in_their_chat() {
    for (asks, starts) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut rig = Rig::couple();
        assert!(!rig.trusts(0, 1) && !rig.trusts(1, 0));
        rig.compare(asks, 1 - asks, starts);
        rig.act(1, Act::Confirm);
        assert!(!rig.trusts(0, 1) && !rig.trusts(1, 0));
        rig.act(0, Act::Confirm);
        assert_eq!((rig.stage(0), rig.stage(1)), (Stage::Done, Stage::Done));
        assert!(rig.trusts(0, 1) && rig.trusts(1, 0));
    }
}

// T-81
#[test]
fn when_both_start_at_once_the_smaller_name_goes_first() {
    let mut rig = Rig::couple();
    rig.ready(0, 1, (Scan::No, Scan::No));
    rig.try_act(0, Act::StartSas).unwrap();
    rig.try_act(1, Act::StartSas).unwrap();
    rig.settle();
    assert!(matches!(rig.stage(0), Stage::Compare { .. }));
    assert_eq!(rig.stage(0), rig.stage(1));
    let accepts = rig.log.iter().filter(|said| said.kind.ends_with(".accept"));
    assert_eq!(accepts.map(|said| said.by).collect::<Vec<_>>(), [1]);
    rig.act(0, Act::Confirm);
    rig.act(1, Act::Confirm);
    assert!(rig.trusts(0, 1) && rig.trusts(1, 0));
}

#[test]
fn the_first_of_several_devices_takes_it_and_the_others_are_told() {
    let mut rig = Rig::new(&["@alice:x", "@alice:x", "@alice:x"]);
    rig.start(0, 1).unwrap();
    assert_eq!((rig.stage(1), rig.stage(2)), (Stage::Invited, Stage::Invited));
    rig.act(2, Act::Accept { scan: Scan::No });
    assert!(matches!(rig.stage(2), Stage::Ready { .. }));
    let (code, _) = rig.ending(1);
    assert_eq!(code.as_str(), "m.accepted");
}

#[test]
fn in_a_chat_another_device_of_the_same_user_takes_it() {
    let mut rig = Rig::new(&["@alice:x", "@bob:x", "@bob:x"]);
    // Bob's second device has no identity to vouch with until it is verified; it only watches.
    rig.start(0, 1).unwrap();
    assert_eq!((rig.stage(1), rig.stage(2)), (Stage::Invited, Stage::Invited));
    rig.act(1, Act::Accept { scan: Scan::No });
    assert_eq!(rig.stage(2), Stage::Elsewhere);
}

#[test]
fn a_device_that_is_not_verified_cannot_vouch_for_others() {
    let mut rig = Rig::new(&["@alice:x", "@bob:x", "@alice:x"]);
    assert_eq!(rig.start(2, 1).unwrap_err().code(), "own_device_unverified");
    rig.start(1, 0).unwrap();
    assert_eq!(rig.stage(2), Stage::Invited);
    let error = rig.try_act(2, Act::Accept { scan: Scan::No }).unwrap_err();
    assert_eq!(error.code(), "own_device_unverified");
}

#[test]
fn a_user_without_an_identity_cannot_be_verified() {
    let mut rig = Rig::couple();
    let stranger: OwnedUserId = "@eve:x".try_into().unwrap();
    rig.world.log_in(stranger.as_str(), "EVE");
    rig.views.push(Vec::new());
    rig.settle();
    rig.world.acquaint(0, 2);
    assert_eq!(rig.start(0, 2).unwrap_err().code(), "no_identity");
}
