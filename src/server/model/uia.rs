//! Proofs of who calls, in stages: what to show before an account is made, and before it is
//! changed by somebody who holds no more than a token.
//!
//! # Spec
//! Client-Server API, "User-Interactive Authentication API".

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    accounts::{invites, users},
    rate::Limited,
    refusal::{Done, Refusal, Stop, Work},
    route::{Caller, Context},
    settings::Registration,
    step::Step,
};
use crate::{matrix::OwnedUserId, secret::Secret};

/// How long a proof may take.
const LASTS: Duration = Duration::from_secs(60 * 60);

/// What is shown in one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing.
    Dummy,
    /// The account's password.
    Password,
    /// An invitation.
    Invite,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Dummy, Self::Password, Self::Invite];

    fn name(self) -> &'static str {
        match self {
            Self::Dummy => "m.login.dummy",
            Self::Password => "m.login.password",
            Self::Invite => "m.login.registration_token",
        }
    }
}

/// A proof on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof {
    /// What it is for: a proof for one thing is none for another.
    operation: String,
    /// Whose; nobody's for a registration.
    user: Option<OwnedUserId>,
    completed: BTreeSet<Stage>,
    /// The invitation that was shown.
    invite: Option<String>,
}

/// What has been proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    session: Option<String>,
    /// The invitation that was shown.
    pub(crate) invite: Option<String>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    /// Method and path, or whatever else tells it from other operations.
    pub(crate) name: &'a str,
    /// The `auth` of the request's body.
    pub(crate) auth: Option<&'a Value>,
}

impl Proven {
    /// Ends the proof: it holds once.
    pub(crate) fn finish(self, step: &mut Step<'_>) {
        if let Some(session) = self.session {
            step.volatile.proofs.remove(&session);
        }
    }
}

/// Asks whoever registers for what this server demands.
///
/// # Errors
/// 401 with what is still to be shown.
pub(crate) fn registering(
    step: &mut Step<'_>,
    context: &Context<'_>,
    operation: Operation<'_>,
) -> Result<Proven, Stop> {
    let stages: &[Stage] = match step.settings.registration {
        // The second one as other servers have it: clients expect it.
        Registration::ByInvite => &[Stage::Invite, Stage::Dummy],
        Registration::Open => &[Stage::Dummy],
    };
    let (done, address) = (context.done, context.address);
    Check { stages, caller: None, done, address, operation }.run(step)
}

/// Asks the caller for the password of their account.
///
/// # Errors
/// 401 with what is still to be shown; 403 when somebody else's password is.
pub(crate) fn password(
    step: &mut Step<'_>,
    context: &Context<'_>,
    operation: Operation<'_>,
) -> Result<Proven, Stop> {
    let caller = Some(context.caller()?);
    let (done, address) = (context.done, context.address);
    Check { stages: &[Stage::Password], caller, done, address, operation }.run(step)
}

/// One look at a proof.
struct Check<'a> {
    /// What has to be shown: the stages of the only flow.
    stages: &'a [Stage],
    caller: Option<&'a Caller>,
    done: Option<&'a Done>,
    address: &'a str,
    operation: Operation<'a>,
}

