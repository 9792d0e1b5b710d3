//! The account's secrets, asked of a verified device and sent by it: after a verification a new device signs for itself
//! and reads the backup, without a recovery key.

use serde_json::{Value, json};

use crate::{
    complement::{follow, reads},
    grotto::Grotto,
    headless::send,
    homeserver::On,
    rig::{PATIENCE, Peer},
    scenario,
    verification::{verify_ours_by_peer, verify_peer_by_ours},
};

scenario::on_both! {
    matrix_sdk_crypto_sends_its_secrets_to_grotto,
    grotto_sends_its_secrets_to_matrix_sdk_crypto,
}

/// Waits until a device has all secrets.
#[expect(clippy::disallowed_methods, reason = "waits by the real clock")]
fn has_secrets(grotto: &Grotto) {
    let _tail = follow(grotto);
    let give_up = std::time::Instant::now() + PATIENCE;
    let all = json!({
        "is": "verified", "has_master": true, "has_self_signing": true, "has_user_signing": true,
    });
    loop {
        let status = grotto.json(&["keys", "status"]).remove(0);
        if status["identity"] == all && status["backup"]["connected"] == true {
            assert_eq!(status["cross_signed"], true, "{status}");
            return;
        }
        assert!(std::time::Instant::now() < give_up, "the secrets never came: {status}");
    }
}

fn matrix_sdk_crypto_sends_its_secrets_to_grotto(on: On) {
    let place = on.shared();
    let mut first = Peer::cross_signed(&place.base, "alice");
    let room = first.create("attic", &[]);
    first.say(&room, "long ago");
    first.creates_backup();
    assert_eq!(first.backs_up(), 1);
    let later = Grotto::log_in_again(place, &first.user);
    verify_ours_by_peer(&later, &mut first);
    has_secrets(&later);
    reads(&later, &room, "long ago");
}

fn grotto_sends_its_secrets_to_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let first = Grotto::log_in(place, "alice");
    first.json(&["setup-recovery"]);
    let room = first.json(&["create", "--name", "Attic"]).remove(0);
    let event = send(&first, &[room["room_id"].as_str().unwrap(), "long ago"]);
    let mut later = Peer::another_device(&place.base, &first.user);
    later.find("the message", |line| {
        line["k"] == "undecryptable" && line["event"] == event.as_str()
    });
    verify_peer_by_ours(&first, &mut later);
    super::keys::backs_up(&first);
    let _answers = follow(&first);
    later.has_secrets();
    let own = later.own_identity();
    assert_eq!(own["has"]["backup"], true, "{own}");
    let restored: Value = later.restores_backup();
    assert_eq!(restored["failed"], 0, "{restored}");
    later.hears("long ago");
}
