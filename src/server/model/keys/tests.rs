//! Keys, as the clients that exchange them see them.

use serde_json::{Value, json};
use vodozemac::Ed25519SecretKey;

use crate::{
    matrix::{CanonicalValue, UserId, sign},
    server::model::testing::{Reply, User, World},
};

fn code(reply: &Reply) -> (u16, &str) {
    (reply.0, reply.1["errcode"].as_str().unwrap_or(""))
}

fn one_time_keys(ids: &[&str]) -> Value {
    let keys = ids.iter().map(|id| {
        let key =
            json!({"key": format!("key of {id}"), "signatures": {"@a:test": {"ed25519:A": "s"}}});
        (format!("signed_curve25519:{id}"), key)
    });
    json!({"one_time_keys": keys.collect::<serde_json::Map<_, _>>()})
}

fn claim(world: &mut World, by: &User, of: &User) -> Option<String> {
    let body = json!({"one_time_keys": {&of.id: {&of.device: "signed_curve25519"}}});
    let (status, reply) = world.post("/keys/claim", by, body);
    assert_eq!(status, 200, "{reply}");
    let found = &reply["one_time_keys"][of.id.as_str()][&of.device];
    found.as_object().map(|keys| keys.keys().next().unwrap().clone())
}

#[test]
fn one_time_keys_are_given_out_once_in_the_order_of_upload() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    world.post("/keys/upload", &alice, one_time_keys(&["C"]));
    world.post("/keys/upload", &alice, one_time_keys(&["A"]));
    let (_, reply) = world.post("/keys/upload", &alice, one_time_keys(&["B"]));
    assert_eq!(reply, json!({"one_time_key_counts": {"signed_curve25519": 3}}));
    let mut claimed = || claim(&mut world, &bob, &alice);
    assert_eq!(claimed().unwrap(), "signed_curve25519:C");
    assert_eq!(claimed().unwrap(), "signed_curve25519:A");
    assert_eq!(claimed().unwrap(), "signed_curve25519:B");
    assert_eq!(claimed(), None);
    let (_, reply) = world.post("/keys/upload", &alice, json!({}));
    assert_eq!(reply["one_time_key_counts"], json!({"signed_curve25519": 0}));
}

#[test]
fn a_repeated_upload_gives_no_key_out_twice() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let keys = one_time_keys(&["A", "B"]);
    world.post("/keys/upload", &alice, keys.clone());
    assert_eq!(claim(&mut world, &bob, &alice).unwrap(), "signed_curve25519:A");
    let (status, reply) = world.post("/keys/upload", &alice, keys);
    assert_eq!((status, &reply["one_time_key_counts"]["signed_curve25519"]), (200, &json!(1)));
    assert_eq!(claim(&mut world, &bob, &alice).unwrap(), "signed_curve25519:B");
    assert_eq!(claim(&mut world, &bob, &alice), None);
}

#[test]
fn a_key_cannot_be_replaced_but_may_be_signed_anew() {
    let mut world = World::new();
    let alice = world.user("alice");
    let mut keys = one_time_keys(&["A"]);
    world.post("/keys/upload", &alice, keys.clone());
    let key = &mut keys["one_time_keys"]["signed_curve25519:A"];
    key["signatures"]["@a:test"]["ed25519:A"] = json!("other");
    assert_eq!(world.post("/keys/upload", &alice, keys.clone()).0, 200);
    keys["one_time_keys"]["signed_curve25519:A"]["key"] = json!("other");
    assert_eq!(code(&world.post("/keys/upload", &alice, keys)), (400, "M_UNKNOWN"));
}

