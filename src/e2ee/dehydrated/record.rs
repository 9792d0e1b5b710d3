//! What is kept of the dehydrated device, what is remembered while we run, and when something is to
//! be done about it.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::take::{Candidate, Reading};
use crate::{
    e2ee::{
        Machine, MachineError, Notice, OwnIdentity,
        cross_signing::Imported,
        device::DeviceSort,
        devices::devices_of,
        held_secrets::{read_secret, write_secret},
        lookup::Table,
        request::{self, Purpose, RequestId},
        step::Step,
    },
    matrix::{MatrixError, OwnedDeviceId},
    secret::{Secret, guarded},
    time::Timestamp,
};

const RECORD: &str = "dehydrated_device";
/// How long one stays before another takes its place: its keys are used up by and by.
pub(super) const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// The key that it is sealed with; in secret storage as well.
    #[serde(default)]
    pub(super) key: Option<SealKey>,
    /// What is to be done.
    #[serde(default)]
    pub(super) wish: Option<Wish>,
    /// The one that this device made last.
    #[serde(default)]
    pub(super) made: Option<OwnedDeviceId>,
    /// When another is to take its place.
    #[serde(default)]
    pub(super) renew_at: Option<Timestamp>,
}

/// A key that a device is sealed with.
#[derive(Clone, Debug, ZeroizeOnDrop)]
pub(super) struct SealKey(pub(super) Secret<[u8; 32]>);
guarded!(SealKey);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wish {
    /// To take over what waits, with the key from secret storage, and to make another.
    Rehydrate,
    /// To make one: nobody has a key to what may be there.
    Make,
    /// To make another because the one that is there is old.
    Renew,
}

/// What a request was for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::e2ee) enum DehydratedPurpose {
    /// What waits there.
    Look,
    /// Messages for it.
    Events,
    /// The one that takes its place.
    Put(OwnedDeviceId),
}

/// How far it is.
#[derive(Debug, Default)]
pub(super) enum Phase {
    #[default]
    Idle,
    /// The server does not hand out what is wished for: nothing more until the next start.
    Off,
    Looking(RequestId),
    /// Our own device list must say whose the device is; not beyond this moment.
    Checking(Box<Candidate>, Timestamp),
    Reading(Box<Reading>),
    /// The key must be in secret storage before anything is sealed with it.
    Storing,
    Sending(RequestId),
}

/// The dehydrated device as it is remembered while we run.
#[derive(Debug, Default)]
pub(in crate::e2ee) struct Dehydration {
    pub(super) record: Record,
    pub(super) phase: Phase,
    /// The server put the request under way off: nobody waits for the answer.
    postponed: bool,
}

impl Dehydration {
    /// Takes up what an earlier run left.
    pub(in crate::e2ee) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let record = step.get(Table::Misc, RECORD, "")?.unwrap_or_default();
        Ok(Self { record, ..Self::default() })
    }

    /// When to look whether something is to be done.
    pub(in crate::e2ee) fn deadline(&self) -> Option<Timestamp> {
        match (&self.phase, self.record.wish) {
            (Phase::Checking(_, until), _) => Some(*until),
            (Phase::Idle, None) => self.record.renew_at,
            (
                Phase::Idle
                | Phase::Off
                | Phase::Looking(_)
                | Phase::Reading(_)
                | Phase::Storing
                | Phase::Sending(_),
                _,
            ) => None,
        }
    }

    pub(super) fn write(&self, step: &mut Step<'_>) -> Result<(), MachineError> {
        step.put(Table::Misc, RECORD, "", &self.record)
    }
}

impl Machine {
    /// Whether a dehydrated device is being looked for, read or made, and that goes on.
    pub fn is_dehydrating(&self) -> bool {
        let is_storing = self.storage.is_writing();
        !self.dehydration.postponed
            && match &self.dehydration.phase {
                Phase::Idle | Phase::Off => false,
                Phase::Looking(_) | Phase::Checking(..) | Phase::Reading(_) | Phase::Sending(_) => {
                    true
                }
                Phase::Storing => is_storing,
            }
    }

    /// Whether what came for a dehydrated device is being read.
    pub fn is_taking_over(&self) -> bool {
        self.dehydration.record.wish == Some(Wish::Rehydrate) && self.is_dehydrating()
    }

    /// The server put a request off.
    pub(in crate::e2ee) fn dehydration_postponed(&mut self, step: &mut Step<'_>) {
        self.dehydration.postponed = true;
        step.tell(Notice::StorageChanged);
    }

    /// The key that the dehydrated device is sealed with, if it is here.
    pub(in crate::e2ee) fn dehydration_key(&self) -> Option<Secret<[u8; 32]>> {
        self.dehydration.record.key.as_ref().map(|key| key.0.clone())
    }

    /// Takes the key from secret storage: what it opens is to be taken over.
    pub(in crate::e2ee) fn import_dehydration_key(
        &mut self,
        key: &Secret<[u8; 32]>,
        step: &mut Step<'_>,
    ) -> Result<Imported, MachineError> {
        self.dehydration.record.key = Some(SealKey(key.clone()));
        self.wish(Wish::Rehydrate, step)?;
        Ok(Imported::Kept)
    }

    /// Secret storage is open and has no key: one is to be made, where the server offers it.
    pub(in crate::e2ee) fn wish_dehydrated(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.wish(Wish::Make, step)
    }

