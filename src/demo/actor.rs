//! Carries out what a person of the demo does: waits, types, and asks the engine.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    person::{Deed, Person},
    seen::{Place, Seen, Senses},
};
use crate::{
    engine::{Command, CommandId, Draft, Handle, Receipt, Request, Update},
    matrix::OwnedTransactionId,
    rooms::{Form, Markup, Target, Typed, compose_reaction},
};

/// How long nothing happens before a person may break the silence.
const QUIET: Duration = Duration::from_secs(75);

/// A person at an engine.
pub(super) struct Actor<P> {
    person: P,
    senses: Senses,
    handle: Handle,
    deeds: VecDeque<Deed>,
    /// Until then the person types.
    busy: Instant,
    count: u64,
}

impl<P: Person> Actor<P> {
    pub(super) fn new(person: P, senses: Senses, handle: Handle) -> Self {
        let (deeds, busy) = (VecDeque::new(), Instant::now());
        Self { person, senses, handle, deeds, busy, count: 0 }
    }

    /// Lives until the engine ends; acts from the moment the curtain rises.
    pub(super) async fn play(mut self, mut curtain: watch::Receiver<bool>) {
        self.ask(Command::FollowAll);
        let mut is_risen = false;
        let mut quiet = Instant::now() + QUIET;
        loop {
            let seen = tokio::select! {
                update = self.handle.updates.recv() => match update {
                    Some(update) => {
                        if is_life(&update) {
                            quiet = Instant::now() + QUIET;
                        }
                        self.senses.notice(&update)
                    }
                    None => return,
                },
                risen = curtain.wait_for(|is_risen| *is_risen), if !is_risen => {
                    if risen.is_err() {
                        return;
                    }
                    is_risen = true;
                    vec![Seen::Curtain]
                }
                () = sleep_until(self.busy), if !self.deeds.is_empty() => {
                    self.act();
                    Vec::new()
                }
                () = sleep_until(quiet), if is_risen => {
                    quiet = Instant::now() + QUIET;
                    vec![Seen::Quiet]
                }
            };
            for seen in seen {
                self.deeds.extend(self.person.on(&seen));
            }
        }
    }

    /// Does the next thing.
    fn act(&mut self) {
        let Some(deed) = self.deeds.pop_front() else { return };
        match deed {
            Deed::Type(place, time) => {
                self.busy = Instant::now() + time;
                self.types(&place, true);
            }
            Deed::Say(place, text) => self.say(&place, text, Target::None),
            Deed::Reply(place, event, text) => self.say(&place, text, Target::Reply(event)),
            Deed::React(place, event, key) => {
                let draft = Draft {
                    room: self.senses.bearings().room(&place).clone(),
                    txn: self.transaction(),
                    kind: "m.reaction".to_owned(),
                    content: compose_reaction(key, &event),
                };
                self.ask(Command::Send(draft));
            }
            Deed::Read(place, event) => {
                let room = self.senses.bearings().room(&place).clone();
                self.ask(Command::MarkRead { room, event, receipt: Receipt::Public });
            }
            Deed::Join(room) => self.request(Request::Join { room: room.to_string() }),
            Deed::Verify(id, act) => self.request(Request::Verification { id, act }),
        }
    }

    fn request(&mut self, request: Request) {
        self.count += 1;
        self.ask(Command::Request { id: CommandId(self.count), request });
    }

    fn say(&mut self, place: &Place, text: String, target: Target) {
        self.types(place, false);
        let (form, markup, mentions) = (Form::Text, Markup::Plain, Vec::new());
        let typed = Typed { text, form, markup, target, mentions };
        let draft = Draft {
            room: self.senses.bearings().room(place).clone(),
            txn: self.transaction(),
            kind: "m.room.message".to_owned(),
            content: typed.content(),
        };
        self.ask(Command::Send(draft));
    }

    fn types(&self, place: &Place, typing: bool) {
        let room = self.senses.bearings().room(place).clone();
        self.ask(Command::Typing { room, typing });
    }

    fn transaction(&mut self) -> OwnedTransactionId {
        self.count += 1;
        format!("demo-{}", self.count).into()
    }

    fn ask(&self, command: Command) {
        if self.handle.commands.try_send(command).is_err() {
            tracing::warn!("the engine of somebody in the demo takes no commands");
        }
    }
}

/// Whether this shows that somebody is busy with the conversation.
fn is_life(update: &Update) -> bool {
    match update {
        Update::Timeline { .. }
        | Update::Typing { .. }
        | Update::Receipts { .. }
        | Update::Verification(_) => true,
        Update::Rooms(_)
        | Update::RoomsGone(_)
        | Update::LastVisited(_)
        | Update::Members { .. }
        | Update::Link(_)
        | Update::Synced
        | Update::CaughtUp
        | Update::Outbox { .. }
        | Update::Progress { .. }
        | Update::Recovery(_)
        | Update::Alarm(_)
        | Update::AuthNeeded(_)
        | Update::AuthOver
        | Update::RoomTrust(_)
        | Update::Backup(_)
        | Update::Outcome { .. }
        | Update::Ended { .. } => false,
    }
}