#[test]
fn a_device_holds_a_limited_number_of_keys() {
    let mut world = World::new();
    let alice = world.user("alice");
    let ids: Vec<String> = (0..501).map(|number| number.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let reply = world.post("/keys/upload", &alice, one_time_keys(&ids));
    assert_eq!(code(&reply), (400, "M_TOO_LARGE"));
    assert_eq!(world.post("/keys/upload", &alice, one_time_keys(&ids[1..])).0, 200);
}

#[test]
fn a_fallback_key_stands_in_and_is_known_to_be_used() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let key = json!({"key": "f", "fallback": true, "signatures": {}});
    let body = json!({"fallback_keys": {"signed_curve25519:F": key}});
    world.post("/keys/upload", &alice, body.clone());
    let unused = |world: &mut World| {
        let supply = world
            .edit(|step| super::one_time::supply(step, &alice.id, alice.device.as_str().into()));
        supply.unused_fallback.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(unused(&mut world), ["signed_curve25519"]);
    for _ in 0..2 {
        assert_eq!(claim(&mut world, &bob, &alice).unwrap(), "signed_curve25519:F");
        assert!(unused(&mut world).is_empty());
    }
    world.post("/keys/upload", &alice, body);
    assert!(unused(&mut world).is_empty(), "the same key again is still used");
    let other = json!({"fallback_keys": {"signed_curve25519:G": "g"}});
    world.post("/keys/upload", &alice, other);
    assert_eq!(unused(&mut world), ["signed_curve25519"]);
}

fn device_keys(user: &User) -> Value {
    json!({
        "user_id": user.id,
        "device_id": user.device,
        "algorithms": ["m.megolm.v1.aes-sha2"],
        "keys": {format!("ed25519:{}", user.device): "public"},
        "signatures": {&user.id: {}},
        "org.example.kept": {"deep": [1, 2]},
    })
}

#[test]
fn device_keys_come_back_as_they_were_and_are_told_of() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    world.room_of(&[&alice, &bob]);
    let keys = device_keys(&alice);
    let upload = json!({"device_keys": keys});
    assert_eq!(world.post("/keys/upload", &alice, upload.clone()).0, 200);
    assert!(world.woken.contains(&bob.id));
    world.post("/keys/upload", &alice, upload);
    assert!(world.woken.is_empty(), "nothing changed");
    let query = json!({"device_keys": {&alice.id: [], "@eve:test": [], "nonsense": []}});
    let (_, reply) = world.post("/keys/query", &bob, query);
    let mut expected = keys;
    expected["unsigned"] = json!({});
    assert_eq!(reply["device_keys"][alice.id.as_str()][&alice.device], expected);
    assert_eq!(reply["device_keys"]["@eve:test"], json!({}));
    assert!(reply["device_keys"].get("nonsense").is_none());
}

#[test]
fn nobody_uploads_keys_for_another_device() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let mut keys = device_keys(&alice);
    let reply = world.post("/keys/upload", &bob, json!({"device_keys": keys}));
    assert_eq!(code(&reply), (400, "M_BAD_JSON"));
    keys["device_id"] = json!("OTHER");
    let reply = world.post("/keys/upload", &alice, json!({"device_keys": keys}));
    assert_eq!(code(&reply), (400, "M_BAD_JSON"));
    for odd in [json!([]), json!({"user_id": alice.id})] {
        let reply = world.post("/keys/upload", &alice, json!({"device_keys": odd}));
        assert_eq!(code(&reply), (400, "M_BAD_JSON"), "{odd}");
    }
}

#[test]
fn a_deleted_device_leaves_no_keys() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let other = world.device(&alice.id, "OTHER");
    world.post("/keys/upload", &other, json!({"device_keys": device_keys(&other)}));
    world.post("/keys/upload", &other, one_time_keys(&["A"]));
    world.post("/logout", &other, json!({}));
    let query = json!({"device_keys": {&alice.id: []}});
    let (_, reply) = world.post("/keys/query", &bob, query);
    assert_eq!(reply["device_keys"][alice.id.as_str()], json!({}));
    assert_eq!(claim(&mut world, &bob, &other), None);
}

/// A key pair to sign with.
struct Pair {
    secret: Ed25519SecretKey,
    public: String,
}

impl Pair {
    fn new(seed: u8) -> Self {
        let secret = Ed25519SecretKey::from_slice(&[seed; 32]);
        let public = secret.public_key().to_base64();
        Self { secret, public }
    }

    fn id(&self) -> String {
        format!("ed25519:{}", self.public)
    }

    fn signs(&self, value: &Value, user: &UserId, id: &str) -> Value {
        let mut object = CanonicalValue::parse_object(&value.to_string()).unwrap();
        sign(&mut object, user, id, |text| self.secret.sign(text.as_bytes()));
        let text = crate::matrix::CanonicalText(&object).to_string();
        serde_json::from_str(&text).unwrap()
    }

    fn key(&self, user: &User, usage: &str) -> Value {
        json!({"user_id": user.id, "usage": [usage], "keys": {self.id(): self.public}})
    }
}

/// The cross-signing keys of somebody.
struct Identity {
    master: Pair,
    self_signing: Pair,
    user_signing: Pair,
}

