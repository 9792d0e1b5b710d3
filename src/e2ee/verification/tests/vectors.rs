//! What is derived and promised, against vectors that other programs made and against a second
//! way to compute it.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use vodozemac::{Curve25519PublicKey, sas::Sas as Ephemeral};

use super::sides::{pair, secrets, side, users};
use crate::e2ee::verification::{
    content::{Content, Kind, Message, StartMethod},
    emoji::Emoji,
    keys::OwnTrust,
    sas::{Next, Sas},
    short::{MacVersion, Role, check_macs, our_macs, short, short_info},
};

/// Emoji and numbers of six bytes, as the specification says it.
fn shown(bytes: &[u8]) -> (Vec<u8>, [u16; 3]) {
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let bits: Vec<u16> = bits.map(u16::from).collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let emoji = bits[..42].chunks(6).map(|bits| u8::try_from(number(bits)).unwrap()).collect();
    let decimals: Vec<u16> = bits[..39].chunks(13).map(|bits| number(bits) + 1000).collect();
    (emoji, decimals.try_into().unwrap())
}

// T-83
#[test]
fn short_strings_are_those_of_other_programs() {
    let one = side("@alice:example.org", "AAAAAA");
    let two = side("@bob:example.org", "BBBBBB");
    let key = |byte| Curve25519PublicKey::from_bytes([byte; 32]);
    let info = short_info((&one, &key(1)), (&two, &key(2)), "txn");
    assert_eq!(
        info,
        "MATRIX_KEY_VERIFICATION_SAS|@alice:example.org|AAAAAA|\
         AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE|@bob:example.org|BBBBBB|\
         AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI|txn"
    );
    let secret: Vec<u8> = (0..32).collect();
    let mut bytes = [0; 6];
    Hkdf::<Sha256>::new(None, &secret).expand(info.as_bytes(), &mut bytes).unwrap();
    assert_eq!(bytes, [0x6d, 0x6c, 0xe1, 0x18, 0xb2, 0xcc]);
    let (emoji, decimals) = shown(&bytes);
    assert_eq!((emoji, decimals), (vec![27, 22, 51, 33, 6, 11, 11], [4501, 5996, 4161]));
    let names = [27, 22, 51, 33, 6, 11].map(|number| Emoji::of(number).unwrap().name);
    assert_eq!(names, ["Pizza", "Fire", "Train", "Glasses", "Elephant", "Turtle"]);
}

// T-83
#[test]
fn what_is_shown_is_what_the_derived_bytes_say() {
    for _ in 0..50 {
        let (bound, _) = users();
        let (ours, _) = secrets();
        let (us, them) = (ours.our_public_key(), ours.their_public_key());
        let info = short_info((&bound.us, &us), (&bound.them, &them), "txn");
        let (emoji, decimals) = shown(&ours.bytes_raw(&info, 6).unwrap());
        let short = short(&ours, Role::Starter, (&bound, "txn"));
        let numbers: Vec<u8> = short.emoji.iter().map(|emoji| emoji.number).collect();
        assert_eq!((numbers, short.decimals), (emoji, decimals));
    }
}

/// Base64 written over its own input, as libolm did it.
fn over_itself(mac: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut buffer = mac.to_vec();
    buffer.resize(44, 0);
    for group in 0..11 {
        let read = |at: usize| u32::from(if at < 32 { buffer[at] } else { 0 });
        let from = 3 * group;
        let bits = read(from) << 16 | read(from + 1) << 8 | read(from + 2);
        for letter in 0..4 {
            buffer[4 * group + letter] = LETTERS[(bits >> (18 - 6 * letter) & 63) as usize];
        }
    }
    String::from_utf8(buffer[..43].to_vec()).unwrap()
}

// T-83
#[test]
fn old_macs_are_written_as_wrong_as_libolm_wrote_them() {
    let mac = [
        0x79, 0x69, 0xbb, 0x13, 0x25, 0x5e, 0x77, 0xf8, 0xe0, 0x22, 0x5e, 0x1d, 0x9d, 0x05, 0x0f,
        0xe6, 0xf6, 0x73, 0xec, 0xd9, 0x50, 0x4e, 0x38, 0xc8, 0x50, 0xc8, 0x52, 0x9e, 0xa8, 0xb3,
        0x0a, 0xe6,
    ];
    assert_eq!(STANDARD_NO_PAD.encode(mac), "eWm7EyVed/jgIl4dnQUP5vZz7NlQTjjIUMhSnqizCuY");
    assert_eq!(over_itself(&mac), "eWm7NyVeVmXgbVhnYlZobllsWm9ibGxzV205aWJHeHo");
    let (bound, _) = users();
    let (ours, _) = secrets();
    let right = our_macs(&ours, MacVersion::V2, (&bound, "txn"));
    let wrong = our_macs(&ours, MacVersion::V1, (&bound, "txn"));
    let as_libolm = |mac: &str| over_itself(&STANDARD_NO_PAD.decode(mac).unwrap());
    assert_eq!(wrong.keys, as_libolm(&right.keys));
    for (id, mac) in &right.macs {
        assert_eq!(wrong.macs[id], as_libolm(mac));
    }
}

// T-87, between sides of ours
#[test]
fn macs_are_believed_in_the_version_that_was_agreed_and_no_other() {
    let (alice, bob) = users();
    let (ours, theirs) = secrets();
    let versions = [MacVersion::V1, MacVersion::V2];
    for (said, heard) in versions.into_iter().flat_map(|one| versions.map(|two| (one, two))) {
        let macs = our_macs(&theirs, said, (&bob, "txn"));
        let checked = check_macs(&ours, heard, (&alice, "txn"), &macs);
        assert_eq!(checked.is_ok(), said == heard, "{said:?} {heard:?}");
    }
}

