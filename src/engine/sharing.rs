//! Inviting somebody with the room's history, and taking history with an invite.
//!
//! The invite goes out last: whoever gets it finds the history waiting. If that cannot be handed
//! over, the invite goes out without it, and who asked for it is told so. An invite that was begun
//! is on disk: if the program dies over it, the next one hands the history over anew and invites.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    e2ee::{Bundled, EncryptedFile, Gathered, HistoryBundle, MAX_BUNDLE_BYTES},
    matrix::{OwnedRoomId, OwnedUserId, RoomId, UserId},
    rooms::MemberState,
    secret::Secret,
    store::{FilePlace, UploadedFile},
    time::Timestamp,
};

use serde_json::json;

use super::{
    CommandId, Engine, FaceId, SharedHistory,
    error::EngineError,
    faces::Asker,
    files::UploadLimit,
    request::{Asked, Call, Origin},
    transfer::{Download, Job, Place, Secrecy, Sink, TransferKind, Upload, UploadSource},
    turn::Turn,
};

/// How long an invite waits for keys that only the backup has.
const GATHERING: Duration = Duration::from_secs(20);

/// Who is invited, and where.
type Guest = (OwnedRoomId, OwnedUserId);

/// Waits for the answer to an invite of an earlier run: nobody does any more.
const NOBODY: Asker = (FaceId(u64::MAX), CommandId(u64::MAX));

/// Invites on their way.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Who is to be invited where, and who asked for it.
    invites: BTreeMap<Guest, Invite>,
    /// Invites that wait until the room's keys came from the backup, and until when at most.
    gathering: BTreeMap<Guest, (Vec<Asker>, Timestamp)>,
    /// Bundles that wait for the word how large a file may be.
    waiting: Vec<(Guest, Secret<Vec<u8>>)>,
}

#[derive(Debug)]
struct Invite {
    askers: Vec<Asker>,
    keys: usize,
}

impl Engine {
    /// Invites somebody, with the history if there is one that may be shared.
    pub(super) fn invite(
        &mut self,
        from: Asker,
        to: Guest,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let Sharing { invites, gathering, .. } = &mut self.sharing;
        let invited = invites.get_mut(&to).map(|invite| &mut invite.askers);
        if let Some(askers) = invited.or(gathering.get_mut(&to).map(|(askers, _)| askers)) {
            askers.push(from);
            return Ok(());
        }
        let visibility = self.rooms.state(&to.0, turn.store)?.history_visibility();
        match self.machine.gather_history(&to.0, visibility, &mut turn.step)? {
            Gathered::Here => self.bundle(vec![from], to, turn),
            Gathered::Coming => {
                self.machine.begin_invite(&to, &mut turn.step)?;
                let until = turn.now.plus(GATHERING);
                self.sharing.gathering.insert(to, (vec![from], until));
                Ok(())
            }
        }
    }

    /// The backup's keys of a room are here: whoever waited for them is invited.
    pub(super) fn on_keys_gathered(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.end_gathering(|guest, _| guest.0 == room, turn)
    }

    /// When the backup is waited for no longer.
    pub(super) fn sharing_deadline(&self) -> Option<Timestamp> {
        self.sharing.gathering.values().map(|(_, until)| *until).min()
    }

    pub(super) fn tick_sharing(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let now = turn.now;
        self.end_gathering(|_, until| until <= now, turn)
    }

    fn end_gathering(
        &mut self,
        is_over: impl Fn(&Guest, Timestamp) -> bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let gathering = std::mem::take(&mut self.sharing.gathering);
        for (guest, (askers, until)) in gathering {
            if is_over(&guest, until) {
                self.bundle(askers, guest, turn)?;
            } else {
                self.sharing.gathering.insert(guest, (askers, until));
            }
        }
        Ok(())
    }

    /// Puts together what may be shared, and has it uploaded; without any, invites at once.
    fn bundle(
        &mut self,
        askers: Vec<Asker>,
        (room, user): Guest,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let visibility = self.rooms.state(&room, turn.store)?.history_visibility();
        let bundled = self.machine.history_bundle((&room, &user), visibility, &mut turn.step)?;
        let HistoryBundle { json, shared, .. } = match bundled {
            Bundled::Bundle(bundle) => bundle,
            Bundled::Nothing => {
                self.ask_invite(askers, (room, user), None);
                return Ok(());
            }
            Bundled::Distrusted => {
                let words = "their identity changed: look at it, then invite them again";
                let history = SharedHistory::not(words);
                self.ask_invite(askers, (room, user), Some(&history));
                return Ok(());
            }
        };
        let to = (room, user);
        self.machine.begin_invite(&to, &mut turn.step)?;
        self.sharing.invites.insert(to.clone(), Invite { askers, keys: shared });
        self.sharing.waiting.push((to, json));
        self.start_sharing();
        Ok(())
    }

