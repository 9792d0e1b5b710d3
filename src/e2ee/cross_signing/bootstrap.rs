//! Making our identity, for an account that has none or by the user's deliberate act.
//!
//! New keys are on disk before they are sent, and count for nothing until the server has them. The
//! request is stored without a proof of who the user is: a server that wants one says so, and the
//! proof goes beside the stored request, in memory only.
//!
//! # Spec
//! Client-Server API, `POST /keys/device_signing/upload`, "User-Interactive Authentication API".

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    keys::{KeyObjects, NewKeys},
    record::{How, OwnRecord, Setup, identity},
    states::{IdentityState, state_of},
};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::Core,
        identity::{Identity, IdentityJson},
        lookup::Table,
        request::{self, Purpose, RequestId, RequestKind},
        step::{Step, encode_text, raw},
        types::{Alarm, Notice},
    },
    matrix::{MatrixError, UserAuth},
};

/// What came of asking for an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// It is under way; [`Notice::IdentityChanged`] of our user tells the end.
    Begun,
    /// The account has an identity, which this device did not verify: recover or verify.
    AlreadyThere,
    /// This device uses the account's identity.
    Done,
}

/// The server wants to know who the user is before it takes our identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthNeeded {
    /// The request to repeat with the proof beside its body.
    pub request: RequestId,
    /// How it can be proved.
    pub auth: UserAuth,
    /// Why the last proof was refused, if there was one: the server's words, untrusted.
    pub refused: Option<String>,
}

/// What a `device_signing/upload` request is for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::e2ee) struct SigningKeysPurpose {}

/// The body of `POST /keys/device_signing/upload`.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the specification")]
struct Upload {
    master_key: Box<RawValue>,
    self_signing_key: Box<RawValue>,
    user_signing_key: Box<RawValue>,
}

impl Machine {
    /// Makes an identity if the account has none; a fresh query decides.
    ///
    /// # Errors
    /// When the store fails.
    pub fn bootstrap_cross_signing(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<Bootstrap, MachineError> {
        self.core.bootstrap(step)
    }

    /// Replaces the account's identity by a new one: the user said so, knowing that everybody
    /// will be told, that our other devices must be signed anew and that people verified before
    /// must be verified again.
    ///
    /// # Errors
    /// When the store fails.
    pub fn reset_identity(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.core.cancel_upload(step)?;
        self.core.upload_identity(How::Reset, step)
    }

    /// The user's proof is on its way: nothing more is wanted until the server answers.
    pub fn auth_offered(&mut self) {
        self.core.cross_signing.auth = None;
    }

    /// What the server wants before it takes our identity.
    pub fn auth_needed(&self) -> Option<&AuthNeeded> {
        self.core.cross_signing.auth.as_ref()
    }

    /// Whether an identity is being made or signed just now, and nobody need do anything.
    pub(in crate::e2ee) fn is_setting_up(&self, step: &Step<'_>) -> Result<bool, MachineError> {
        Ok(match OwnRecord::read(step)?.setup {
            Setup::Untried => !self.core.tracker.was_answered(&self.core.user),
            Setup::Asked => true,
            Setup::Uploading { .. } => self.core.cross_signing.auth.is_none(),
            Setup::Settled | Setup::Refused { .. } => false,
        })
    }
}

/// The master key of an identity that the server has not taken yet, unpadded base64.
pub(in crate::e2ee) fn identity_on_its_way(
    step: &Step<'_>,
) -> Result<Option<String>, MachineError> {
    Ok(match OwnRecord::read(step)?.setup {
        Setup::Uploading { keys, .. } => Some(keys.master.public()),
        Setup::Untried | Setup::Asked | Setup::Settled | Setup::Refused { .. } => None,
    })
}

impl Core {
    fn bootstrap(&mut self, step: &mut Step<'_>) -> Result<Bootstrap, MachineError> {
        let mut record = OwnRecord::read(step)?;
        if let Some(own) = identity(&self.user, step)? {
            return Ok(if record.verifies(&own) {
                Bootstrap::Done
            } else {
                Bootstrap::AlreadyThere
            });
        }
        match record.setup {
            Setup::Uploading { .. } | Setup::Asked => return Ok(Bootstrap::Begun),
            Setup::Untried | Setup::Settled | Setup::Refused { .. } => {}
        }
        record.setup = Setup::Asked;
        record.write(step)?;
        self.ask_anew(step)?;
        Ok(Bootstrap::Begun)
    }

    /// Our device keys are on the server: an identity that waited for them can be made.
    pub(in crate::e2ee) fn resume_bootstrap(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match OwnRecord::read(step)?.setup {
            Setup::Asked => self.ask_anew(step),
            Setup::Untried | Setup::Uploading { .. } | Setup::Settled | Setup::Refused { .. } => {
                Ok(())
            }
        }
    }

