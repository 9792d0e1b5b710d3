//! The model's one function: a call in, an answer and what is to be written out.

use std::{collections::BTreeSet, fmt, time::Duration};

use http::Request;

use super::{
    accounts::tokens,
    admin::{self, AdminDone, AdminJob},
    endpoints,
    media::{self, MediaDone, MediaJob},
    refusal::{Done, Refusal, Stop, Work},
    route::{Access, Address, Caller, Context, Response, Routes},
    settings::Settings,
    step::{Parts, Step},
    table::{Changes, Lookup},
    volatile::Volatile,
};
use crate::{matrix::OwnedUserId, secret::Secret, time::Timestamp};

/// A homeserver without its disk, its clock and its network.
pub struct Model {
    settings: Settings,
    volatile: Volatile,
    routes: Routes,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A call of the client-server API.
pub struct Ask<'a> {
    /// Method, path, query and body.
    pub request: Request<&'a [u8]>,
    /// The access token.
    pub token: Option<&'a Secret<String>>,
    /// What came of the work that the same call asked for before.
    pub done: Option<&'a Done>,
    /// Whether the time to wait is over.
    pub is_late: bool,
}

impl fmt::Debug for Ask<'_> {
    /// Without query and body: they hold passwords and messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("method", self.request.method()).finish_non_exhaustive()
    }
}

/// What comes of a call.
#[derive(Debug)]
pub struct Outcome {
    /// The answer, which may leave once the changes are written.
    pub answer: Answer,
    /// To be written, all or nothing; empty when the call was refused.
    pub changes: Changes,
    /// Whose waiting calls are to be asked again, once the changes are written.
    pub woken: BTreeSet<OwnedUserId>,
}

/// An answer, or why there is none yet.
#[derive(Debug)]
pub enum Answer {
    /// Status, headers and body.
    Now(Response),
    /// Nothing new for this user: ask again when they are woken, or late after this time.
    Wait(OwnedUserId, Duration),
    /// Do this, and ask again with what came of it.
    Work(Work),
}

impl Model {
    /// A server that is set up like this.
    pub fn new(settings: Settings) -> Self {
        Self { settings, volatile: Volatile::default(), routes: endpoints::routes() }
    }

    /// How it is set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// To be called when changes that it gave were not written, and never will be: it forgets
    /// what follows from them.
    pub fn forget(&mut self) {
        self.volatile.forget_derived();
    }

    /// Answers a call. `random` fills its argument with bytes that nobody can guess.
    pub fn handle(
        &mut self,
        ask: &Ask<'_>,
        lookup: &dyn Lookup,
        now: Timestamp,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Outcome {
        let (volatile, settings) = (&mut self.volatile, &self.settings);
        let mut step = Step::new(Parts { lookup, volatile, settings, now, random });
        match run(&self.routes, &mut step, ask) {
            Ok(response) => {
                let (changes, woken) = step.finish();
                Outcome { answer: Answer::Now(response), changes, woken }
            }
            Err(unanswered) => {
                step.give_up();
                let answer = unanswered.into_answer();
                Outcome { answer, changes: Changes::new(), woken: BTreeSet::new() }
            }
        }
    }
}

impl Model {
    /// Does something with a file.
    pub fn media(
        &mut self,
        job: MediaJob,
        lookup: &dyn Lookup,
        now: Timestamp,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> (Result<MediaDone, Refusal>, Changes) {
        let (volatile, settings) = (&mut self.volatile, &self.settings);
        let mut step = Step::new(Parts { lookup, volatile, settings, now, random });
        match media::perform(&mut step, job) {
            Ok(done) => (Ok(done), step.finish().0),
            Err(refusal) => {
                step.give_up();
                (Err(refusal), Changes::new())
            }
        }
    }
}

impl Model {
    /// Does something for whoever runs the server.
    pub fn administer(
        &mut self,
        job: AdminJob,
        lookup: &dyn Lookup,
        now: Timestamp,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> (Result<AdminDone, Refusal>, Changes) {
        let (volatile, settings) = (&mut self.volatile, &self.settings);
        let mut step = Step::new(Parts { lookup, volatile, settings, now, random });
        match admin::perform(&mut step, job) {
            Ok(done) => (Ok(done), step.finish().0),
            Err(refusal) => {
                step.give_up();
                (Err(refusal), Changes::new())
            }
        }
    }
}

/// A call without a good answer, and who made it.
struct Unanswered {
    stop: Stop,
    caller: Option<Caller>,
}

impl Unanswered {
    fn into_answer(self) -> Answer {
        match (self.stop, self.caller) {
            (Stop::Refuse(refusal), _) => Answer::Now(refusal.response()),
            (Stop::Work(work), _) => Answer::Work(work),
            (Stop::Wait(time), Some(caller)) => Answer::Wait(caller.user, time),
            // Only who has a token has something to wait for.
            (Stop::Wait(_), None) => Answer::Now(Refusal::unrecognized().response()),
        }
    }
}

impl From<Refusal> for Box<Unanswered> {
    fn from(refusal: Refusal) -> Self {
        Self::new(Unanswered { stop: refusal.into(), caller: None })
    }
}

fn run(routes: &Routes, step: &mut Step<'_>, ask: &Ask<'_>) -> Result<Response, Box<Unanswered>> {
    let (route, found) = routes.find(ask.request.clone())?;
    let caller = match route.access {
        Access::Public => None,
        Access::Optional if ask.token.is_none() => None,
        Access::Optional | Access::User => Some(tokens::identify(step, ask.token)?),
    };
    let context = Context::new(caller.as_ref(), ask.done, ask.is_late)
        .from(ask.request.extensions().get::<Address>());
    route.run(step, &context, &found).map_err(|stop| Box::new(Unanswered { stop, caller }))
}

#[cfg(test)]
impl Model {
    /// Does something and then refuses it.
    pub(super) fn try_out<T>(
        &mut self,
        lookup: &dyn Lookup,
        now: Timestamp,
        attempt: impl FnOnce(&mut Step<'_>) -> T,
    ) -> T {
        let (volatile, settings) = (&mut self.volatile, &self.settings);
        let random = &mut |bytes: &mut [u8]| bytes.fill(7);
        let mut step = Step::new(Parts { lookup, volatile, settings, now, random });
        let value = attempt(&mut step);
        step.give_up();
        value
    }
}