    /// What happened meanwhile is known: invites that an earlier run began, and that are not there,
    /// are begun anew.
    pub(super) fn resume_invites(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for guest in self.machine.open_invites(&turn.step)? {
            if self.is_inviting(&guest) {
                continue;
            }
            let (room, user) = &guest;
            let theirs = self.rooms.state(room, turn.store)?.membership(user);
            match theirs {
                Some(MemberState::Join | MemberState::Invite | MemberState::Ban) => {
                    self.machine.end_invite(&guest, &mut turn.step)?;
                }
                Some(MemberState::Leave | MemberState::Knock) | None => {
                    self.invite(NOBODY, guest, turn)?;
                }
            }
        }
        Ok(())
    }

    /// Whether this invite is under way.
    fn is_inviting(&self, guest: &Guest) -> bool {
        let asks = |origin: &Origin| {
            matches!(origin, Origin::Asked(_, _, Asked::Invite(room, user, _))
                if (room, user) == (&guest.0, &guest.1))
        };
        self.sharing.invites.contains_key(guest)
            || self.sharing.gathering.contains_key(guest)
            || self.requests.has(asks)
    }

    /// Uploads what waits, once it is known how large a file may be.
    pub(super) fn start_sharing(&mut self) {
        if self.sharing.waiting.is_empty() {
            return;
        }
        let UploadLimit::Known(limit) = self.upload_limit() else { return };
        for ((room, user), json) in std::mem::take(&mut self.sharing.waiting) {
            let source = UploadSource::Memory(json);
            let upload = Upload { source, secrecy: Secrecy::Encrypted, limit };
            self.transfers.start(Job::ShareHistory(room, user), TransferKind::Upload(upload));
        }
    }

    /// The server has the bundle: the invited user's devices are told where it lies.
    pub(super) fn on_history_uploaded(
        &mut self,
        (room, user): (&RoomId, &UserId),
        uploaded: UploadedFile,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match uploaded.place {
            FilePlace::Encrypted(file) => {
                Ok(self.machine.send_history((room, user), file, &mut turn.step)?)
            }
            FilePlace::Clear(_) => Ok(()),
        }
    }

    /// They are told, as far as they can be: the invite goes out.
    pub(super) fn on_history_sent(&mut self, room: &RoomId, user: &UserId, devices: usize) {
        let to = (room.to_owned(), user.to_owned());
        let Some(Invite { askers, keys }) = self.sharing.invites.remove(&to) else { return };
        let history = match devices {
            0 => SharedHistory::not("none of their devices is signed by them"),
            _ => SharedHistory { keys, devices, why_not: None },
        };
        self.ask_invite(askers, to, Some(&history));
    }

    /// The history cannot be handed over; the invite goes out without it.
    pub(super) fn invite_without(&mut self, room: &RoomId, user: &UserId, why: &str) {
        let to = (room.to_owned(), user.to_owned());
        if let Some(Invite { askers, .. }) = self.sharing.invites.remove(&to) {
            self.ask_invite(askers, to, Some(&SharedHistory::not(why)));
        }
    }

    fn ask_invite(
        &mut self,
        askers: Vec<Asker>,
        (room, user): Guest,
        history: Option<&SharedHistory>,
    ) {
        for from in askers {
            let call = Call::post(&["rooms", room.as_str(), "invite"], &json!({ "user_id": user }));
            self.ask(from, Asked::Invite(room.clone(), user.clone(), history.cloned()), call);
        }
    }

    /// We are about to join a room: whose invite that accepts is known only until then. History of
    /// theirs is taken from now on, though the program die before the server's answer.
    pub(super) fn accept_invite(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let state = turn.store.state(room)?;
        let own = state.into_iter().find(|event| event.is_state("m.room.member", self.me.as_str()));
        let invite = own.filter(|own| own.content_str("membership") == Some("invite"));
        if let Some(inviter) = invite.and_then(|invite| invite.sender) {
            self.machine.invite_accepted(room, &inviter, &mut turn.step)?;
        }
        Ok(())
    }

    /// History is offered: it is downloaded, once.
    pub(super) fn on_history_offered(
        &mut self,
        (room, inviter): (OwnedRoomId, OwnedUserId),
        file: EncryptedFile,
    ) {
        let job = Job::TakeHistory(room, inviter);
        if !self.transfers.has(|other| *other == job) {
            let place = Place::Encrypted(file);
            let download = Download { place, sink: Sink::Memory, limit: MAX_BUNDLE_BYTES };
            self.transfers.start(job, TransferKind::Download(download));
        }
    }

    /// The bundle is here and is what was sent.
    pub(super) fn on_history_fetched(
        &mut self,
        job: &Job,
        bytes: &Secret<Vec<u8>>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let Job::TakeHistory(room, inviter) = job else { return Ok(()) };
        let of = (&**room, &**inviter);
        let import = self.machine.import_history(of, bytes.expose(), &mut turn.step)?;
        tracing::info!(?import, "history came with an invite");
        Ok(())
    }
}
