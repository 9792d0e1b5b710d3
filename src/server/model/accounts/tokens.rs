//! Tokens: what they stand for, how they are exchanged, when they go. The records hold their
//! hashes only.

use std::time::Duration;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::{
    matrix::{DeviceId, OwnedDeviceId, OwnedUserId, UserId},
    secret::Secret,
    server::model::{
        records::{
            DEVICE_TOKENS, DEVICES, REFRESH_TOKENS, RefreshRecord, TOKENS, TokenKind, TokenPair,
            TokenRecord,
        },
        refusal::Refusal,
        route::Caller,
        step::Step,
        table::Broken,
    },
};

/// How long an access token holds that came with a refresh token.
pub(crate) const REFRESHED_FOR: Duration = Duration::from_secs(60 * 60);
/// How long a login token holds.
pub(crate) const LOGIN_TOKEN_FOR: Duration = Duration::from_secs(2 * 60);
/// How often it is written down that a device was seen.
const SEEN_EVERY: Duration = Duration::from_secs(10 * 60);
/// Letters of a token: more than 200 bits.
const TOKEN_LETTERS: usize = 43;

/// Whether a refresh token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refreshing {
    /// The access token holds until it is taken back.
    No,
    /// The access token holds for [`REFRESHED_FOR`].
    Yes,
}

/// Tokens as they are given out, once.
#[derive(Clone, Debug)]
pub(crate) struct NewTokens {
    pub(crate) access: Secret<String>,
    pub(crate) refresh: Option<Secret<String>>,
    pub(crate) expires_in: Option<Duration>,
}

/// Who has this token. Notes when the device was seen, and that its first use ends the token that
/// came before.
///
/// # Errors
/// `M_MISSING_TOKEN`, `M_UNKNOWN_TOKEN`.
pub(crate) fn identify(
    step: &mut Step<'_>,
    token: Option<&Secret<String>>,
) -> Result<Caller, Refusal> {
    let token =
        token.ok_or_else(|| Refusal::new(401, "M_MISSING_TOKEN", "this needs an access token"))?;
    let hash = token_hash(token.expose());
    let mut record = step.get(TOKENS, (hash.as_str(),))?.ok_or_else(|| {
        Refusal::new(401, "M_UNKNOWN_TOKEN", "the access token is not known")
            .with("soft_logout", false.into())
    })?;
    if record.expires.is_some_and(|expires| expires <= step.now) {
        return Err(Refusal::new(401, "M_UNKNOWN_TOKEN", "the access token has expired")
            .with("soft_logout", true.into()));
    }
    let caller =
        Caller { user: record.user.clone(), device: record.device.clone(), token_hash: hash };
    let replaced = record.replaces.take();
    if replaced.is_some() || SEEN_EVERY <= step.now.since(record.seen) {
        record.seen = step.now;
        step.put(TOKENS, (caller.token_hash.as_str(),), &record)?;
        see(step, &caller)?;
    }
    if let Some(pair) = replaced {
        delete_pair(step, &caller.user, &caller.device, &pair);
    }
    Ok(caller)
}

fn see(step: &mut Step<'_>, caller: &Caller) -> Result<(), Broken> {
    let key = (&*caller.user, &*caller.device);
    if let Some(mut device) = step.get(DEVICES, key)? {
        device.last_seen = step.now;
        step.put(DEVICES, key, &device)?;
    }
    Ok(())
}

/// What a token is stored under, so that the file holds none.
pub(crate) fn token_hash(token: &str) -> String {
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(token))
}

/// A token that nobody can guess.
pub(crate) fn random_token(step: &mut Step<'_>) -> Secret<String> {
    Secret::new(step.random_name(TOKEN_LETTERS))
}

/// Gives tokens to a device.
pub(crate) fn issue(
    step: &mut Step<'_>,
    user: &UserId,
    device: &DeviceId,
    refreshing: Refreshing,
) -> Result<NewTokens, Broken> {
    let owner = (user.to_owned(), device.to_owned());
    match refreshing {
        Refreshing::No => {
            let access = random_token(step);
            let record = access_record(&owner, step);
            put_access(step, &token_hash(access.expose()), &record)?;
            Ok(NewTokens { access, refresh: None, expires_in: None })
        }
        Refreshing::Yes => Ok(issue_pair(step, &owner, None)?.0),
    }
}

type Owner = (OwnedUserId, OwnedDeviceId);

fn access_record((user, device): &Owner, step: &Step<'_>) -> TokenRecord {
    TokenRecord {
        user: user.clone(),
        device: device.clone(),
        expires: None,
        seen: step.now,
        replaces: None,
    }
}

