//! Inputs that concern several parts: a sync answer, the answer to a request, the passing of time.
//!
//! # Spec
//! Client-Server API, "Extensions to /sync": key counts, device lists, to-device events, in this
//! order.

use serde::de::IgnoredAny;

use crate::{
    matrix::{DeviceId, MatrixError, UserId},
    time::Timestamp,
};

use super::{
    backup::{self, Backup},
    core::Core,
    cross_signing::{OwnIdentity, SecretName},
    dehydrated::Dehydration,
    error::MachineError,
    history_sharing::History,
    key_requests::KeyRequests,
    lookup::Table,
    machine::Machine,
    megolm::{Answer, Megolm},
    request::{self, OutgoingRequest, Purpose, RequestFailure, RequestId, RequestRecord, Requests},
    secret_sharing::Sharing,
    secret_storage::Storage,
    step::Step,
    tracking::IsInitial,
    types::{CryptoSync, KeyStatus},
    upload::UploadPurpose,
    verification::Verifications,
};

impl Machine {
    /// Opens all parts and queues what is due at once.
    pub(super) fn open_parts(
        user: &UserId,
        device: &DeviceId,
        step: &mut Step<'_>,
    ) -> Result<Self, MachineError> {
        let core = Core::open(user, device, step)?;
        let (mut megolm, backup) = (Megolm::default(), Backup::open(step)?);
        megolm.to_back_up = backup::has_pending(step)?;
        let mut machine = Self {
            core,
            megolm,
            storage: Storage::open(step)?,
            sharing: Sharing::open(step)?,
            key_requests: KeyRequests::open(step)?,
            verifications: Verifications::new(step.now()),
            backup,
            history: History::open(step)?,
            dehydration: Dehydration::open(step)?,
        };
        Self::clamp_sessions(step)?;
        machine.resume_backup(step)?;
        machine.resume_storage(step)?;
        machine.resume_dehydration(step)?;
        machine.history_progressed(step)?;
        Ok(machine)
    }

    /// Requests of earlier steps that were not answered, oldest first.
    pub(super) fn unanswered_requests(
        step: &Step<'_>,
    ) -> Result<Vec<OutgoingRequest>, MachineError> {
        Ok(request::records(step)?.into_iter().map(|record| record.request).collect())
    }

    /// Takes a sync answer.
    pub(super) fn take_sync(
        &mut self,
        sync: &CryptoSync<'_>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.core.account.receive_counts(sync, step)?;
        let is_initial = if sync.is_initial { IsInitial::Yes } else { IsInitial::No };
        if sync.is_initial {
            self.end_all_sessions(step)?;
        }
        self.core.receive_device_lists(sync.device_lists, is_initial, step)?;
        for event in sync.to_device {
            self.receive_to_device(event, step)?;
        }
        self.serve_secrets(step)?;
        self.serve_key_requests(step)?;
        self.core.proceed(step)?;
        self.proceed_dehydration(step)?;
        self.proceed_backup(step)
    }

    /// Takes the answer to a request. An answer to no request of ours changes nothing.
    pub(super) fn take_answer(
        &mut self,
        id: &RequestId,
        answer: Result<&str, &RequestFailure>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(record) = Requests::find(id, step)? else { return Ok(()) };
        let answer = match answer {
            // The login ended, not the request: it is sent again after the next.
            Err(RequestFailure::Refused(error)) if error.is_unknown_token() => return Ok(()),
            Err(RequestFailure::Later(error)) => {
                return self.take_postponement(id, record, error, step);
            }
            // It stays, to be sent again with the proof.
            Err(RequestFailure::Refused(error))
                if error.auth.is_some() && matches!(record.purpose, Purpose::SigningKeys(_)) =>
            {
                self.core.identity_wants_auth(id, error, step)?;
                return self.share_progressed(step);
            }
            Err(RequestFailure::Refused(error)) => Err(error),
            Ok(body) => Ok(body),
        };
        self.core.requests.settle(id, step);
        self.hand_on(id, &record, answer, step)?;
        self.progress_after(&record.purpose, step)
    }

    /// Hands an answer to the part that asked.
    fn hand_on(
        &mut self,
        id: &RequestId,
        record: &RequestRecord,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match &record.purpose {
            Purpose::KeysUpload(purpose) => self.receive_keys_upload(*purpose, answer, step),
            Purpose::KeysQuery(purpose) => {
                self.core.receive_query(id, purpose, answer, step)?;
                self.note_gone_devices(step)?;
                self.verifications_progressed(step)
            }
            Purpose::KeysClaim(purpose) => self.core.receive_claim(purpose, answer, step),
            Purpose::ShareRoomKey(purpose) => {
                let answer = if answer.is_ok() { Answer::Delivered } else { Answer::Refused };
                self.share_answered(id, purpose, answer, step)
            }
            Purpose::SigningKeys(_) => {
                self.core.receive_identity_upload(answer, step)?;
                self.verifications_progressed(step)
            }
            Purpose::Signatures(purpose) => {
                let sent = (*purpose, record.request.body.as_str());
                self.core.receive_signatures(sent, answer, step)
            }
            Purpose::Backup(purpose) => self.receive_backup(purpose, answer, step),
            Purpose::Dehydrated(purpose) => self.receive_dehydrated((id, purpose), answer, step),
            Purpose::Notice => Ok(()),
            Purpose::HistoryBundle => {
                self.history.delivered(id);
                Ok(())
            }
            Purpose::StorageRead => self.receive_storage_read(id, answer, step),
            Purpose::StorageWrite(purpose) => self.receive_storage_write(id, purpose, answer, step),
        }
    }

