//! Two sides with keys.

use vodozemac::{
    Ed25519SecretKey,
    sas::{EstablishedSas, Sas},
};

use crate::e2ee::verification::keys::{Bound, OwnTrust, Side};

fn key() -> vodozemac::Ed25519PublicKey {
    Ed25519SecretKey::new().public_key()
}

pub(super) fn side(user: &str, device: &str) -> Side {
    let master = Some(key().to_base64());
    Side { user: user.try_into().unwrap(), device: device.into(), ed25519: key(), master }
}

/// What each of two users is bound to.
pub(super) fn users() -> (Bound, Bound) {
    pair(side("@alice:example.org", "AAAAAA"), side("@bob:example.org", "BBBBBB"))
}

pub(super) fn pair(one: Side, two: Side) -> (Bound, Bound) {
    let trust = OwnTrust::Verified;
    let first = Bound { us: one.clone(), trust, them: two.clone() };
    (first, Bound { us: two, trust, them: one })
}

/// Both ends of a shared secret.
pub(super) fn secrets() -> (EstablishedSas, EstablishedSas) {
    let (one, two) = (Sas::new(), Sas::new());
    let (first, second) = (one.public_key(), two.public_key());
    (one.diffie_hellman(second).unwrap(), two.diffie_hellman(first).unwrap())
}
