//! The cross-signing identity of a user, as the server shows it, checked for being whole.
//!
//! Nothing here decides trust: that the keys fit together says nothing about whose they are.
//!
//! # Spec
//! Client-Server API, "Cross-signing", "Key and signature security".

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::Ed25519PublicKey;

use crate::{
    matrix::{CanonicalValue, OwnedUserId, SignedJson, UserId, ed25519_from_base64},
    time::Timestamp,
};

use super::device::{CrossSignature, Device};

/// Largest key object that is read, in bytes. Every device of a user may have signed the master
/// key, which makes some kilobytes.
const MAX_KEY_BYTES: usize = 64 << 10;

/// The keys of one identity, as JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdentityJson<'a> {
    pub(super) master: &'a RawValue,
    pub(super) self_signing: &'a RawValue,
    /// Servers show it for our own user only.
    pub(super) user_signing: Option<&'a RawValue>,
}

/// A whole identity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) user: OwnedUserId,
    pub(super) master: Box<RawValue>,
    pub(super) self_signing: Box<RawValue>,
    pub(super) user_signing: Option<Box<RawValue>>,
    /// The current master key, unpadded base64.
    pub(super) master_key: String,
    /// The key that signs the user's devices.
    pub(super) self_signing_key: String,
    /// The key that signs other users; ours only.
    pub(super) user_signing_key: Option<String>,
    /// The master key that was seen first.
    pub(super) pinned_master_key: String,
    pub(super) first_seen: Timestamp,
    /// Whether we ever found it verified; only the user takes that back.
    #[serde(default)]
    pub(super) was_verified: bool,
    /// The signature of our user-signing key over `master`, made here: it holds though the server
    /// does not show it, yet or any more.
    #[serde(default)]
    pub(super) our_signature: Option<String>,
    /// A device of the user is named like one of the keys, so that one can be taken for the other.
    #[serde(default)]
    confused: bool,
}

/// Whether a signature was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    Before,
    Now,
}

/// Why a set of cross-signing keys is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadIdentity {
    #[error("a cross-signing key is larger than {MAX_KEY_BYTES} bytes")]
    TooLarge,
    #[error("a cross-signing key is not strict JSON")]
    NotStrict,
    #[error("a cross-signing key names another user")]
    WrongUser,
    #[error("a cross-signing key object does not hold exactly one Ed25519 key under its own name")]
    WrongKeys,
    #[error("a cross-signing key is not meant for its use")]
    WrongUsage,
    #[error("one key has two uses")]
    SameKey,
    #[error("a cross-signing key is not signed by the master key")]
    Unsigned,
}

/// One checked key object.
struct CrossSigningKey {
    json: SignedJson,
    name: String,
    key: Ed25519PublicKey,
}

impl CrossSigningKey {
    fn parse(user: &UserId, usage: &str, raw: &RawValue) -> Result<Self, BadIdentity> {
        if MAX_KEY_BYTES < raw.get().len() {
            return Err(BadIdentity::TooLarge);
        }
        let json = SignedJson::parse(raw.get()).ok().ok_or(BadIdentity::NotStrict)?;
        if json.text_at(&["user_id"]) != Some(user.as_str()) {
            return Err(BadIdentity::WrongUser);
        }
        let usages = json.object().get("usage").and_then(CanonicalValue::as_array);
        if !usages.is_some_and(|usages| usages.iter().any(|item| item.as_str() == Some(usage))) {
            return Err(BadIdentity::WrongUsage);
        }
        let keys = json.object().get("keys").and_then(CanonicalValue::as_object);
        let mut keys = keys.ok_or(BadIdentity::WrongKeys)?.iter();
        let (Some((id, value)), None) = (keys.next(), keys.next()) else {
            return Err(BadIdentity::WrongKeys);
        };
        let name = id.strip_prefix("ed25519:").ok_or(BadIdentity::WrongKeys)?.to_owned();
        if value.as_str() != Some(&name) {
            return Err(BadIdentity::WrongKeys);
        }
        let key = ed25519_from_base64(&name).ok_or(BadIdentity::WrongKeys)?;
        Ok(Self { json, name, key })
    }

    fn check_signed_by(&self, user: &UserId, master: &Self) -> Result<(), BadIdentity> {
        let id = format!("ed25519:{}", master.name);
        self.json.verify(user, &id, &master.key).ok().ok_or(BadIdentity::Unsigned)
    }
}

impl Identity {
    /// Checks a set of keys. What was known before stays known: the pin, the first sight.
    pub(super) fn check(
        user: &UserId,
        json: IdentityJson<'_>,
        known: Option<&Self>,
        now: Timestamp,
    ) -> Result<Self, BadIdentity> {
        let master = CrossSigningKey::parse(user, "master", json.master)?;
        let self_signing = CrossSigningKey::parse(user, "self_signing", json.self_signing)?;
        self_signing.check_signed_by(user, &master)?;
        let user_signing = json
            .user_signing
            .map(|raw| CrossSigningKey::parse(user, "user_signing", raw))
            .transpose()?;
        if let Some(key) = &user_signing {
            key.check_signed_by(user, &master)?;
            if key.key == master.key || key.key == self_signing.key {
                return Err(BadIdentity::SameKey);
            }
        }
        if master.key == self_signing.key {
            return Err(BadIdentity::SameKey);
        }
        let pinned = known.map_or_else(|| master.name.clone(), |old| old.pinned_master_key.clone());
        Ok(Self {
            user: user.to_owned(),
            master: json.master.to_owned(),
            self_signing: json.self_signing.to_owned(),
            user_signing: json.user_signing.map(ToOwned::to_owned),
            master_key: master.name,
            self_signing_key: self_signing.name,
            user_signing_key: user_signing.map(|key| key.name),
            pinned_master_key: pinned,
            first_seen: known.map_or(now, |old| old.first_seen),
            was_verified: known.is_some_and(|old| old.was_verified),
            our_signature: known.and_then(|old| old.our_signature.clone()),
            confused: false,
        })
    }

