//! Where a file lies: `mxc://server/id`, read strictly, because its parts become a path.
//!
//! # Spec
//! Client-Server API, "Matrix Content (`mxc://`) URIs", security considerations.

use std::fmt;

use ruma::ServerName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Longest URI, in bytes.
const MAX_BYTES: usize = 512;

/// The address of a file: a server's name, and an id of letters, digits, `-` and `_` alone. So
/// neither can leave the path it is put into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MxcUri {
    server: String,
    id: String,
}

/// Not the address of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message names no valid address of a file (mxc://server/id)")]
pub struct BadMxc;

impl MxcUri {
    /// Reads an address.
    ///
    /// # Errors
    /// When it has another scheme, other parts, or characters that neither of them may have.
    pub fn parse(text: &str) -> Result<Self, BadMxc> {
        if MAX_BYTES < text.len() {
            return Err(BadMxc);
        }
        let (server, id) =
            text.strip_prefix("mxc://").and_then(|rest| rest.split_once('/')).ok_or(BadMxc)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        // The grammar of server names lets names of dots alone pass.
        let is_dotted = server.starts_with('.') || server.contains("..");
        if id.is_empty() || !id.chars().all(is_plain) || is_dotted {
            return Err(BadMxc);
        }
        if ServerName::parse(server).is_err() {
            return Err(BadMxc);
        }
        Ok(Self { server: server.to_owned(), id: id.to_owned() })
    }

    /// The server it was given to.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Its name there.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for MxcUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mxc://{}/{}", self.server, self.id)
    }
}

impl Serialize for MxcUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MxcUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[test]
    fn an_address_cannot_leave_the_path_of_downloads() {
        for wrong in [
            "",
            "mxc://",
            "mxc://example.org",
            "mxc://example.org/",
            "mxc:///id",
            "mxc://x/../../",
            "mxc://x/..",
            "mxc://x/a/b",
            "mxc://x/a%2fb",
            "mxc://x/a?b",
            "mxc://x/a#b",
            "mxc://x/a\\b",
            "mxc://../a",
            "mxc://x y/a",
            "mxc://x%2f/a",
            "mxc://u@x/a",
            "mxc://x/é",
            "https://example.org/id",
            "MXC://example.org/id",
        ] {
            assert_eq!(MxcUri::parse(wrong), Err(BadMxc), "{wrong}");
        }
        assert!(MxcUri::parse(&format!("mxc://x/{}", "a".repeat(600))).is_err());
    }

    #[test]
    fn what_servers_give_is_read_and_written_the_same() {
        for right in
            ["mxc://example.org/Ab_-9", "mxc://localhost:8448/x", "mxc://[2001:db8::1]:443/x"]
        {
            assert_eq!(MxcUri::parse(right).unwrap().to_string(), right);
        }
    }
}
