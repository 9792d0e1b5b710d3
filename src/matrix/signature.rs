//! Ed25519 signatures over canonical JSON, checked over the JSON that was received.
//!
//! Never over a struct that was parsed and written again: a struct drops unknown fields, and then
//! good signatures fail and forgeries may pass.
//!
//! # Spec
//! Appendices, "Signing JSON".

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use vodozemac::{Ed25519PublicKey, Ed25519Signature};

use super::{
    canonical_json::{CanonicalJsonError, CanonicalObject, CanonicalText, CanonicalValue},
    id::UserId,
};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads an Ed25519 public key from base64, padded or not.
///
/// vodozemac's own reader must not be fed text from the network: 44 characters without padding
/// are 33 bytes, and those make it panic (0.11.1).
pub fn ed25519_from_base64(text: &str) -> Option<Ed25519PublicKey> {
    if text.len() > 44 {
        return None;
    }
    let bytes: [u8; 32] = LENIENT.decode(text).ok()?.try_into().ok()?;
    Ed25519PublicKey::from_slice(&bytes).ok()
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The object carries no signature of this user under this key id.
    #[error("not signed by this key")]
    Missing,
    /// The signature is not 64 bytes of base64.
    #[error("the signature is malformed")]
    Malformed,
    /// The signature was made by another key or over other bytes.
    #[error("the signature is wrong")]
    Wrong,
}

/// A JSON object that may carry signatures, with the bytes that they cover.
#[derive(Clone, Debug)]
pub struct SignedJson {
    object: CanonicalObject,
    message: String,
}

impl SignedJson {
    /// Reads an object strictly.
    ///
    /// # Errors
    /// When the text is not a strict JSON object.
    pub fn parse(text: &str) -> Result<Self, CanonicalJsonError> {
        let object = CanonicalValue::parse_object(text)?;
        let message = signed_text(&object);
        Ok(Self { object, message })
    }

    /// The object, with `signatures` and `unsigned`.
    pub fn object(&self) -> &CanonicalObject {
        &self.object
    }

    /// The string at a path of keys.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        let (last, parents) = path.split_last()?;
        let mut object = &self.object;
        for key in parents {
            object = object.get(*key)?.as_object()?;
        }
        object.get(*last)?.as_str()
    }

    /// Checks the signature of `user` under `key_id` (for instance `ed25519:DEVICE`). Other
    /// signatures, of other users, keys or algorithms, are neither needed nor looked at.
    ///
    /// The caller must know from elsewhere that `key` is the key of that user and id.
    ///
    /// # Errors
    /// When this very signature is absent or does not hold.
    pub fn verify(
        &self,
        user: &UserId,
        key_id: &str,
        key: &Ed25519PublicKey,
    ) -> Result<(), BadSignature> {
        let signature =
            self.text_at(&["signatures", user.as_str(), key_id]).ok_or(BadSignature::Missing)?;
        self.verify_apart(signature, key)
    }

    /// Checks a signature that is not in the object.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify_apart(
        &self,
        signature: &str,
        key: &Ed25519PublicKey,
    ) -> Result<(), BadSignature> {
        let bytes = LENIENT.decode(signature).ok().ok_or(BadSignature::Malformed)?;
        let signature = Ed25519Signature::from_slice(&bytes).ok().ok_or(BadSignature::Malformed)?;
        key.verify(self.message.as_bytes(), &signature).ok().ok_or(BadSignature::Wrong)
    }
}

/// The text that signatures of `object` cover: canonical, without `signatures` and `unsigned`.
pub fn signed_text(object: &CanonicalObject) -> String {
    let mut bare = object.clone();
    bare.remove("signatures");
    bare.remove("unsigned");
    CanonicalText(&bare).to_string()
}