    /// Asks for our own list anew.
    pub(super) fn ask_anew(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let user = self.user.clone();
        self.call_into_question(&user, step)
    }

    /// Makes new keys and sends them.
    pub(super) fn upload_identity(
        &mut self,
        how: How,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let mut record = OwnRecord::read(step)?;
        let keys = NewKeys::random()?;
        let objects = keys.objects(&self.user, &self.account);
        record.setup = Setup::Uploading { keys: Box::new(keys), how };
        record.write(step)?;
        let KeyObjects { master, self_signing, user_signing } = objects;
        let upload = Upload {
            master_key: raw(Table::CrossSigning, &master)?,
            self_signing_key: raw(Table::CrossSigning, &self_signing)?,
            user_signing_key: raw(Table::CrossSigning, &user_signing)?,
        };
        let body = encode_text(Table::Request, &upload)?;
        let call = (RequestKind::SigningKeysUpload, ["keys", "device_signing", "upload"]);
        let purpose = Purpose::SigningKeys(SigningKeysPurpose {});
        self.requests.post((call.0, &call.1), body, purpose, step)?;
        Ok(())
    }

    /// Takes back keys that the server has not taken.
    pub(super) fn cancel_upload(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.cross_signing.auth = None;
        for record in request::records(step)? {
            if matches!(record.purpose, Purpose::SigningKeys(_)) {
                self.requests.settle(&record.request.id, step);
            }
        }
        Ok(())
    }

    /// The server wants to know who the user is. That is so for a replacement: so for a first
    /// upload it means, most of the time, that another client was first, which a query tells.
    pub(in crate::e2ee) fn identity_wants_auth(
        &mut self,
        request: &RequestId,
        error: &MatrixError,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(auth) = &error.auth else { return Ok(()) };
        let refused = (!error.error.is_empty()).then(|| error.error.clone());
        let auth = AuthNeeded { request: request.clone(), auth: (**auth).clone(), refused };
        let is_first = self.cross_signing.auth.is_none();
        self.cross_signing.auth = Some(auth);
        match OwnRecord::read(step)?.setup {
            Setup::Uploading { how: How::First, .. } if is_first => self.ask_anew(step),
            Setup::Uploading { .. } => {
                step.tell(Notice::AuthNeeded);
                Ok(())
            }
            Setup::Untried | Setup::Asked | Setup::Settled | Setup::Refused { .. } => Ok(()),
        }
    }

    /// Takes the answer to the upload of an identity.
    pub(in crate::e2ee) fn receive_identity_upload(
        &mut self,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.cross_signing.auth = None;
        match answer {
            Ok(_) => self.identity_uploaded(step),
            Err(error) => {
                let mut record = OwnRecord::read(step)?;
                let code = error.errcode.clone();
                record.setup = Setup::Refused { code: code.clone() };
                record.write(step)?;
                step.tell(Notice::Alarm(Alarm::IdentityRefused(code)));
                Ok(())
            }
        }
    }

    /// The server has our new identity: from now on it is the one in force.
    pub(super) fn identity_uploaded(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let mut record = OwnRecord::read(step)?;
        let Setup::Uploading { keys, how } = std::mem::take(&mut record.setup) else {
            return Ok(());
        };
        let KeyObjects { master, self_signing, user_signing } =
            keys.objects(&self.user, &self.account);
        let (master, self_signing, user_signing) = (
            raw(Table::Identity, &master)?,
            raw(Table::Identity, &self_signing)?,
            raw(Table::Identity, &user_signing)?,
        );
        let json = IdentityJson {
            master: &master,
            self_signing: &self_signing,
            user_signing: Some(&user_signing),
        };
        let known = identity(&self.user, step)?;
        let Ok(own) = Identity::check(&self.user, json, known.as_ref(), step.now()) else {
            return Ok(());
        };
        if how == How::Reset {
            self.unlatch_verified(step)?;
        }
        record.verified = Some(own.master_key.clone());
        record.keys = keys.into_private();
        record.setup = Setup::Settled;
        record.replaced_by = None;
        record.write(step)?;
        self.put_identity(own, step)?;
        self.recompute_identities(step)?;
        self.cross_signing.failures = 0;
        self.cross_signing.is_new = true;
        self.sign_ourselves(step)?;
        self.ask_anew(step)
    }

    /// People who are verified by the identity that is given up: they did not change, we did.
    fn unlatch_verified(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        for (_, mut shown) in step.scan::<Identity>(Table::Identity, None)? {
            let is_verified = state_of(&shown, &self.user, step)? == IdentityState::Verified;
            if is_verified && shown.user != self.user {
                shown.was_verified = false;
                shown.our_signature = None;
                step.put(Table::Identity, shown.user.as_str(), "", &shown)?;
            }
        }
        Ok(())
    }
}
