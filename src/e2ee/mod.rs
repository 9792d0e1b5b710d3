//! The session layer: Olm and Megolm sessions, the keys behind them, and who may have them.
//!
//! Sans-IO. [`Machine`] is told what arrived and answers with what is to be written and sent, all
//! of it gathered in one [`Step`]. The caller commits the step's [`Changes`] first and releases its
//! requests only then; a step whose commit failed is dropped together with the machine.
//!
//! ```text
//!  sync answer ─▶ receive_sync ─▶ device tracking ─▶ keys/query ──┐
//!                     │                                           ▼
//!                     └▶ to-device ─▶ Olm ─▶ m.room_key     receive_response
//!                                              │                  │
//!  room event ─▶ decrypt_event ◀── inbound ◀───┘        claims, shares, uploads
//!                                                                 │
//!  text ─▶ prepare_room ─▶ Waiting … Ready(ReadyRoom) ─▶ encrypt ─▶ ciphertext
//! ```

mod account;
mod attachment;
mod backup;
mod claim;
mod core;
mod cross_signing;
mod decrypt;
mod dehydrated;
mod device;
mod devices;
mod error;
mod exported;
mod failures;
mod held_secrets;
mod history_sharing;
mod identity;
mod input;
mod key_file;
mod key_requests;
mod lookup;
mod machine;
mod megolm;
mod olm;
mod query;
mod recovery_key;
mod request;
mod room_settings;
mod secret_sharing;
mod secret_storage;
mod session;
mod standing;
mod step;
mod story;
mod strangers;
#[cfg(test)]
mod tests;
mod to_device;
mod tracking;
mod trust;
mod types;
mod unwedge;
mod upload;
mod verification;

pub use attachment::{AttachmentError, Decryptor, EncryptedFile, Encryptor, FileKey, SealedFile};
pub use backup::{BackupProblem, BackupSearch, BackupState};
pub use cross_signing::{AuthNeeded, Bootstrap, IdentityState, IdentityStatus, OwnIdentity};
pub use error::{EncryptError, MachineError, ShareError};
pub use exported::ImportCounts;
pub use history_sharing::{Bundled, Gathered, HistoryBundle, HistoryImport, MAX_BUNDLE_BYTES};
pub use key_file::{KeyFileError, KeyFileReader, KeyFileWriter};
pub use key_requests::{KeyAsked, KeyForwarding, KeyRequestStatus};
pub use lookup::{Changes, Lookup, LookupError, RecordKey, Table, Write};
pub use machine::{Machine, Readiness, ReadyRoom};
pub use megolm::Source as KeySource;
pub use recovery_key::BadRecoveryKey;
pub use request::{OutgoingRequest, RequestFailure, RequestId, RequestKind};
pub use secret_storage::{
    CreationStatus, Derivation, DerivedKey, RecoverySecret, StorageRefusal, StorageStatus,
};
pub use step::Step;
pub use story::{HeldKey, KeyStory, WithheldKey};
pub use types::{
    Alarm, CryptoSync, Decrypted, Decryption, DevicePolicy, HistoryVisibility, KeyStatus,
    KnownDevice, LeftOut, LeftOutReason, MegolmCiphertext, Notice, Plaintext, Recipients, Shield,
    ShieldReason, Undecryptable, UndecryptableReason,
};
pub use verification::{
    CancelCode, Emoji, Ending, RoomVerification, Scan, VerificationAct, VerificationError,
    VerificationId, VerificationStage, VerificationView,
};
