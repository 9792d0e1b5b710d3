//! Names of the stream: its path and its subprotocols.

/// Path of the handshake, on the homeserver's client host unless discovery says otherwise.
pub const STREAM_PATH: &str = "/_matrix/client/unstable/stream";

/// How the frames of a connection are written, agreed in the handshake.
///
/// The seat of `grotto.stream.v1.zstd` (text frames compressed, one context per direction): a case
/// here, its name in [`Subprotocol::ALL`], and a codec beside `codec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// Version 1, text frames as they are.
    V1,
}

impl Subprotocol {
    /// What this end speaks, best first.
    pub const ALL: [Self; 1] = [Self::V1];

    /// Its name in `Sec-WebSocket-Protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "grotto.stream.v1",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// Picks the first of the client's subprotocols (a `Sec-WebSocket-Protocol` value, in the client's
/// order of preference) that we speak.
pub fn negotiate(offered: &str) -> Option<Subprotocol> {
    offered.split(',').find_map(|name| Subprotocol::from_name(name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_subprotocol_of_the_client_wins() {
        assert_eq!(negotiate("grotto.stream.v9, grotto.stream.v1"), Some(Subprotocol::V1));
        assert_eq!(negotiate("grotto.stream.v1.zstd,grotto.stream.v1"), Some(Subprotocol::V1));
        assert_eq!(negotiate("grotto.stream.v10"), None);
        assert_eq!(negotiate(""), None);
    }
}