impl Check<'_> {
    fn run(&self, step: &mut Step<'_>) -> Result<Proven, Stop> {
        let auth = match self.operation.auth {
            None | Some(Value::Null) => {
                return Err(self.ask(step, None, self.new_proof(), None));
            }
            Some(Value::Object(auth)) => auth,
            Some(_) => return Err(Refusal::bad_json("auth is not an object").into()),
        };
        let session = match auth.get("session") {
            None | Some(Value::Null) => None,
            Some(Value::String(session)) => Some(session.clone()),
            Some(_) => return Err(Refusal::bad_json("the session is not a text").into()),
        };
        let mut proof = self.proof(step, session.as_deref())?;
        if !self.is_complete(&proof)
            && let Some(kind) = auth.get("type")
        {
            match self.show(step, kind, auth, &mut proof) {
                Ok(()) => {}
                Err(Shown::Over(over)) => return Err(over),
                Err(Shown::Wrong(refusal)) => {
                    return Err(self.ask(step, session, proof, Some(refusal)));
                }
            }
        }
        if !self.is_complete(&proof) {
            return Err(self.ask(step, session, proof, None));
        }
        let invite = proof.invite.clone();
        if let Some(session) = &session {
            let until = step.now.plus(LASTS);
            step.volatile.proofs.put(self.owner(), session.clone(), (until, proof));
        }
        Ok(Proven { session, invite })
    }

    /// In whose share of the places a proof stands: the account's, or that of the address from
    /// which somebody registers.
    fn owner(&self) -> &str {
        self.caller.map_or(self.address, |caller| caller.user.as_str())
    }

    fn is_complete(&self, proof: &Proof) -> bool {
        self.stages.iter().all(|stage| proof.completed.contains(stage))
    }

    /// The proof of a session, or a new one.
    fn proof(&self, step: &Step<'_>, session: Option<&str>) -> Result<Proof, Refusal> {
        let Some(session) = session else {
            return Ok(self.new_proof());
        };
        let proof = step
            .volatile
            .proofs
            .get(session, step.now)
            .ok_or_else(|| Refusal::new(400, "M_UNKNOWN", "unknown session"))?;
        if proof.operation != self.operation.name {
            return Err(Refusal::new(403, "M_UNKNOWN", "the session is for another operation"));
        }
        if proof.user.as_ref() != self.caller.map(|caller| &caller.user) {
            return Err(Refusal::forbidden("the session is somebody else's"));
        }
        Ok(proof.clone())
    }

    fn new_proof(&self) -> Proof {
        let user = self.caller.map(|caller| caller.user.clone());
        Proof { operation: self.operation.name.to_owned(), user, ..Proof::default() }
    }

    /// Looks at one stage.
    fn show(
        &self,
        step: &mut Step<'_>,
        kind: &Value,
        auth: &Map<String, Value>,
        proof: &mut Proof,
    ) -> Result<(), Shown> {
        let kind = kind.as_str().unwrap_or_default();
        let stage = Stage::ALL.into_iter().find(|stage| stage.name() == kind);
        let stage = stage.ok_or_else(|| Stop::from(unknown_stage()))?;
        if !self.stages.contains(&stage) {
            return Ok(());
        }
        match stage {
            Stage::Dummy => {}
            Stage::Password => self.show_password(step, auth)?,
            Stage::Invite => {
                let token = auth.get("token").and_then(Value::as_str).ok_or_else(|| {
                    Shown::Wrong(Refusal::missing("there is no registration token"))
                })?;
                if !invites::is_valid(step, token).map_err(Stop::from)? {
                    let text = "the registration token is not valid";
                    return Err(Shown::Wrong(Refusal::new(401, "M_UNAUTHORIZED", text)));
                }
                proof.invite = Some(token.to_owned());
            }
        }
        proof.completed.insert(stage);
        Ok(())
    }

    fn show_password(&self, step: &mut Step<'_>, auth: &Map<String, Value>) -> Result<(), Shown> {
        let Some(caller) = self.caller else {
            return Err(Stop::from(unknown_stage()).into());
        };
        match self.done {
            // A handler asks for a hash only after this was shown.
            Some(Done::Hash(_) | Done::Verified(true)) => return Ok(()),
            Some(Done::Verified(false)) => {
                let refusal = Refusal::forbidden("wrong user name or password");
                return Err(Shown::Wrong(refusal));
            }
            None => {}
        }
        let password = auth
            .get("password")
            .and_then(Value::as_str)
            .ok_or_else(|| Stop::from(Refusal::invalid("there is no password")))?;
        let name = users::named(auth).map_err(Stop::from)?;
        step.limit(Limited::Proof, caller.user.as_str()).map_err(Stop::from)?;
        let found = users::find(step, &name).map_err(Stop::from)?;
        match found {
            Some((user, record)) if user == caller.user => {
                let hash = users::hash_of(Some(&record));
                Err(Stop::Work(Work::Verify { password: Secret::new(password.to_owned()), hash })
                    .into())
            }
            _ => Err(Stop::from(Refusal::forbidden("this is not the caller's account")).into()),
        }
    }

    /// Asks for what is still to be shown.
    fn ask(
        &self,
        step: &mut Step<'_>,
        session: Option<String>,
        proof: Proof,
        wrong: Option<Refusal>,
    ) -> Stop {
        let session = session.unwrap_or_else(|| step.random_name(24));
        let names = |stages: &mut dyn Iterator<Item = &Stage>| -> Vec<Value> {
            stages.map(|stage| stage.name().into()).collect()
        };
        let stages = names(&mut self.stages.iter());
        let completed = names(&mut self.stages.iter().filter(|it| proof.completed.contains(it)));
        step.volatile.proofs.put(self.owner(), session.clone(), (step.now.plus(LASTS), proof));
        let mut refusal = wrong.unwrap_or_else(|| Refusal::new(401, "", ""));
        refusal.status = 401;
        if self.operation.auth.is_some_and(|auth| !auth.is_null()) {
            refusal = refusal.with("completed", completed.into());
        }
        refusal
            .with("flows", json!([{ "stages": stages }]))
            .with("params", json!({}))
            .with("session", session.into())
            .into()
    }
}

fn unknown_stage() -> Refusal {
    Refusal::new(400, "M_UNKNOWN", "this kind of proof is not asked for")
}

/// What came of looking at a stage that was not completed.
enum Shown {
    /// It shows the wrong thing: the caller may try again.
    Wrong(Refusal),
    /// No more can be said to this call.
    Over(Stop),
}

impl From<Stop> for Shown {
    fn from(stop: Stop) -> Self {
        Self::Over(stop)
    }
}
