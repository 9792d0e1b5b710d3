//! Where the backup stands: in memory, for the caller, and in the purposes of its requests.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    record::{Name, Pinned, Record, Seed, Trust},
    restore::{Extent, Fetch},
    search::Search,
    upload::Upload,
    version::Question,
};
use crate::{
    e2ee::{Machine, MachineError, Notice, Table, request, request::Purpose, step::Step},
    matrix::OwnedRoomId,
    time::Timestamp,
};

/// How the key backup stands, for whoever looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "answers to questions of their own")]
pub struct BackupState {
    /// The version on the server; `None` while it is not known, or when there is none.
    pub version: Option<String>,
    /// Whether the server was asked since the start.
    pub checked: bool,
    /// Whether we hold its private key: old messages can be read from it.
    pub connected: bool,
    /// Whether one is being made, or a key that was given is being tried.
    #[serde(default)]
    pub connecting: bool,
    /// Whether keys are uploaded to it.
    pub trusted: bool,
    /// Sessions that it does not have as they are now.
    pub to_upload: u64,
    /// Rooms whose keys were fetched, of how many, while that is under way.
    pub restoring: Option<(u64, u64)>,
    /// Sessions that came from it since the start.
    pub restored: u64,
    /// What is wrong.
    pub problem: Option<BackupProblem>,
}

/// What keeps the backup from working.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupProblem {
    /// It is gone from the server.
    Deleted,
    /// The one on the server is of nobody whom this device trusts.
    Untrusted,
    /// The key that was given is not that of the backup on the server.
    WrongKey,
    /// A client of this account turned backups off; making one must be confirmed.
    TurnedOff,
    /// The server has one in a format that this client does not speak.
    Unsupported,
    /// The server refused; its error code.
    Refused(String),
}

/// What a request about the backup was for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::e2ee) enum BackupPurpose {
    /// Which backup there is.
    Version,
    /// Whether the account wants one, before one is made.
    Preference,
    /// A new one.
    Create,
    /// To say that the account wants one.
    Enable,
    /// A signature of our new identity.
    Sign,
    /// Sessions as they were, with the first index that each had.
    Upload { name: Name, sessions: Vec<(OwnedRoomId, String, u32)> },
    /// One session.
    Session { name: Name, room: OwnedRoomId, session_id: String },
    /// All sessions of a room.
    Room { name: Name, room: OwnedRoomId },
}

/// The backup in memory. Everything that must not be forgotten is in the store too.
#[derive(Debug, Default)]
pub(in crate::e2ee) struct Backup {
    pub(super) record: Record,
    /// Whether the server was asked since the start.
    pub(super) checked: bool,
    pub(super) question: Question,
    /// Whether a new one is being made, from the question on whether the account wants one.
    pub(super) creating: bool,
    /// A key that is to be used if it fits the backup, which is being asked for.
    pub(super) candidate: Option<Seed>,
    /// The backup that a key which was given did not fit.
    pub(super) misfit: Option<Name>,
    pub(super) upload: Upload,
    /// Sessions of one request, since the server refused more.
    pub(super) batch: Option<usize>,
    pub(super) upload_failures: u32,
    pub(super) fetch: Fetch,
    /// Rooms to fetch, next first.
    pub(super) rooms: VecDeque<OwnedRoomId>,
    /// Rooms that are wanted before others, the most wanted first; known before there is a backup.
    pub(super) wanted: Vec<OwnedRoomId>,
    /// Rooms that were fetched from this backup.
    pub(super) fetched: BTreeMap<OwnedRoomId, Extent>,
    /// How many rooms the fetching began with.
    pub(super) rooms_total: u64,
    pub(super) restored: u64,
    /// Sessions that are looked for one by one.
    pub(super) searches: BTreeMap<(OwnedRoomId, String), Search>,
    pub(super) problem: Option<BackupProblem>,
    /// Whether what is told may have changed.
    pub(super) changed: bool,
    told: Option<BackupState>,
}