impl Identity {
    fn new(seed: u8) -> Self {
        let [master, self_signing, user_signing] = [seed, seed + 1, seed + 2].map(Pair::new);
        Self { master, self_signing, user_signing }
    }

    fn upload(&self, user: &User) -> Value {
        let signed = |pair: &Pair, usage: &str| {
            self.master.signs(&pair.key(user, usage), &user.id, &self.master.id())
        };
        json!({
            "master_key": self.master.key(user, "master"),
            "self_signing_key": signed(&self.self_signing, "self_signing"),
            "user_signing_key": signed(&self.user_signing, "user_signing"),
        })
    }
}

const SIGNING: &str = "/keys/device_signing/upload";

#[test]
fn the_first_cross_signing_keys_need_no_proof_and_others_do() {
    let mut world = World::new();
    let (alice, bob) = (world.register("alice"), world.register("bob"));
    let first = Identity::new(1).upload(&alice);
    assert_eq!(world.post(SIGNING, &alice, first.clone()).0, 200);
    assert_eq!(world.post(SIGNING, &alice, first.clone()).0, 200, "the same again");
    let mut other = Identity::new(10).upload(&alice);
    let (status, reply) = world.post(SIGNING, &alice, other.clone());
    assert_eq!((status, &reply["flows"]), (401, &json!([{"stages": ["m.login.password"]}])));
    let identifier = json!({"type": "m.id.user", "user": "alice"});
    other["auth"] = json!(
        {"type": "m.login.password", "identifier": identifier, "password": "secret"}
    );
    assert_eq!(world.post(SIGNING, &alice, other.clone()).0, 200);
    let query = json!({"device_keys": {&alice.id: []}});
    let (_, seen) = world.post("/keys/query", &bob, query.clone());
    assert_eq!(seen["master_keys"][alice.id.as_str()], other["master_key"]);
    assert_eq!(seen["self_signing_keys"][alice.id.as_str()], other["self_signing_key"]);
    assert_eq!(seen["user_signing_keys"], json!({}), "only alice sees her user-signing key");
    let (_, seen) = world.post("/keys/query", &alice, query);
    assert_eq!(seen["user_signing_keys"][alice.id.as_str()], other["user_signing_key"]);
}

#[test]
fn cross_signing_keys_must_be_signed_by_the_master_key() {
    let mut world = World::new();
    let alice = world.user("alice");
    let identity = Identity::new(1);
    let mut keys = identity.upload(&alice);
    keys.as_object_mut().unwrap().remove("master_key");
    assert_eq!(code(&world.post(SIGNING, &alice, keys)), (400, "M_MISSING_PARAM"));
    let mut keys = identity.upload(&alice);
    keys["master_key"] = Identity::new(10).upload(&alice)["master_key"].clone();
    assert_eq!(code(&world.post(SIGNING, &alice, keys)), (400, "M_INVALID_SIGNATURE"));
    let mut keys = identity.upload(&alice);
    keys["master_key"]["user_id"] = json!("@bob:test");
    assert_eq!(code(&world.post(SIGNING, &alice, keys)), (400, "M_INVALID_PARAM"));
    let mut keys = identity.upload(&alice);
    keys["master_key"]["usage"] = json!(["self_signing"]);
    assert_eq!(code(&world.post(SIGNING, &alice, keys)), (400, "M_INVALID_PARAM"));
}

const SIGNATURES: &str = "/keys/signatures/upload";

#[test]
fn a_signed_device_is_seen_signed_by_everybody() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    world.room_of(&[&alice, &bob]);
    let identity = Identity::new(1);
    world.post(SIGNING, &alice, identity.upload(&alice));
    let keys = device_keys(&alice);
    world.post("/keys/upload", &alice, json!({"device_keys": keys}));
    let pair = &identity.self_signing;
    let signed = pair.signs(&keys, &alice.id, &pair.id());
    let body = json!({&alice.id: {&alice.device: signed}});
    let (status, reply) = world.post(SIGNATURES, &alice, body);
    assert_eq!((status, &reply), (200, &json!({"failures": {}})));
    assert!(world.woken.contains(&bob.id));
    let (_, seen) = world.post("/keys/query", &bob, json!({"device_keys": {&alice.id: []}}));
    let seen = &seen["device_keys"][alice.id.as_str()][&alice.device];
    assert_eq!(seen["signatures"], signed["signatures"]);
}

