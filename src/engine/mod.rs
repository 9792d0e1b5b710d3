//! The client itself: composes link, session layer, rooms and store. [`Engine::handle`] is one
//! function in, one value out; only `driver` does I/O.

mod asks;
mod backup;
mod command;
mod connection;
mod core;
mod direct;
pub mod driver;
mod error;
mod faces;
mod files;
mod greet;
mod history;
mod identity;
mod input;
mod keys;
mod leave;
mod members;
mod newcomers;
mod outbox;
mod receipts;
mod recovery;
mod renewal;
mod request;
mod room;
mod roster;
mod secrecy;
mod secret_text;
mod send;
mod setup;
mod sharing;
mod story;
mod sync;
mod transfer;
mod trust;
mod turn;
mod update;
mod verification;

pub use self::core::Engine;
pub use command::{Command, CommandId, Draft, FileDraft, KeysAfter, Receipt, Request, SaveTo};
pub use driver::{Face, FaceKind, Handle, inspect_file};
pub use error::EngineError;
pub use faces::Faces;
pub use input::{Audience, Dial, FaceId, Input, Outgoing};
pub use recovery::{RecoveryState, RecoveryWay};
pub use renewal::{RenewError, Renewal, Tokens, renew_at};
pub use secret_text::SecretText;
pub use story::MessageStory;
pub use transfer::{
    Download, Place, Secrecy, Sink, TransferEvent, TransferFailure, TransferKind, TransferOrder,
    Upload, UploadSource,
};
pub use update::{
    AuthPrompt, CommandError, DeviceLine, Outcome, Page, RoomTrust, SharedHistory, Update,
};

// What faces need of the modules below, so that they need not name those.
pub use crate::{
    e2ee::{
        Alarm, BackupProblem, BackupSearch, BackupState, CancelCode, DevicePolicy, Emoji, Ending,
        HeldKey, IdentityState, IdentityStatus, ImportCounts, KeyAsked, KeyFileError,
        KeyFileReader, KeyFileWriter, KeyForwarding, KeyRequestStatus, KeySource, KeyStatus,
        KeyStory, LeftOut, LeftOutReason, OwnIdentity, Scan, VerificationAct, VerificationId,
        VerificationStage, VerificationView, WithheldKey,
    },
    link::LinkState,
};
