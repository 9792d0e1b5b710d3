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
use vodozemac::Ed25519PublicKey;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads an Ed25519 public key from base64, padded or not.
///
/// vodozemac's own reader must not be fed text from the network: 44 characters without padding
/// are 33 bytes, and those make it panic (0.11.1).
pub fn ed25519_from_base64(text: &str) -> Option<Ed25519PublicKey> {
    let bytes: [u8; 32] = LENIENT.decode(text).ok()?.try_into().ok()?;
    Ed25519PublicKey::from_slice(&bytes).ok()
}
