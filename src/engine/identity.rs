//! Our cross-signing identity and those of others, as faces see and settle them.

use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    e2ee::{AuthNeeded, Bootstrap},
    matrix::{SafeText, UserId},
};

use super::{
    AuthPrompt, CommandError, Engine, Outcome, SecretText, Update,
    error::EngineError,
    faces::{Asker, answer, refusal},
    request::{Origin, path},
    turn::Turn,
};

/// The stage that takes the account's password.
const PASSWORD: &str = "m.login.password";
/// The stage that is done on the page of the account's management.
const OAUTH: &str = "m.oauth";

impl Engine {
    /// An account without an identity gets one by itself, once.
    pub(super) fn begin_identity(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let _: Bootstrap = self.machine.bootstrap_cross_signing(&mut turn.step)?;
        Ok(())
    }

    /// How identities stand.
    pub(super) fn identity(
        &self,
        from: Asker,
        user: Option<&UserId>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let own = self.machine.own_identity(&turn.step)?;
        let cross_signed = self.machine.is_cross_signed(&turn.step)?;
        let mut users = Vec::new();
        match user {
            Some(user) => users.push(self.machine.identity_status(user, &turn.step)?),
            None => {
                for (user, _) in self.machine.changed_identities() {
                    users.push(self.machine.identity_status(user, &turn.step)?);
                }
            }
        }
        let under_way = self.machine.is_identity_under_way(&turn.step)?;
        let auth = self.auth_prompt(turn);
        let told = Outcome::Identity { own, cross_signed, under_way, auth, users };
        answer(from, Ok(told), turn);
        Ok(())
    }

    /// [`super::Request::AcknowledgeIdentity`].
    pub(super) fn acknowledge(
        &mut self,
        from: Asker,
        user: &UserId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let settled = self.machine.acknowledge_identity(user, &mut turn.step)?;
        answer(from, settled_or_not(settled), turn);
        Ok(())
    }

    /// [`super::Request::WithdrawVerification`].
    pub(super) fn withdraw(
        &mut self,
        from: Asker,
        user: &UserId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let settled = self.machine.withdraw_verification(user, &mut turn.step)?;
        answer(from, settled_or_not(settled), turn);
        Ok(())
    }

    /// [`super::Request::ResetIdentity`].
    pub(super) fn reset_identity(
        &mut self,
        from: Asker,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.machine.reset_identity(&mut turn.step)?;
        answer(from, Ok(Outcome::Done), turn);
        Ok(())
    }

    /// What the server wants before it takes our identity, for people.
    pub(super) fn auth_prompt(&self, turn: &Turn<'_>) -> Option<AuthPrompt> {
        let AuthNeeded { auth, refused, .. } = self.machine.auth_needed()?;
        let takes_password = auth.takes(PASSWORD);
        // Who logged in by OAuth has no other page than the one of their account.
        let account = || turn.store.lease().oauth.as_ref()?.account_management_uri.clone();
        let page = auth.url(OAUTH).or_else(account).or_else(|| {
            let stage = auth.flows.first()?.stages.first()?;
            let session = auth.session.as_ref()?;
            let server = turn.store.account().homeserver.trim_end_matches('/').to_owned();
            let page = path(&["auth", stage, "fallback", "web"]);
            let session = super::request::segment(session);
            Some(format!("{server}{page}?session={session}"))
        });
        let page = page.map(|page| SafeText::line(&page).into_string());
        let refused = refused.as_deref().map(|words| SafeText::line(words).into_string());
        Some(AuthPrompt { takes_password, page, refused })
    }

    pub(super) fn tell_auth(&mut self, turn: &mut Turn<'_>) {
        if let Some(prompt) = self.auth_prompt(turn) {
            self.told_auth = true;
            turn.tell_all(Update::AuthNeeded(prompt));
        }
    }

    /// Tells the faces when what they were asked for is not wanted any more.
    pub(super) fn tell_auth_over(&mut self, turn: &mut Turn<'_>) {
        if self.told_auth && self.machine.auth_needed().is_none() {
            self.told_auth = false;
            turn.tell_all(Update::AuthOver);
        }
    }

    /// The user proves who they are, by a password or by having been on the page: the stored
    /// request goes out again, with the proof beside its body. The proof is never stored.
    pub(super) fn authenticate(
        &mut self,
        from: Asker,
        password: Option<&SecretText>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let Some(needed) = self.machine.auth_needed().cloned() else {
            let words = "the server does not ask who you are just now";
            answer(from, Err(refusal("not_asked", words)), turn);
            return Ok(());
        };
        let mut proof = match password.map(|password| password_proof(&self.me, password)) {
            Some(Value::Object(proof)) => proof,
            Some(_) | None => Map::new(),
        };
        if let Some(session) = &needed.auth.session {
            proof.insert("session".to_owned(), json!(session));
        }
        let stored = self.machine.unanswered(&turn.step)?;
        if let Some(mut request) = stored.into_iter().find(|it| it.id == needed.request) {
            request.body = with_proof(&request.body, proof);
            self.requests.forget(
                |origin| matches!(origin, Origin::Keys(other, _) if *other == needed.request),
            );
            self.ask_keys(request);
            self.machine.auth_offered();
        }
        answer(from, Ok(Outcome::Done), turn);
        Ok(())
    }
}

/// What is said when a change of identity was to be settled.
fn settled_or_not(settled: bool) -> Result<Outcome, CommandError> {
    let words = "nothing of the kind is to be settled with this user";
    if settled { Ok(Outcome::Done) } else { Err(refusal("nothing_to_settle", words)) }
}

/// A password as proof of who the user is.
pub(super) fn password_proof(user: &UserId, password: &SecretText) -> Value {
    json!({
        "type": PASSWORD,
        "identifier": { "type": "m.id.user", "user": user },
        "password": password.expose(),
    })
}

/// The body of a request with the proof of who the user is beside it.
fn with_proof(body: &str, proof: Map<String, Value>) -> String {
    let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(body) else {
        return body.to_owned();
    };
    object.insert("auth".to_owned(), Value::Object(proof));
    serde_json::value::to_raw_value(&object)
        .map_or_else(|_| body.to_owned(), |raw: Box<RawValue>| raw.get().to_owned())
}
