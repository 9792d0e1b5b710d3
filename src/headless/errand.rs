//! One command's conversation with the engine: wait for the link, ask, wait for the answer.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::error::HeadlessError;
use crate::{
    engine::{Command, CommandId, Handle, LinkState, Outcome, RecoveryState, Request, Update},
    matrix::OwnedRoomId,
    rooms::RoomSummary,
};

/// How much longer than anything else catching up may take: the homeserver computes the first sync
/// of a login from all there is, and one after weeks may be hundreds of rooms.
const CATCHING_UP: u32 = 10;

/// A command's seat at the engine, here or in another process.
#[derive(Debug)]
pub struct Errand {
    handle: Handle,
    patience: Duration,
    give_up: Instant,
    rooms: BTreeMap<OwnedRoomId, RoomSummary>,
    trouble: Option<String>,
    is_online: bool,
    /// Whether the first sync is done.
    is_synced: bool,
    is_caught_up: bool,
    recovery: Option<RecoveryState>,
    last_id: u64,
}

impl Errand {
    /// Begins now; everything it waits for must come within `patience`, see also
    /// [`Errand::be_patient`].
    pub fn new(handle: Handle, patience: Duration) -> Self {
        Self {
            handle,
            patience,
            give_up: Instant::now() + patience,
            rooms: BTreeMap::new(),
            trouble: None,
            is_online: false,
            is_synced: false,
            is_caught_up: false,
            recovery: None,
            last_id: 0,
        }
    }

    /// Starts the patience anew, for the next thing to wait for.
    pub fn be_patient(&mut self) {
        self.give_up = Instant::now() + self.patience;
    }

    /// Gives the seat up, for whoever ends the engine.
    pub fn into_handle(self) -> Handle {
        self.handle
    }

    /// Every room the engine told of.
    pub fn rooms(&self) -> &BTreeMap<OwnedRoomId, RoomSummary> {
        &self.rooms
    }

    /// Asks for something without an answer of its own.
    ///
    /// # Errors
    /// When the engine is gone.
    pub async fn tell(&mut self, command: Command) -> Result<(), HeadlessError> {
        self.handle.commands.send(command).await.map_err(|_closed| HeadlessError::Gone)
    }

    /// Waits until what the engine knows is what the server knows; ten times as long as for
    /// anything else, while the homeserver can be reached. Whatever comes after it has all its time.
    ///
    /// # Errors
    /// When that does not come in time, or the engine ends.
    pub async fn ready(&mut self) -> Result<(), HeadlessError> {
        while !self.is_ready() {
            self.next_in_time().await?;
            if self.is_ready() {
                self.be_patient();
            }
        }
        Ok(())
    }

    /// Whether the engine said that it knows what the server knows.
    pub fn is_ready(&self) -> bool {
        self.is_synced && self.is_caught_up
    }

    /// Until when the next update must come, and what is told when it does not: how long it was
    /// waited for.
    fn deadline(&self) -> (Instant, Duration) {
        let usual = (self.give_up, self.patience);
        if self.is_ready() || !self.is_online {
            return usual;
        }
        let longer = || {
            let more = self.patience.checked_mul(CATCHING_UP - 1)?;
            Some((self.give_up.checked_add(more)?, self.patience.checked_add(more)?))
        };
        longer().unwrap_or(usual)
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When it is refused or does not come in time.
    pub async fn ask(&mut self, request: Request) -> Result<Outcome, HeadlessError> {
        self.ask_watching(request, |_| {}).await
    }

    /// Asks and waits for the answer, showing what is told meanwhile.
    ///
    /// # Errors
    /// When it is refused or does not come in time.
    pub async fn ask_watching(
        &mut self,
        request: Request,
        mut watch: impl FnMut(&Update),
    ) -> Result<Outcome, HeadlessError> {
        self.last_id += 1;
        let id = CommandId(self.last_id);
        self.tell(Command::Request { id, request }).await?;
        loop {
            let update = self.next_in_time().await?;
            watch(&update);
            // What goes on is waited for.
            if matches!(&update, Update::Progress { id: about, .. } if *about == id)
                || matches!(update, Update::Recovery(_) | Update::Backup(_))
            {
                self.be_patient();
            }
            if let Update::Outcome { id: answered, result } = update
                && answered == id
            {
                return Ok(result?);
            }
        }
    }

    /// Where this device is on its way to the account's keys, last the engine said.
    pub fn recovery(&self) -> Option<&RecoveryState> {
        self.recovery.as_ref()
    }

    /// The next update, however long it takes. Cancel-safe.
    ///
    /// # Errors
    /// When the engine ended.
    pub async fn next(&mut self) -> Result<Update, HeadlessError> {
        let update = self.handle.updates.recv().await.ok_or(HeadlessError::Gone)?;
        self.note(&update)?;
        Ok(update)
    }

    /// The next update, within the patience. Cancel-safe.
    ///
    /// # Errors
    /// When none comes in time, or the engine ended.
    pub async fn next_in_time(&mut self) -> Result<Update, HeadlessError> {
        let (give_up, after) = self.deadline();
        match timeout_at(give_up, self.handle.updates.recv()).await {
            Ok(update) => {
                let update = update.ok_or(HeadlessError::Gone)?;
                self.note(&update)?;
                Ok(update)
            }
            Err(_elapsed) => Err(HeadlessError::Timeout { after, reason: self.trouble.take() }),
        }
    }

    /// Keeps what a command may need later.
    fn note(&mut self, update: &Update) -> Result<(), HeadlessError> {
        match update {
            Update::Rooms(rooms) => {
                let rooms = rooms.iter().map(|room| (room.room_id.clone(), room.clone()));
                self.rooms.extend(rooms);
            }
            Update::RoomsGone(rooms) => self.rooms.retain(|room, _| !rooms.contains(room)),
            Update::Link(state) => self.note_link(state)?,
            Update::Recovery(state) => self.recovery = Some(state.clone()),
            Update::Ended { reason } => return Err(HeadlessError::Ended(reason.clone())),
            Update::Synced => self.is_synced = true,
            Update::CaughtUp => self.is_caught_up = true,
            Update::LastVisited(_)
            | Update::Timeline { .. }
            | Update::Members { .. }
            | Update::Typing { .. }
            | Update::Receipts { .. }
            | Update::Outbox { .. }
            | Update::Verification(_)
            | Update::Progress { .. }
            | Update::Alarm(_)
            | Update::AuthNeeded(_)
            | Update::AuthOver
            | Update::RoomTrust(_)
            | Update::Backup(_)
            | Update::Outcome { .. } => {}
        }
        Ok(())
    }

    fn note_link(&mut self, state: &LinkState) -> Result<(), HeadlessError> {
        self.is_online = *state == LinkState::Online;
        match state {
            LinkState::Connecting => {}
            LinkState::Online => self.trouble = None,
            LinkState::Offline { reason, .. } => self.trouble = Some(reason.clone()),
            LinkState::Ended { reason } => return Err(HeadlessError::LoggedOut(reason.clone())),
        }
        Ok(())
    }
}
