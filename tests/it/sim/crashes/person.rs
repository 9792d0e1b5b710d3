//! Somebody at a client whose program may die at any moment: knows what was on the screen, what is
//! written on paper, and nothing else.

use grotto::{
    e2ee::{Emoji, Scan, VerificationStage, VerificationView},
    engine::{
        Command, CommandError, CommandId, Outcome, RecoveryState, Request, SecretText, Update,
        VerificationAct,
    },
};

use super::pause;
use crate::sim::{client::Client, server::PASSWORD, world::World};

/// Names what nobody waits for.
const ASIDE: CommandId = CommandId(1 << 50);

/// Who sits at a client.
pub(super) struct Person {
    pub(super) client: usize,
    asked: Option<CommandId>,
    names: u64,
    /// What became of the last wish; `None` while it is open, or if the program died over it.
    pub(super) answer: Option<Result<Outcome, CommandError>>,
    /// Every recovery key that was on the screen.
    pub(super) shown: Vec<String>,
    /// The one that was written down last.
    pub(super) paper: Option<String>,
    /// It stands on the screen: say that it is written down.
    to_confirm: bool,
    /// How often it was typed.
    pub(super) typed: usize,
    wants_password: bool,
    /// Those that are not over.
    verifications: Vec<VerificationView>,
}

impl Person {
    /// Sits down at a client, which does nothing by itself.
    pub(super) fn at(world: &mut World, client: usize) -> Self {
        let it = &mut world.clients[client];
        it.owner.careless = true;
        it.insists = false;
        Self {
            client,
            asked: None,
            names: 0,
            answer: None,
            shown: Vec::new(),
            paper: None,
            to_confirm: false,
            typed: 0,
            wants_password: false,
            verifications: Vec::new(),
        }
    }

    /// A new device of `user` and who sits there.
    pub(super) fn newcomer(world: &mut World, user: &str, device: &str) -> Self {
        let mut client = Client::new(user, device);
        client.owner.careless = true;
        world.add_client(client);
        let client = world.clients.len() - 1;
        Self::at(world, client)
    }

    pub(super) fn with_paper(mut self, key: &str) -> Self {
        self.paper = Some(key.to_owned());
        self
    }

    pub(super) fn sees(&self, world: &World) -> Option<RecoveryState> {
        world.clients[self.client].owner.told.clone()
    }

    pub(super) fn is_ready(&self, world: &World) -> bool {
        self.sees(world) == Some(RecoveryState::Ready)
    }

    /// Whether nothing is open between the person and the program.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_none() && !self.to_confirm && !self.wants_password
    }

    pub(super) fn ask(&mut self, world: &mut World, request: Request) {
        self.read(world);
        self.names += 1;
        let id = CommandId((1 << 40) + self.names);
        self.asked = Some(id);
        self.answer = None;
        world.command(self.client, Command::Request { id, request });
    }

    fn mention(&self, world: &mut World, request: Request) {
        world.command(self.client, Command::Request { id: ASIDE, request });
    }

    /// Reads what came on the screen.
    pub(super) fn read(&mut self, world: &mut World) {
        for heard in std::mem::take(&mut world.clients[self.client].heard) {
            world.tell(format_args!("{} sees {heard:?}", self.client));
            match heard {
                None => {
                    self.asked = None;
                    self.verifications.clear();
                    (self.to_confirm, self.wants_password) = (false, false);
                }
                Some(Update::AuthNeeded(_)) => self.wants_password = true,
                Some(Update::Verification(view)) => {
                    self.verifications.retain(|other| other.id != view.id);
                    self.verifications.extend(Some(view).filter(|view| !view.stage.is_over()));
                }
                Some(Update::Outcome { id, result }) if self.asked == Some(id) => {
                    self.asked = None;
                    if let Ok(Outcome::RecoveryKey { recovery_key }) = &result {
                        self.write_down(recovery_key);
                    }
                    self.answer = Some(result);
                }
                Some(_) => {}
            }
        }
    }

    fn write_down(&mut self, key: &SecretText) {
        let key = key.expose().to_owned();
        if !self.shown.contains(&key) {
            self.shown.push(key.clone());
        }
        self.paper = Some(key);
        self.to_confirm = true;
    }

    /// Does about the account's keys what the screen asks for.
    pub(super) fn tend(&mut self, world: &mut World) {
        self.read(world);
        if self.wants_password {
            self.wants_password = false;
            let password = Some(SecretText::from(PASSWORD.to_owned()));
            self.mention(world, Request::Authenticate { password });
        }
        if self.asked.is_some() {
            return;
        }
        if std::mem::take(&mut self.to_confirm) {
            return self.ask(world, Request::ConfirmRecoveryKey);
        }
        match (self.sees(world), self.paper.clone()) {
            (Some(RecoveryState::NeedsSetup | RecoveryState::KeyToKeep), _) => {
                self.ask(world, Request::SetUpRecovery { passphrase: None });
            }
            (Some(RecoveryState::NeedsRecovery { .. } | RecoveryState::OutOfDate), Some(key)) => {
                self.typed += 1;
                self.ask(world, Request::Recover { secret: SecretText::from(key) });
            }
            (_, _) => {}
        }
    }

    /// Tends to the keys until there is nothing to do.
    pub(super) fn settle(&mut self, world: &mut World) {
        for _ in 0..super::LOOKS {
            self.tend(world);
            pause(world);
            if self.is_ready(world) && self.is_idle() {
                return;
            }
        }
        panic!("the keys never came: {:?}, {:?}", self.sees(world), self.answer);
    }

    /// Waits for the answer to a wish.
    pub(super) fn hear(&mut self, world: &mut World) -> Result<Outcome, CommandError> {
        for _ in 0..super::LOOKS {
            self.read(world);
            if let Some(answer) = self.answer.take() {
                return answer;
            }
            pause(world);
        }
        panic!("no answer");
    }

    /// Goes on with what there is to verify, comparing it with what the other side shows; whether
    /// there is something.
    pub(super) fn go_on_verifying(&self, world: &mut World, other: &Self) -> bool {
        let theirs = other.verifications.iter().map(|view| &view.stage);
        let theirs: Vec<&VerificationStage> = theirs.collect();
        for view in &self.verifications {
            if let Some(act) = next_act(view, &theirs) {
                let id = view.id;
                self.mention(world, Request::Verification { id, act });
            }
        }
        !self.verifications.is_empty()
    }
}

/// What somebody does next who verifies, and sees what the other side shows.
fn next_act(view: &VerificationView, theirs: &[&VerificationStage]) -> Option<VerificationAct> {
    let is_same = |mine: &[Emoji]| {
        theirs.iter().any(|stage| match stage {
            VerificationStage::Compare { emoji, .. } => emoji == mine,
            // They compared a moment ago.
            VerificationStage::Confirmed => true,
            _ => false,
        })
    };
    match &view.stage {
        VerificationStage::Invited => Some(VerificationAct::Accept { scan: Scan::No }),
        VerificationStage::Ready { .. } if view.is_ours => Some(VerificationAct::StartSas),
        VerificationStage::Compare { emoji, .. } if is_same(emoji) => {
            Some(VerificationAct::Confirm)
        }
        _ => None,
    }
}
