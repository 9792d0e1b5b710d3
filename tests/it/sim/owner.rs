//! The person at a client as the owner of an account: sets recovery up on the first device, writes the
//! recovery key down, types it on every other one. Asks again when it did not work.

use grotto::engine::{
    Audience, Command, CommandId, Outcome, RecoveryState, Request, SecretText, Update,
};

use super::{client::Client, queue::Event, world::World};

/// The id of what an owner asks.
const ASKED: CommandId = CommandId(1 << 40);

/// What the owner of a device sees and does about its keys.
#[derive(Debug, Default)]
pub(super) struct Owner {
    /// Where the program says that the device is.
    pub(super) told: Option<RecoveryState>,
    /// Something was asked and not answered.
    asked: bool,
    /// Why the last wish failed.
    refused: Option<String>,
    /// The recovery key that is on screen.
    shown: Option<SecretText>,
    /// A look at the screen is due.
    looks: bool,
    /// Never sets anything up: the device stays outside the account's identity.
    pub(super) careless: bool,
}

impl Owner {
    pub(super) fn hear(&mut self, updates: &[(Audience, Update)]) {
        for (_, update) in updates {
            match update {
                Update::Recovery(state) => self.told = Some(state.clone()),
                Update::Outcome { id, result } if *id == ASKED => {
                    self.asked = false;
                    self.refused = result.as_ref().err().map(ToString::to_string);
                    if let Ok(Outcome::RecoveryKey { recovery_key }) = result {
                        self.shown = Some(recovery_key.clone());
                    }
                }
                _ => {}
            }
        }
    }

    /// The program is gone, and what it showed.
    pub(super) fn forget(&mut self) {
        let Self { told, asked, .. } = self;
        (*told, *asked) = (None, false);
    }

    /// Whether the device is part of the account, or never will be.
    pub(super) fn is_settled(&self) -> bool {
        self.careless || self.told == Some(RecoveryState::Ready)
    }

    /// Whether the device has the account's keys, and its backup.
    pub(super) fn has_keys(&self) -> bool {
        self.told == Some(RecoveryState::Ready)
    }

    /// Whether the person should do something.
    fn is_called(&self) -> bool {
        let state = matches!(
            self.told,
            Some(
                RecoveryState::NeedsSetup
                    | RecoveryState::KeyToKeep
                    | RecoveryState::OutOfDate
                    | RecoveryState::NeedsRecovery { .. }
            )
        );
        !self.careless && (self.shown.is_some() || state && !self.asked)
    }
}

impl Client {
    /// Whether the person types what they have to say now, or first sees to the device's keys.
    pub(super) fn may_type(&self) -> bool {
        self.ended || self.owner.is_settled()
    }
}

impl World {
    /// After a step: the person looks at the screen in a moment, if there is something to do.
    pub(super) fn call_owner(&mut self, client: usize) {
        let owner = &mut self.clients[client].owner;
        if owner.is_called() && !owner.looks {
            owner.looks = true;
            let pause = 500 + self.rng.below(2_000);
            self.after(pause, Event::Look(client));
        }
    }

    pub(super) fn owner_looks(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.owner.looks = false;
        if it.ended || !it.owner.is_called() {
            return;
        }
        let user = it.caller.user.clone();
        let request = match (it.owner.shown.take(), &it.owner.told) {
            (Some(key), _) => {
                self.recovery_keys.insert(user, key);
                Some(Request::ConfirmRecoveryKey)
            }
            (None, Some(RecoveryState::NeedsRecovery { .. } | RecoveryState::OutOfDate)) => {
                let key = self.recovery_keys.get(&user).cloned();
                key.map(|secret| Request::Recover { secret })
            }
            (None, Some(RecoveryState::NeedsSetup)) if !self.recovery_keys.contains_key(&user) => {
                Some(Request::SetUpRecovery { passphrase: None })
            }
            (None, Some(RecoveryState::KeyToKeep)) => {
                Some(Request::SetUpRecovery { passphrase: None })
            }
            (None, _) => None,
        };
        if let Some(request) = request {
            self.clients[client].owner.asked = true;
            self.command(client, Command::Request { id: ASKED, request });
        }
        self.call_owner(client);
    }
}
