//! What happens to the engine, and what it wants done about it.

use crate::{
    e2ee::{Derivation, DerivedKey, KeyForwarding},
    secret::Secret,
    wire::{ClientFrame, ServerFrame},
};

use super::{Command, RenewError, Renewal, Tokens, TransferEvent, TransferOrder, Update};

/// Names a face while it is connected; never used twice by one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaceId(pub u64);

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The dial succeeded.
    LinkUp,
    /// The dial failed or the connection was lost.
    LinkLost {
        /// In words for people.
        reason: String,
        /// Uniform in `0.0..1.0`; jitters the pause before the next dial.
        draw: f64,
    },
    /// The connection was lost over an update that is larger than this end takes.
    UpdateTooLarge {
        /// In words for people.
        reason: String,
        /// As that of [`Input::LinkLost`].
        draw: f64,
    },
    /// The server sent a frame.
    Frame(ServerFrame),
    /// A face came; it is told the present state.
    FaceCame(FaceId),
    /// A face asks for something.
    Command {
        /// Which face.
        face: FaceId,
        /// What.
        command: Command,
    },
    /// A face is gone; nothing is sent to it any more.
    FaceGone(FaceId),
    /// A transfer that was ordered goes on or ended.
    Transfer {
        /// Which.
        id: u64,
        /// What became of it.
        event: TransferEvent,
    },
    /// What came of [`Outgoing::renew`].
    Renewed(Result<Tokens, RenewError>),
    /// A passphrase was made a key, as [`Outgoing::derive`] wanted.
    Derived(DerivedKey),
    /// Whether room keys are asked of our other devices and handed to them, from now on.
    KeyForwarding(KeyForwarding),
    /// The deadline passed.
    Tick,
}

/// What is to be done once the step is committed.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// To be given to the transport, in order. Without a connection they are dropped: what
    /// matters is repeated after the next [`Input::LinkUp`].
    pub frames: Vec<ClientFrame>,
    /// Files to carry, or to carry no further; after the frames. Without a connection they are
    /// dropped: they are ordered again.
    pub transfers: Vec<TransferOrder>,
    /// To be given to the faces, in order.
    pub updates: Vec<(Audience, Update)>,
    /// A passphrase to be made a key, aside: it takes a third of a second, or some.
    pub derive: Option<Derivation>,
    /// Connect now.
    pub dial: Option<Dial>,
    /// Ask for a new access token, and say what came of it by [`Input::Renewed`].
    pub renew: Option<Renewal>,
    /// Close the connection, in words for people: what came over it cannot be used.
    pub hang_up: Option<String>,
    /// Whether the engine is done; nothing follows.
    pub ended: bool,
}

/// Who gets an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every face.
    All,
    /// One face.
    One(FaceId),
}

/// A dial that is due.
#[derive(Clone, Debug)]
pub struct Dial {
    /// The access token to present.
    pub token: Secret<String>,
}