impl Backup {
    /// Reads what an earlier run left.
    pub(in crate::e2ee) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let record: Record = step.get(Table::Backup, "", "")?.unwrap_or_default();
        let mut backup = Self { record, changed: true, ..Self::default() };
        for record in request::records(step)? {
            let Purpose::Backup(purpose) = record.purpose else { continue };
            match purpose {
                BackupPurpose::Version => backup.question = Question::Asked,
                BackupPurpose::Preference | BackupPurpose::Create => backup.creating = true,
                BackupPurpose::Enable | BackupPurpose::Sign => {}
                BackupPurpose::Upload { .. } => backup.upload = Upload::UnderWay,
                BackupPurpose::Session { .. } | BackupPurpose::Room { .. } => {
                    backup.fetch = Fetch::Asked;
                }
            }
        }
        Ok(backup)
    }

    /// The public key of the backup on the server, empty if there is none; `None` while it is not
    /// known.
    pub(in crate::e2ee) fn public_key(&self) -> Option<String> {
        let pinned = self.record.pinned.as_ref().map(|pinned| pinned.name.public_key.clone());
        pinned.or_else(|| self.checked.then(String::new))
    }

    /// Whether the server is being asked which backup there is.
    pub(in crate::e2ee) fn is_asked(&self) -> bool {
        self.question != Question::None
    }

    /// When time must be told.
    pub(in crate::e2ee) fn deadline(&self) -> Option<Timestamp> {
        let now = Timestamp::default();
        let search = match &self.fetch {
            Fetch::Entries(_) => Some(now),
            Fetch::Asked => None,
            Fetch::None => self.next_search(),
        };
        let upload = match self.upload {
            Upload::Due(at) => self.uploads_to().map(|_| at),
            Upload::None | Upload::UnderWay => None,
        };
        let marking = self.record.marking.as_ref().map(|_| now);
        [search, upload, marking].into_iter().flatten().min()
    }

    /// The backup that this device reads from.
    pub(super) fn readable(&self) -> Option<&Name> {
        self.record.usable_seed()?;
        self.record.pinned.as_ref().map(|pinned| &pinned.name)
    }

    /// The backup that sessions can be uploaded to now.
    pub(super) fn uploads_to(&self) -> Option<&Name> {
        self.record.trusted().filter(|_| self.checked && self.record.marking.is_none())
    }

    /// What keeps the backup on the server from being ours.
    pub(super) fn misgiving(&self) -> Option<BackupProblem> {
        let Pinned { name, trust } = self.record.pinned.as_ref()?;
        match trust {
            Trust::None | Trust::Signed if self.misfit.as_ref() == Some(name) => {
                Some(BackupProblem::WrongKey)
            }
            Trust::None => Some(BackupProblem::Untrusted),
            Trust::Key | Trust::Signed => None,
        }
    }

    pub(super) fn save(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.changed = true;
        step.put(Table::Backup, "", "", &self.record)
    }
}

impl Machine {
    /// Does what is due for the backup, a bounded piece of it.
    pub(in crate::e2ee) fn proceed_backup(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.mark_sessions(step)?;
        self.upload_sessions(step)?;
        self.work_off_entries(step)?;
        self.fetch_next(step)?;
        self.tell_backup(step)
    }

    /// How the backup stands.
    ///
    /// # Errors
    /// When the store fails.
    pub fn backup_state(&self, step: &Step<'_>) -> Result<BackupState, MachineError> {
        let backup = &self.backup;
        let pinned = backup.record.pinned.as_ref();
        let left = backup.rooms.len() as u64 + u64::from(!matches!(backup.fetch, Fetch::None));
        let total = backup.rooms_total;
        Ok(BackupState {
            version: pinned.map(|pinned| pinned.name.version.clone()),
            checked: backup.checked,
            connected: backup.readable().is_some(),
            connecting: backup.creating || backup.candidate.is_some(),
            trusted: pinned.is_some_and(|pinned| pinned.trust != Trust::None),
            to_upload: step.count(Table::ToBackUp)?,
            restoring: (total > 0).then(|| (total.saturating_sub(left), total)),
            restored: backup.restored,
            problem: backup.problem.clone(),
        })
    }

    fn tell_backup(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if !std::mem::take(&mut self.backup.changed) {
            return Ok(());
        }
        let state = self.backup_state(step)?;
        if self.backup.told.as_ref() != Some(&state) {
            self.backup.told = Some(state.clone());
            step.tell(Notice::Backup(state));
        }
        Ok(())
    }
}
