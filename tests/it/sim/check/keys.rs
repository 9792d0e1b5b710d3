//! What must hold of keys: every key on the server has its private half, and there are enough.

use std::collections::BTreeSet;

use grotto::e2ee::{Lookup, Table};
use serde_json::Value;
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey};

use crate::sim::{client::Client, world::World};

/// A device that is there and told has made up for the keys that were taken.
const ENOUGH: usize = 40;

pub(super) fn all(name: &str, client: &Client, world: &World) {
    let device = &world.server.devices[&client.caller.key()];
    let left = device.one_time_keys.len();
    assert!(ENOUGH <= left, "{name}: only {left} one-time keys are on the server");
    assert!(device.fallback_key.is_some(), "{name}: no fallback key is on the server");
    one_time_keys_have_private_halves(name, client, world);
}

/// Somebody who claims a key that the server holds can write to the device.
fn one_time_keys_have_private_halves(name: &str, client: &Client, world: &World) {
    let device = &world.server.devices[&client.caller.key()];
    let fallback = device.fallback_key.iter().map(|(id, key, _)| (id, key));
    let held = device.one_time_keys.iter().map(|(id, key)| (id, key)).chain(fallback);
    let ours = public_halves(client);
    for (id, key) in held {
        let public = key["key"].as_str().expect("a signed key");
        assert!(ours.contains(public), "{name}: the private half of {id} is gone");
    }
}

/// The public halves of all one-time and fallback keys of which the store has the private ones.
fn public_halves(client: &Client) -> BTreeSet<String> {
    let records = client.store.scan(Table::Account, None).expect("readable");
    let [(_, bytes)] = records.as_slice() else { panic!("one account") };
    let record: Value = serde_json::from_slice(bytes).expect("records are JSON");
    let pickle = &record["pickle"];
    let one_time = pickle["one_time_keys"]["private_keys"].as_object().expect("a map").values();
    let fallback = |name: &str| pickle["fallback_keys"][name]["key"].clone();
    one_time
        .cloned()
        .chain([fallback("fallback_key"), fallback("previous_fallback_key")])
        .filter_map(|key| serde_json::from_value::<[u8; 32]>(key).ok())
        .map(|key| Curve25519PublicKey::from(&Curve25519SecretKey::from_slice(&key)).to_base64())
        .collect()
}