#[test]
fn a_wrong_signature_is_a_failure_of_its_own() {
    let mut world = World::new();
    let alice = world.user("alice");
    let identity = Identity::new(1);
    let keys = device_keys(&alice);
    let sign_as = |pair: &Pair, id: &str| {
        let signed = pair.signs(&keys, &alice.id, id);
        json!({&alice.id: {&alice.device: signed}})
    };
    let failure = |world: &mut World, body: Value| {
        let (status, reply) = world.post(SIGNATURES, &alice, body);
        assert_eq!(status, 200);
        let failure = &reply["failures"][alice.id.as_str()][&alice.device];
        failure["errcode"].as_str().unwrap_or("none").to_owned()
    };
    let right = &identity.self_signing;
    let body = sign_as(right, &right.id());
    assert_eq!(failure(&mut world, body.clone()), "M_NOT_FOUND", "no cross-signing keys");
    world.post(SIGNING, &alice, identity.upload(&alice));
    assert_eq!(failure(&mut world, body), "M_NOT_FOUND", "no such device");
    world.post("/keys/upload", &alice, json!({"device_keys": keys}));
    let forged = sign_as(&identity.user_signing, &right.id());
    assert_eq!(failure(&mut world, forged), "M_INVALID_SIGNATURE");
    let by_other = sign_as(&identity.user_signing, &identity.user_signing.id());
    assert_eq!(failure(&mut world, by_other), "M_INVALID_SIGNATURE");
    let mut changed = sign_as(right, &right.id());
    changed[alice.id.as_str()][&alice.device]["algorithms"] = json!([]);
    assert_eq!(failure(&mut world, changed), "M_UNKNOWN", "another key than the stored one");
}

#[test]
fn whom_somebody_verified_is_seen_by_them_only() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let (of_alice, of_bob) = (Identity::new(1), Identity::new(10));
    world.post(SIGNING, &alice, of_alice.upload(&alice));
    world.post(SIGNING, &bob, of_bob.upload(&bob));
    let pair = &of_alice.user_signing;
    let signed = pair.signs(&of_bob.master.key(&bob, "master"), &alice.id, &pair.id());
    let body = json!({&bob.id: {&of_bob.master.public: signed}});
    let (_, reply) = world.post(SIGNATURES, &alice, body);
    assert_eq!(reply, json!({"failures": {}}));
    assert_eq!(world.woken, std::slice::from_ref(&alice.id), "bob does not learn of it");
    let query = json!({"device_keys": {&bob.id: []}});
    let (_, seen) = world.post("/keys/query", &alice, query.clone());
    let signatures = &seen["master_keys"][bob.id.as_str()]["signatures"];
    assert_eq!(*signatures, signed["signatures"]);
    let (_, seen) = world.post("/keys/query", &bob, query);
    assert!(seen["master_keys"][bob.id.as_str()].get("signatures").is_none());
}

#[test]
fn a_device_signs_its_users_master_key() {
    let mut world = World::new();
    let alice = world.user("alice");
    let (identity, device) = (Identity::new(1), Pair::new(99));
    world.post(SIGNING, &alice, identity.upload(&alice));
    let id = format!("ed25519:{}", alice.device);
    let mut keys = device_keys(&alice);
    keys["keys"][&id] = json!(device.public);
    world.post("/keys/upload", &alice, json!({"device_keys": keys}));
    let signed = device.signs(&identity.master.key(&alice, "master"), &alice.id, &id);
    let body = json!({&alice.id: {&identity.master.public: signed}});
    assert_eq!(world.post(SIGNATURES, &alice, body).1, json!({"failures": {}}));
    let query = json!({"device_keys": {&alice.id: []}});
    let (_, seen) = world.post("/keys/query", &alice, query);
    let signatures = &seen["master_keys"][alice.id.as_str()]["signatures"];
    assert_eq!(*signatures, signed["signatures"]);
}

#[test]
fn a_message_for_all_devices_reaches_each_once() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let other = world.device(&bob.id, "OTHER");
    let content = json!({"b": 1, "a": {"z": null}});
    let body = json!({"messages": {&bob.id: {"*": content}, "@x:elsewhere": {"A": {}}}});
    let path = "/sendToDevice/m.test/t1";
    assert_eq!(world.put(path, &alice, body.clone()), (200, json!({})));
    assert_eq!(world.woken, std::slice::from_ref(&bob.id));
    assert_eq!(world.put(path, &alice, body).0, 200, "sent twice, meant once");
    for device in [&bob, &other] {
        let place = (&*bob.id, device.device.as_str().into());
        let waiting = |world: &mut World| {
            world.edit(|step| {
                crate::server::model::to_device::waiting(step, place, (0, u64::MAX), 100)
            })
        };
        let messages = waiting(&mut world);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].1.sender, alice.id);
        let received: Value = serde_json::from_str(messages[0].1.content.get()).unwrap();
        assert_eq!(received, content);
        world
            .edit(|step| crate::server::model::to_device::delete_up_to(step, place, messages[0].0));
        assert!(waiting(&mut world).is_empty());
    }
}