    fn receive_keys_upload(
        &mut self,
        purpose: UploadPurpose,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.core.receive_upload(purpose, answer, step)?;
        self.core.resume_bootstrap(step)?;
        // What came before it could not be used to sign.
        self.core.sign_ourselves(step)
    }

    /// Goes on with whatever may have waited for an answer.
    fn progress_after(
        &mut self,
        purpose: &Purpose,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if self.core.cross_signing.take_is_new() {
            self.on_new_identity(step)?;
        }
        self.core.proceed(step)?;
        self.storage_progressed(step)?;
        self.serve_secrets(step)?;
        self.proceed_dehydration(step)?;
        self.serve_key_requests(step)?;
        self.proceed_backup(step)?;
        self.history_progressed(step)?;
        match purpose {
            Purpose::KeysUpload(_)
            | Purpose::KeysQuery(_)
            | Purpose::KeysClaim(_)
            | Purpose::SigningKeys(_)
            | Purpose::Signatures(_) => self.share_progressed(step),
            Purpose::ShareRoomKey(_)
            | Purpose::Backup(_)
            | Purpose::Dehydrated(_)
            | Purpose::Notice
            | Purpose::HistoryBundle
            | Purpose::StorageRead
            | Purpose::StorageWrite(_) => Ok(()),
        }
    }

    /// Our identity is another: what belonged to the one before ends or follows.
    fn on_new_identity(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.end_all_sessions(step)?;
        for name in [SecretName::Master, SecretName::SelfSigning, SecretName::UserSigning] {
            self.secret_changed(name, step)?;
        }
        self.forget_dehydration(step)?;
        let status = self.storage_status(step)?;
        if matches!(self.own_identity(step)?, OwnIdentity::Verified { has_master: true, .. })
            && !status.is_fresh_start
        {
            self.sign_backup_anew(step)?;
        }
        Ok(())
    }

    /// The request is sent again later.
    fn take_postponement(
        &mut self,
        id: &RequestId,
        record: RequestRecord,
        error: &MatrixError,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let purpose = record.purpose.clone();
        let tries = self.core.requests.postpone(record, error, step)?;
        match &purpose {
            Purpose::ShareRoomKey(purpose) => self.share_postponed(id, purpose, tries, step),
            Purpose::Dehydrated(_) => {
                self.dehydration_postponed(step);
                Ok(())
            }
            Purpose::KeysUpload(_)
            | Purpose::KeysQuery(_)
            | Purpose::KeysClaim(_)
            | Purpose::Backup(_)
            | Purpose::Notice
            | Purpose::HistoryBundle
            | Purpose::StorageRead
            | Purpose::StorageWrite(_)
            | Purpose::SigningKeys(_)
            | Purpose::Signatures(_) => Ok(()),
        }
    }

    /// Time passed.
    pub(super) fn take_tick(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.core.proceed(step)?;
        Core::forget_old_messages(step)?;
        self.storage_progressed(step)?;
        self.serve_secrets(step)?;
        self.serve_key_requests(step)?;
        self.tick_verifications(step)?;
        self.tick_shares(step)?;
        self.history_progressed(step)?;
        self.proceed_dehydration(step)?;
        self.proceed_backup(step)
    }

    /// When the passing of time is to be told.
    pub(super) fn next_tick(&self) -> Option<Timestamp> {
        [
            self.core.deadline(),
            self.share_deadline(),
            self.storage_deadline(),
            self.sharing_deadline(),
            self.verifications.deadline(),
            self.backup.deadline(),
            self.history_deadline(),
            self.dehydration.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Counts what there is.
    pub(super) fn count(&self, step: &Step<'_>) -> Result<KeyStatus, MachineError> {
        let rows = |table| -> Result<u64, MachineError> {
            let rows = step.scan::<IgnoredAny>(table, None)?;
            Ok(rows.len() as u64)
        };
        let account = &self.core.account;
        Ok(KeyStatus {
            ed25519: account.ed25519().to_base64(),
            curve25519: account.curve25519().to_base64(),
            uploaded: account.is_published(),
            one_time_keys: account.one_time_keys(),
            room_keys: rows(Table::InboundGroupSession)?,
            tracked_users: self.core.tracker.len() as u64,
            devices: rows(Table::Device)?,
            key_requests: self.key_request_status(step)?,
        })
    }
}