    fn wish(&mut self, wish: Wish, step: &mut Step<'_>) -> Result<(), MachineError> {
        if matches!(self.dehydration.phase, Phase::Off) {
            self.dehydration.phase = Phase::Idle;
        }
        self.dehydration.record.wish = Some(wish);
        self.dehydration.write(step)
    }

    /// Our identity is another: what was made is signed by the one before, and its key may be known
    /// to whom the user wants to be rid of.
    pub(in crate::e2ee) fn forget_dehydration(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.drop_dehydration_requests(step)?;
        self.dehydration = Dehydration::default();
        self.dehydration.write(step)
    }

    /// An upload that an earlier run stored is sent again as it is; what was being read is read
    /// anew.
    pub(in crate::e2ee) fn resume_dehydration(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let records = request::records(step)?;
        let put = records
            .into_iter()
            .find(|it| matches!(it.purpose, Purpose::Dehydrated(DehydratedPurpose::Put(_))));
        if let Some(put) = put {
            self.dehydration.phase = Phase::Sending(put.request.id);
            return Ok(());
        }
        self.drop_dehydration_requests(step)?;
        self.proceed_dehydration(step)
    }

    fn drop_dehydration_requests(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        for record in request::records(step)? {
            if matches!(record.purpose, Purpose::Dehydrated(_)) {
                self.core.requests.settle(&record.request.id, step);
            }
        }
        Ok(())
    }

    /// Does what can be done now.
    pub(in crate::e2ee) fn proceed_dehydration(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match &self.dehydration.phase {
            Phase::Idle => {
                self.renew_if_due(step)?;
                if self.dehydration.record.wish.is_some() && self.can_dehydrate(step)? {
                    return self.look(step);
                }
                Ok(())
            }
            Phase::Checking(..) => self.check_candidate(step),
            Phase::Storing => self.put_if_stored(step),
            Phase::Off | Phase::Looking(_) | Phase::Reading(_) | Phase::Sending(_) => Ok(()),
        }
    }

    /// Whether this device may make one: our identity is verified here and can sign it.
    fn can_dehydrate(&self, step: &Step<'_>) -> Result<bool, MachineError> {
        let own = self.own_identity(step)?;
        Ok(matches!(own, OwnIdentity::Verified { has_self_signing: true, .. })
            && self.core.account.is_published())
    }

    /// Wishes for another once the one that is there is old. One that another device of ours made
    /// meanwhile is as good.
    fn renew_if_due(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let record = &self.dehydration.record;
        let due = record.wish.is_none() && record.renew_at.is_some_and(|at| at <= step.now());
        if !due {
            return Ok(());
        }
        let others = devices_of(&self.core.user, step)?.into_iter().filter(|device| {
            device.sort == DeviceSort::Dehydrated && Some(&device.device_id) != record.made.as_ref()
        });
        let fresh_until = others.map(|device| device.first_seen.plus(LIFE)).max();
        let able = self.can_dehydrate(step)?;
        let record = &mut self.dehydration.record;
        match fresh_until.filter(|until| step.now() < *until) {
            Some(until) => record.renew_at = Some(until),
            None if able => {
                record.wish = Some(Wish::Renew);
                record.renew_at = None;
            }
            None => record.renew_at = Some(step.now().plus(LIFE)),
        }
        self.dehydration.write(step)
    }

    /// Nothing is wished for any more; the next look is in a week, if there is a key.
    pub(super) fn dehydration_ends(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.dehydration.phase = Phase::Idle;
        step.tell(Notice::StorageChanged);
        let record = &mut self.dehydration.record;
        record.wish = None;
        record.renew_at = record.key.as_ref().map(|_| step.now().plus(LIFE));
        self.dehydration.write(step)
    }

    /// Takes the answer to one of the requests; one that nothing waits for means nothing.
    pub(in crate::e2ee) fn receive_dehydrated(
        &mut self,
        (id, purpose): (&RequestId, &DehydratedPurpose),
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let awaited = match &self.dehydration.phase {
            Phase::Looking(awaited) | Phase::Sending(awaited) => Some(awaited),
            Phase::Reading(reading) => Some(&reading.request),
            Phase::Idle | Phase::Off | Phase::Checking(..) | Phase::Storing => None,
        };
        if awaited != Some(id) {
            return Ok(());
        }
        self.dehydration.postponed = false;
        match (purpose, std::mem::take(&mut self.dehydration.phase)) {
            (DehydratedPurpose::Look, _) => self.receive_look(answer, step),
            (DehydratedPurpose::Events, Phase::Reading(reading)) => {
                self.receive_events(*reading, answer, step)
            }
            (DehydratedPurpose::Events, _) => Ok(()),
            (DehydratedPurpose::Put(device), _) => self.receive_put(device, answer, step),
        }
    }
}

impl SealKey {
    /// Draws one.
    pub(super) fn random() -> Result<Self, MachineError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut()).map_err(MachineError::NoRandomness)?;
        Ok(Self(Secret::new(*bytes)))
    }
}

impl Serialize for SealKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write_secret(&self.0))
    }
}

impl<'de> Deserialize<'de> for SealKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let key = read_secret(text.as_bytes());
        key.map(Self).ok_or_else(|| D::Error::custom("not the key of a dehydrated device"))
    }
}