// T-84
#[test]
fn a_promise_covers_fields_that_nobody_knows() {
    let start = r#"{"zz":{"b":[1,2],"a":null},"transaction_id":"txn","from_device":"BBBBBB",
        "method":"m.sas.v1","key_agreement_protocols":["curve25519-hkdf-sha256"],
        "hashes":["sha256"],"message_authentication_codes":["hkdf-hmac-sha256.v2"],
        "short_authentication_string":["emoji","decimal"],"io.element.new":"ä"}"#;
    let canonical = concat!(
        r#"{"from_device":"BBBBBB","hashes":["sha256"],"io.element.new":"ä","#,
        r#""key_agreement_protocols":["curve25519-hkdf-sha256"],"#,
        r#""message_authentication_codes":["hkdf-hmac-sha256.v2"],"method":"m.sas.v1","#,
        r#""short_authentication_string":["emoji","decimal"],"transaction_id":"txn","#,
        r#""zz":{"a":null,"b":[1,2]}}"#
    );
    let message = Content::parse(start).unwrap().message(Kind::Start).unwrap();
    let Message::Start(start) = message else { panic!("{message:?}") };
    let StartMethod::Sas(offer) = &start.method else { panic!("{start:?}") };
    let (sas, accept) = Sas::accept(offer, &start.canonical).unwrap();
    let (bound, _) = users();
    let theirs = Ephemeral::new().public_key().to_base64();
    let stepped = sas.key(&theirs, (&bound, "txn")).unwrap();
    assert!(matches!(stepped.sas, Next::On(Sas::Compare(_))));
    let key = stepped.send[0].content["key"].as_str().unwrap();
    let hash = Sha256::new().chain_update(key).chain_update(canonical).finalize();
    assert_eq!(accept.content["commitment"], STANDARD_NO_PAD.encode(hash));
}

// T-86
#[test]
fn swapped_roles_and_another_verification_show_another_string() {
    let (alice, bob) = users();
    let (ours, theirs) = secrets();
    let good = short(&ours, Role::Starter, (&alice, "txn"));
    assert_eq!(good, short(&theirs, Role::Acceptor, (&bob, "txn")));
    assert_ne!(good, short(&theirs, Role::Starter, (&bob, "txn")));
    assert_ne!(good, short(&theirs, Role::Acceptor, (&bob, "txm")));
    let (_, mallory) = pair(side("@alice:example.org", "AAAAAA"), side("@bob:example.org", "B"));
    assert_ne!(good, short(&theirs, Role::Acceptor, (&mallory, "txn")));
}

// T-86
#[test]
fn macs_of_another_verification_or_sent_back_to_us_are_refused() {
    let (alice, bob) = users();
    let (ours, theirs) = secrets();
    let version = MacVersion::V2;
    let check = |macs: &_| check_macs(&ours, version, (&alice, "txn"), macs).is_ok();
    assert!(check(&our_macs(&theirs, version, (&bob, "txn"))));
    assert!(!check(&our_macs(&theirs, version, (&bob, "other"))));
    assert!(!check(&our_macs(&theirs, version, (&alice, "txn"))));
    let (_, impostor) =
        pair(side("@alice:example.org", "AAAAAA"), side("@bob:example.org", "BBBBBB"));
    assert!(!check(&our_macs(&theirs, version, (&impostor, "txn"))));
    // Only some of the keys: between users the master key must be among them.
    let mut some = our_macs(&theirs, version, (&bob, "txn"));
    some.macs.remove(&format!("ed25519:{}", bob.us.master.as_ref().unwrap()));
    assert!(!check(&some));
}

// A-3: should such a device ever be known, its MAC stands for neither of the two keys.
#[test]
fn a_mac_of_an_own_device_named_like_the_master_key_is_refused() {
    let one = side("@alice:example.org", "AAAAAA");
    for is_named_so in [false, true] {
        let mut two = side("@alice:example.org", "BBBBBB");
        two.master.clone_from(&one.master);
        if is_named_so {
            two.device = two.master.as_deref().unwrap().into();
        }
        let (first, mut second) = pair(one.clone(), two);
        // It vouches for its own key alone, and that is right.
        second.trust = OwnTrust::Unverified;
        let (ours, theirs) = secrets();
        let macs = our_macs(&theirs, MacVersion::V2, (&second, "txn"));
        let checked = check_macs(&ours, MacVersion::V2, (&first, "txn"), &macs);
        assert_eq!(checked.is_err(), is_named_so);
    }
}

// T-86, A-21
#[test]
fn keys_that_make_no_secret_and_our_own_are_refused() {
    let (bound, _) = users();
    let offer = r#"{"from_device":"B","method":"m.sas.v1","hashes":["sha256"],
        "key_agreement_protocols":["curve25519-hkdf-sha256"],
        "message_authentication_codes":["hkdf-hmac-sha256.v2"],
        "short_authentication_string":["emoji","decimal"]}"#;
    let message = Content::parse(offer).unwrap().message(Kind::Start).unwrap();
    let Message::Start(start) = message else { panic!("{message:?}") };
    let StartMethod::Sas(offer) = &start.method else { panic!("{start:?}") };
    let mut one = [0; 32];
    one[0] = 1;
    for low_order in [[0; 32], one] {
        let (sas, _) = Sas::accept(offer, &start.canonical).unwrap();
        let key = Curve25519PublicKey::from_bytes(low_order).to_base64();
        assert_eq!(sas.key(&key, (&bound, "txn")).unwrap_err().as_str(), "m.key_mismatch");
    }
}