/// Signs `object` as `user` under `key_id`, keeping the signatures it has.
pub fn sign(
    object: &mut CanonicalObject,
    user: &UserId,
    key_id: &str,
    signer: impl FnOnce(&str) -> Ed25519Signature,
) {
    let signature = signer(&signed_text(object)).to_base64();
    let empty = || CanonicalValue::Object(CanonicalObject::new());
    let signatures = object.entry("signatures".to_owned()).or_insert_with(empty);
    if let CanonicalValue::Object(users) = signatures
        && let CanonicalValue::Object(keys) = users.entry(user.to_string()).or_insert_with(empty)
    {
        keys.insert(key_id.to_owned(), CanonicalValue::String(signature));
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use vodozemac::{Ed25519Keypair, Ed25519SecretKey};

    use super::*;

    const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA0";

    /// The key of the spec's test vectors; the last character there has stray bits, cleared here.
    fn spec_key() -> Ed25519SecretKey {
        Ed25519SecretKey::from_base64(SEED).unwrap()
    }

    fn signed(text: &str) -> String {
        let mut object = CanonicalValue::parse_object(text).unwrap();
        let key = spec_key();
        sign(&mut object, user_id!("@domain:x"), "ed25519:1", |text| key.sign(text.as_bytes()));
        CanonicalText(&object).to_string()
    }

    fn verdict(text: &str) -> Result<(), BadSignature> {
        let key = spec_key().public_key();
        SignedJson::parse(text).unwrap().verify(user_id!("@domain:x"), "ed25519:1", &key)
    }

    /// T-01 in part: the vectors of the spec were made by another implementation.
    #[test]
    fn the_signatures_of_the_spec_are_made_and_hold() {
        let empty = signed("{}");
        assert!(empty.contains(
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"
        ));
        let data = signed(r#"{"one": 1, "two": "Two"}"#);
        assert!(data.contains(
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"
        ));
        assert_eq!(verdict(&empty), Ok(()));
        assert_eq!(verdict(&data), Ok(()));
    }

    #[test]
    fn unsigned_and_other_signatures_are_not_covered_but_all_else_is() {
        let good = signed(r#"{"a":1,"unknown":{"field":[true]}}"#);
        let more = good.replacen('{', r#"{"unsigned":{"x":1},"#, 1);
        assert_eq!(verdict(&more), Ok(()));
        assert_eq!(verdict(&good.replace("true", "false")), Err(BadSignature::Wrong));
        assert_eq!(verdict(&good.replace(r#""a":1"#, r#""a":1,"b":2"#)), Err(BadSignature::Wrong));
    }

    /// A-35.
    #[test]
    fn only_the_signature_of_the_asked_key_counts() {
        let good = signed(r#"{"a":1}"#);
        let renamed = good.replace("ed25519:1", "ed25519:2");
        assert_eq!(verdict(&renamed), Err(BadSignature::Missing));
        assert_eq!(verdict(&good.replace("@domain:x", "@other:x")), Err(BadSignature::Missing));
        let crowd =
            good.replace(r#""ed25519:1":"#, r#""curve448:1":"zz","ed25519:0":"AAAA","ed25519:1":"#);
        assert_eq!(verdict(&crowd), Ok(()));
        let short = r#"{"signatures":{"@domain:x":{"ed25519:1":"AAAA"}}}"#;
        assert_eq!(verdict(short), Err(BadSignature::Malformed));
        let other = Ed25519Keypair::new().public_key();
        let object = SignedJson::parse(&good).unwrap();
        assert_eq!(
            object.verify(user_id!("@domain:x"), "ed25519:1", &other),
            Err(BadSignature::Wrong)
        );
    }

    /// A-35.
    #[test]
    fn signatures_of_strange_shape_are_just_missing() {
        for text in [
            r#"{"signatures":1}"#,
            r#"{"signatures":{"@domain:x":[]}}"#,
            r#"{"signatures":{"@domain:x":{"ed25519:1":5}}}"#,
        ] {
            assert_eq!(verdict(text), Err(BadSignature::Missing));
        }
    }

    /// A-21.
    #[test]
    fn keys_of_any_length_are_read_without_a_panic() {
        let good = spec_key().public_key().to_base64();
        assert!(ed25519_from_base64(&good).is_some());
        assert!(ed25519_from_base64(&format!("{good}=")).is_some());
        for length in 0..100 {
            assert!(length == 43 || ed25519_from_base64(&"A".repeat(length)).is_none());
        }
    }
}