#[test]
fn what_waits_for_all_devices_of_somebody_is_bounded_in_bytes() {
    use crate::server::model::{
        records::{TO_DEVICE_COUNTS, TO_DEVICE_SIZES},
        to_device,
    };
    let mut world = World::new();
    let (alice, bob, carol) = (world.user("alice"), world.user("bob"), world.user("carol"));
    let send = |world: &mut World, to: &User, transaction: &str, length: usize| {
        let content = json!({"text": "x".repeat(length)});
        let body = json!({"messages": {&to.id: {&to.device: content}}});
        let path = format!("/sendToDevice/m.test/{transaction}");
        assert_eq!(world.put(&path, &alice, body).0, 200);
    };
    let waiting = |world: &mut World, of: &User| {
        let place = (&*of.id, of.device.as_str().into());
        world.edit(|step| to_device::waiting(step, place, (0, u64::MAX), 100))
    };
    let full = (128 << 20) - 1_000;
    let place = (&*bob.id, bob.device.as_str().into());
    world.edit(|step| {
        step.put(TO_DEVICE_COUNTS, place, &100)?;
        step.put(TO_DEVICE_SIZES, (&*bob.id,), &full)
    });
    send(&mut world, &bob, "t1", 2_000);
    assert_eq!(waiting(&mut world, &bob).len(), 0, "there is no room for it");
    send(&mut world, &bob, "t2", 500);
    assert_eq!(waiting(&mut world, &bob).len(), 1, "for this there is");
    send(&mut world, &bob, "t3", 500);
    assert_eq!(waiting(&mut world, &bob).len(), 1);
    send(&mut world, &carol, "t4", 2_000);
    assert_eq!(waiting(&mut world, &carol).len(), 1, "others have a bound of their own");
    let number = waiting(&mut world, &bob)[0].0;
    world.edit(|step| to_device::delete_up_to(step, place, number));
    send(&mut world, &bob, "t5", 500);
    assert_eq!(waiting(&mut world, &bob).len(), 1, "what was fetched makes room");
}

#[test]
fn a_device_that_never_fetches_keeps_nothing_from_one_that_does() {
    use crate::server::model::{
        records::{TO_DEVICE_COUNTS, TO_DEVICE_SIZES},
        to_device,
    };
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let lost = world.device(&bob.id, "LOST");
    world.edit(|step| {
        step.put(TO_DEVICE_COUNTS, (&*bob.id, lost.device.as_str()), &2_048)?;
        step.put(TO_DEVICE_SIZES, (&*bob.id,), &(128 << 20))
    });
    let content = json!({"text": "x".repeat(60_000)});
    for transaction in ["t1", "t2", "t3", "t4", "t5"] {
        let body = json!({"messages": {&bob.id: {&bob.device: content, &lost.device: content}}});
        let path = format!("/sendToDevice/m.test/{transaction}");
        assert_eq!(world.put(&path, &alice, body).0, 200);
    }
    let waiting = |world: &mut World, of: &User| {
        let place = (&*of.id, of.device.as_str().into());
        world.edit(|step| to_device::waiting(step, place, (0, u64::MAX), 100)).len()
    };
    assert_eq!(waiting(&mut world, &lost), 0);
    assert_eq!(waiting(&mut world, &bob), 4, "as much as its share");
}

#[test]
fn what_waits_for_a_device_is_bounded() {
    use crate::server::model::{records::TO_DEVICE_COUNTS, to_device};
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let place = (&*bob.id, bob.device.as_str().into());
    world.edit(|step| step.put(TO_DEVICE_COUNTS, place, &9_999));
    for transaction in ["t1", "t2"] {
        let body = json!({"messages": {&bob.id: {&bob.device: {}}}});
        let path = format!("/sendToDevice/m.test/{transaction}");
        assert_eq!(world.put(&path, &alice, body).0, 200);
    }
    let waiting = world.edit(|step| to_device::waiting(step, place, (0, u64::MAX), 100));
    assert_eq!(waiting.len(), 1);
}
