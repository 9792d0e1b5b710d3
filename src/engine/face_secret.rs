//! A secret on its way between a face and the engine.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::Secret;

/// What a person typed, or must write down. Unlike [`Secret`] it can be serialized, because the
/// control socket carries it, which only its owner can open; the text in the socket's buffers is
/// not wiped. `Debug` prints the type's name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaceSecret(Secret<String>);

impl FaceSecret {
    /// Takes a text into custody.
    pub fn new(text: String) -> Self {
        Self(Secret::new(text))
    }

    /// The secret.
    pub fn into_secret(self) -> Secret<String> {
        self.0
    }

    /// Hands out the text; the caller must neither log nor keep it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<Secret<String>> for FaceSecret {
    fn from(secret: Secret<String>) -> Self {
        Self(secret)
    }
}

impl Serialize for FaceSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for FaceSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_crosses_the_socket_and_is_not_printed() {
        let secret = FaceSecret::new("EsSz ykH7".to_owned());
        let text = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<FaceSecret>(&text).unwrap(), secret);
        insta::assert_snapshot!(format!("{secret:?}"), @"FaceSecret(Secret<alloc::string::String>(..))");
    }
}
