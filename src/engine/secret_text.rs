//! A secret on its way from a face to the engine.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A password, a passphrase or a recovery key. It travels over the control socket, which only our
/// own user reads, and is never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretText(Secret<String>);

impl SecretText {
    /// The secret; the caller must neither log nor keep it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The secret, as the session layer takes it.
    pub fn into_secret(self) -> Secret<String> {
        self.0
    }
}

impl From<Secret<String>> for SecretText {
    fn from(secret: Secret<String>) -> Self {
        Self(secret)
    }
}

impl From<String> for SecretText {
    fn from(secret: String) -> Self {
        Self(Secret::new(secret))
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Ok(Self(Secret::new(text.as_str().to_owned())))
    }
}
