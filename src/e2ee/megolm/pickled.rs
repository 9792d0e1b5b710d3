//! How vodozemac's group sessions stand in our records: as their serde pickles. The store encrypts
//! them, not vodozemac (its pickle encryption repeats the initialization vector).

/// `#[serde(with = "pickled::outbound")]`
pub(super) mod outbound {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use vodozemac::megolm::{GroupSession, GroupSessionPickle};

    pub(in super::super) fn serialize<S: Serializer>(
        session: &GroupSession,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        session.pickle().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<GroupSession, D::Error> {
        GroupSessionPickle::deserialize(deserializer).map(GroupSession::from_pickle)
    }
}

/// `#[serde(with = "pickled::inbound")]`
pub(super) mod inbound {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use vodozemac::megolm::{InboundGroupSession, InboundGroupSessionPickle};

    pub(in super::super) fn serialize<S: Serializer>(
        session: &InboundGroupSession,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        session.pickle().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<InboundGroupSession, D::Error> {
        InboundGroupSessionPickle::deserialize(deserializer).map(InboundGroupSession::from_pickle)
    }
}