fn put_access(step: &mut Step<'_>, hash: &str, record: &TokenRecord) -> Result<(), Broken> {
    step.put(DEVICE_TOKENS, (&*record.user, &*record.device, hash), &TokenKind::Access)?;
    step.put(TOKENS, (hash,), record)
}

fn issue_pair(
    step: &mut Step<'_>,
    owner: &Owner,
    replaces: Option<TokenPair>,
) -> Result<(NewTokens, TokenPair), Broken> {
    let (access, refresh) = (random_token(step), random_token(step));
    let pair =
        TokenPair { access: token_hash(access.expose()), refresh: token_hash(refresh.expose()) };
    let expires = Some(step.now.plus(REFRESHED_FOR));
    let record = TokenRecord { expires, replaces: replaces.clone(), ..access_record(owner, step) };
    put_access(step, &pair.access, &record)?;
    let (user, device) = owner.clone();
    step.put(DEVICE_TOKENS, (&*user, &*device, pair.refresh.as_str()), &TokenKind::Refresh)?;
    let access_hash = pair.access.clone();
    let record = RefreshRecord { user, device, access: access_hash, next: None, replaces };
    step.put(REFRESH_TOKENS, (pair.refresh.as_str(),), &record)?;
    let expires_in = Some(REFRESHED_FOR);
    Ok((NewTokens { access, refresh: Some(refresh), expires_in }, pair))
}

/// Exchanges a refresh token for a new pair. The old pair holds until the new one is used, so that
/// an answer that got lost locks nobody out.
///
/// # Errors
/// `M_UNKNOWN_TOKEN` when it is not known, or has been exchanged and the new pair was used.
///
/// # Spec
/// Client-Server API, "Refreshing access tokens".
pub(crate) fn refresh(step: &mut Step<'_>, token: &str) -> Result<NewTokens, Refusal> {
    let hash = token_hash(token);
    let mut record = step
        .get(REFRESH_TOKENS, (hash.as_str(),))?
        .ok_or_else(|| Refusal::new(401, "M_UNKNOWN_TOKEN", "the refresh token is not known"))?;
    let owner = (record.user.clone(), record.device.clone());
    for pair in record.replaces.take().into_iter().chain(record.next.take()) {
        delete_pair(step, &owner.0, &owner.1, &pair);
    }
    let old = TokenPair { access: record.access.clone(), refresh: hash.clone() };
    let (new, pair) = issue_pair(step, &owner, Some(old))?;
    record.next = Some(pair);
    step.put(REFRESH_TOKENS, (hash,), &record)?;
    Ok(new)
}

fn delete_pair(step: &mut Step<'_>, user: &UserId, device: &DeviceId, pair: &TokenPair) {
    step.delete(TOKENS, (pair.access.as_str(),));
    step.delete(REFRESH_TOKENS, (pair.refresh.as_str(),));
    step.delete(DEVICE_TOKENS, (user, device, pair.access.as_str()));
    step.delete(DEVICE_TOKENS, (user, device, pair.refresh.as_str()));
}

/// Takes all tokens of a device back.
pub(crate) fn revoke(step: &mut Step<'_>, user: &UserId, device: &DeviceId) -> Result<(), Broken> {
    for (mut key, kind) in step.scan(DEVICE_TOKENS, (user, device))? {
        let (_user, _device, hash) = (key.text()?, key.text()?, key.text()?);
        match kind {
            TokenKind::Access => step.delete(TOKENS, (hash.as_str(),)),
            TokenKind::Refresh => step.delete(REFRESH_TOKENS, (hash.as_str(),)),
        }
        step.delete(DEVICE_TOKENS, (user, device, hash));
    }
    Ok(())
}

/// A one-time token with which another device of `user` logs in.
pub(crate) fn issue_login_token(step: &mut Step<'_>, user: &UserId) -> Secret<String> {
    let token = random_token(step);
    let until = step.now.plus(LOGIN_TOKEN_FOR);
    let hash = token_hash(token.expose());
    step.volatile.login_tokens.put(hash, (until, user.to_owned()), step.now);
    token
}

/// Takes a login token, whose it was; it is gone afterwards.
///
/// # Errors
/// `M_FORBIDDEN` when there is none, or it has expired.
pub(crate) fn take_login_token(step: &mut Step<'_>, token: &str) -> Result<OwnedUserId, Refusal> {
    step.volatile
        .login_tokens
        .take(&token_hash(token), step.now)
        .ok_or_else(|| Refusal::forbidden("the login token is not known, or has expired"))
}
