//! Encrypted attachments between grotto and matrix-sdk-crypto.

use std::fs;

use sha2::{Digest as _, Sha256};

use crate::{grotto::Grotto, homeserver::On, rig::Peer, scenario};

scenario::on_both! {
    encrypted_files_go_both_ways_between_grotto_and_matrix_sdk_crypto,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encrypted_files_go_both_ways_between_grotto_and_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "alice");
    let mut bob = Peer::cross_signed(&place.base, "bob");
    let room = bob.create("files", &[&alice.user]);
    alice.json(&["join", &room]);
    bob.sees_join(&room, &alice.user);
    let mut tail = alice.tail();
    for size in [0, 1, 700_001] {
        let name = format!("from-bob-{size}.bin");
        let hash = bob.sends_file(&room, &name, size);
        let line = tail.find("bob's file", |line| line["file"]["name"] == name);
        let event = line["event_id"].as_str().unwrap();
        let output = alice.run(&["download", &room, event, "--to", "-"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.stdout.len(), sha256(&output.stdout)), (size, hash));

        let name = format!("from-alice-{size}.bin");
        let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 241).unwrap()).collect();
        let path = alice.home.join(&name);
        fs::write(&path, &bytes).unwrap();
        alice.json(&["send", &room, "--file", path.to_str().unwrap()]);
        let message = bob.hears(&name);
        assert_eq!(bob.fetches_file(&message["content"]), sha256(&bytes));
    }
}