    /// Whether the server's objects are the very same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let user_signing =
            |identity: &Self| identity.user_signing.as_ref().map(|raw| raw.get().to_owned());
        self.master.get() == other.master.get()
            && self.self_signing.get() == other.self_signing.get()
            && user_signing(self) == user_signing(other)
            && self.confused == other.confused
    }

    /// Takes the names of the user's devices.
    pub(super) fn note_names<'n>(&mut self, mut names: impl Iterator<Item = &'n String>) {
        self.confused = names.any(|name| self.has_key_named(name));
    }

    /// Whether a device could be taken for a key: nobody may verify such an identity
    /// (CVE-2022-39250).
    pub(super) fn is_confused(&self) -> bool {
        self.confused
    }

    /// Whether `name` is one of the keys: a device of that name could be taken for the key.
    pub(super) fn has_key_named(&self, name: &str) -> bool {
        self.master_key == name
            || self.self_signing_key == name
            || self.user_signing_key.as_deref() == Some(name)
    }

    /// Whether the owner's self-signing key signed `device`; looked at once for each of both.
    pub(super) fn signs(&self, device: &Device) -> bool {
        match &device.cross_signature {
            Some(found) if found.key == self.self_signing_key && device.user == self.user => {
                found.holds
            }
            Some(_) | None => self.has_signed(device),
        }
    }

    /// Looks at the signature of `device`, unless that was done.
    pub(super) fn look_at(&self, device: &mut Device) -> Looked {
        let key = &self.self_signing_key;
        if device.cross_signature.as_ref().is_some_and(|found| found.key == *key) {
            return Looked::Before;
        }
        let holds = self.has_signed(device);
        device.cross_signature = Some(CrossSignature { key: key.clone(), holds });
        Looked::Now
    }

    fn has_signed(&self, device: &Device) -> bool {
        let id = format!("ed25519:{}", self.self_signing_key);
        let signed = SignedJson::parse(device.raw.get()).ok();
        let key = ed25519_from_base64(&self.self_signing_key);
        device.user == self.user
            && signed.zip(key).is_some_and(|(json, key)| json.verify(&self.user, &id, &key).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use vodozemac::Ed25519SecretKey;

    use super::*;
    use crate::matrix::{CanonicalText, sign};

    struct Keys {
        master: Ed25519SecretKey,
        self_signing: Ed25519SecretKey,
    }

    fn object(usage: &str, key: &Ed25519SecretKey, signer: &Ed25519SecretKey) -> String {
        let name = key.public_key().to_base64();
        let text = format!(
            r#"{{"user_id":"@a:x","usage":["{usage}"],"keys":{{"ed25519:{name}":"{name}"}}}}"#
        );
        let mut object = CanonicalValue::parse_object(&text).unwrap();
        let id = format!("ed25519:{}", signer.public_key().to_base64());
        sign(&mut object, user_id!("@a:x"), &id, |text| signer.sign(text.as_bytes()));
        CanonicalText(&object).to_string()
    }

    fn whole() -> (Keys, String, String) {
        let keys = Keys { master: Ed25519SecretKey::new(), self_signing: Ed25519SecretKey::new() };
        let master = object("master", &keys.master, &keys.master);
        let self_signing = object("self_signing", &keys.self_signing, &keys.master);
        (keys, master, self_signing)
    }

    fn check(master: &str, self_signing: &str) -> Result<Identity, BadIdentity> {
        let json = IdentityJson {
            master: serde_json::from_str(master).unwrap(),
            self_signing: serde_json::from_str(self_signing).unwrap(),
            user_signing: None,
        };
        Identity::check(user_id!("@a:x"), json, None, Timestamp(1))
    }

    #[test]
    fn a_whole_identity_is_taken_and_pinned() {
        let (keys, master, self_signing) = whole();
        let identity = check(&master, &self_signing).unwrap();
        assert_eq!(identity.pinned_master_key, keys.master.public_key().to_base64());
        assert!(identity.has_key_named(&keys.self_signing.public_key().to_base64()));
    }

    /// T-71 in part.
    #[test]
    fn a_set_with_one_bad_key_is_refused_whole() {
        let (keys, master, self_signing) = whole();
        let cases = [
            (
                master.replacen(',', &format!(",{}", " ".repeat(64 << 10)), 1),
                self_signing.clone(),
                BadIdentity::TooLarge,
            ),
            (master.replace("@a:x", "@b:x"), self_signing.clone(), BadIdentity::WrongUser),
            (master.replace("master", "other"), self_signing.clone(), BadIdentity::WrongUsage),
            (
                master.replace("\"user_id\"", "\"usage\":[],\"user_id\""),
                self_signing.clone(),
                BadIdentity::NotStrict,
            ),
            (
                master.replace(":{\"ed25519:", ":{\"ed25519:x\":\"x\",\"ed25519:"),
                self_signing.clone(),
                BadIdentity::WrongKeys,
            ),
            (
                master.clone(),
                object("self_signing", &keys.self_signing, &keys.self_signing),
                BadIdentity::Unsigned,
            ),
            (
                master.clone(),
                object("self_signing", &keys.master, &keys.master),
                BadIdentity::SameKey,
            ),
            (
                master.clone(),
                self_signing.replacen("[\"self_signing\"]", "[\"self_signing\",\"x\"]", 1),
                BadIdentity::Unsigned,
            ),
        ];
        for (master, self_signing, expected) in cases {
            assert_eq!(check(&master, &self_signing).unwrap_err(), expected);
        }
    }
}
