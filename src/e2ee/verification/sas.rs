//! The short authentication string, from the start to the checked MACs. Each step uses the state up
//! and gives the next one, so that nothing can be done twice or out of turn.
//!
//! # Spec
//! Client-Server API, "Short Authentication String (SAS) verification".

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use vodozemac::{
    Curve25519PublicKey,
    sas::{EstablishedSas, Sas as Ephemeral},
};

use super::{
    code::CancelCode,
    content::{AGREEMENT, Accept, HASH, Offer},
    keys::Bound,
    outgoing::{self, Outgoing},
    proof::{Confirmed, KeysChecked, Verified},
    short::{MacVersion, Macs, Role, Short, check_macs, our_macs, short},
};

/// Ways to show the short string.
const SHORT: [&str; 2] = ["decimal", "emoji"];

/// What both sides derive with: whose keys, and the name of the verification.
pub(super) type Context<'a> = (&'a Bound, &'a str);

/// Where it stands.
#[derive(Debug)]
pub(super) enum Sas {
    /// We started.
    Started(Started),
    /// They accepted and we sent our key.
    KeySent(KeySent),
    /// They started and we accepted.
    Accepted(Accepted),
    /// Both sides have a short string.
    Compare(Compare),
    /// Our user says it is the same; the other side's MACs are missing.
    Confirmed(WaitForMac),
}

/// What came of a step.
#[derive(Debug)]
pub(super) struct Stepped {
    pub(super) sas: Next,
    pub(super) send: Vec<Outgoing>,
}

/// Where a step leads.
#[derive(Debug)]
pub(super) enum Next {
    On(Sas),
    Verified(Verified),
}

type Step = Result<Stepped, CancelCode>;

fn on(sas: Sas, send: Option<Outgoing>) -> Stepped {
    Stepped { sas: Next::On(sas), send: send.into_iter().collect() }
}

/// We sent a start.
pub(super) struct Started {
    key: Ephemeral,
    /// The content of our start, canonical.
    canonical: String,
}

/// We sent our key and hold them to their commitment.
pub(super) struct KeySent {
    key: Ephemeral,
    canonical: String,
    commitment: String,
    mac: MacVersion,
}

/// We sent an accept with a commitment to our key.
pub(super) struct Accepted {
    key: Ephemeral,
    mac: MacVersion,
}

/// The secret is shared; the user compares.
#[derive(Debug)]
pub(super) struct Compare {
    established: EstablishedSas,
    mac: MacVersion,
    pub(super) short: Short,
    /// Their MACs, if they were faster, checked.
    theirs: Option<KeysChecked>,
}

/// Our user confirmed.
#[derive(Debug)]
pub(super) struct WaitForMac {
    established: EstablishedSas,
    mac: MacVersion,
    confirmed: Confirmed,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Started(..)")
    }
}

impl std::fmt::Debug for KeySent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySent(..)")
    }
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accepted(..)")
    }
}

/// The promise of a key: a hash over it and the start that it answers.
pub(super) fn commitment(key: &str, start: &str) -> String {
    STANDARD_NO_PAD.encode(Sha256::new().chain_update(key).chain_update(start).finalize())
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|name| name == wanted)
}

impl Sas {
    /// We start; `canonical` is the content of our start as it is sent.
    pub(super) fn start(canonical: String) -> Self {
        Self::Started(Started { key: Ephemeral::new(), canonical })
    }

    /// They started and the user has agreed to the verification: answers with an accept.
    pub(super) fn accept(offer: &Offer, canonical: &str) -> Result<(Self, Outgoing), CancelCode> {
        let mac = MacVersion::best(&offer.macs).ok_or(CancelCode::UnknownMethod)?;
        let short: Vec<&str> = SHORT.into_iter().filter(|way| has(&offer.short, way)).collect();
        let spoken = has(&offer.agreements, AGREEMENT) && has(&offer.hashes, HASH);
        if !spoken || short.is_empty() {
            return Err(CancelCode::UnknownMethod);
        }
        let key = Ephemeral::new();
        let promise = commitment(&key.public_key().to_base64(), canonical);
        let accept = outgoing::accept(mac, &short, &promise);
        Ok((Self::Accepted(Accepted { key, mac }), accept))
    }

    /// Whether we sent a start that was not answered: one of theirs may cross it.
    pub(super) fn is_started(&self) -> bool {
        matches!(self, Self::Started(_))
    }

    /// Takes an accept.
    pub(super) fn accepted(self, accept: &Accept) -> Step {
        let Self::Started(Started { key, canonical }) = self else {
            return Err(CancelCode::UnexpectedMessage);
        };
        let mac = MacVersion::parse(&accept.mac).ok_or(CancelCode::UnknownMethod)?;
        let ours = |name: &String| SHORT.contains(&name.as_str());
        let agreed = accept.agreement == AGREEMENT
            && accept.hash == HASH
            && !accept.short.is_empty()
            && accept.short.iter().all(ours);
        if !agreed {
            return Err(CancelCode::UnknownMethod);
        }
        let send = outgoing::key(&key.public_key().to_base64());
        let commitment = accept.commitment.clone();
        Ok(on(Self::KeySent(KeySent { key, canonical, commitment, mac }), Some(send)))
    }

    /// Takes their key.
    pub(super) fn key(self, theirs: &str, context: Context<'_>) -> Step {
        match self {
            Self::KeySent(KeySent { key, canonical, commitment: promised, mac }) => {
                let kept = commitment(theirs, &canonical);
                if !bool::from(kept.as_bytes().ct_eq(promised.as_bytes())) {
                    return Err(CancelCode::MismatchedCommitment);
                }
                let compare = Compare::new(key, theirs, (Role::Starter, mac), context)?;
                Ok(on(Self::Compare(compare), None))
            }
            Self::Accepted(Accepted { key, mac }) => {
                let ours = outgoing::key(&key.public_key().to_base64());
                let compare = Compare::new(key, theirs, (Role::Acceptor, mac), context)?;
                Ok(on(Self::Compare(compare), Some(ours)))
            }
            Self::Started(_) | Self::Compare(_) | Self::Confirmed(_) => {
                Err(CancelCode::UnexpectedMessage)
            }
        }
    }

    /// Takes their MACs.
    pub(super) fn mac(self, theirs: &Macs, context: Context<'_>) -> Step {
        match self {
            Self::Compare(compare) if compare.theirs.is_none() => {
                let checked = check_macs(&compare.established, compare.mac, context, theirs)?;
                Ok(on(Self::Compare(Compare { theirs: Some(checked), ..compare }), None))
            }
            Self::Confirmed(WaitForMac { established, mac, confirmed }) => {
                let checked = check_macs(&established, mac, context, theirs)?;
                let verified = Verified::new(confirmed, checked);
                Ok(Stepped { sas: Next::Verified(verified), send: Vec::new() })
            }
            Self::Started(_) | Self::KeySent(_) | Self::Accepted(_) | Self::Compare(_) => {
                Err(CancelCode::UnexpectedMessage)
            }
        }
    }

    /// The user says that both sides show the same.
    #[expect(clippy::result_large_err, reason = "what is given back is what was given")]
    pub(super) fn confirm(self, context: Context<'_>) -> Result<Stepped, Self> {
        let Self::Compare(Compare { established, mac, theirs, .. }) = self else {
            return Err(self);
        };
        let confirmed = Confirmed::by_user();
        let send = vec![outgoing::mac(&our_macs(&established, mac, context))];
        let sas = match theirs {
            Some(checked) => Next::Verified(Verified::new(confirmed, checked)),
            None => Next::On(Self::Confirmed(WaitForMac { established, mac, confirmed })),
        };
        Ok(Stepped { sas, send })
    }
}

impl Compare {
    fn new(
        key: Ephemeral,
        theirs: &str,
        (role, mac): (Role, MacVersion),
        context: Context<'_>,
    ) -> Result<Self, CancelCode> {
        let theirs = Curve25519PublicKey::from_base64(theirs);
        let theirs = theirs.ok().ok_or(CancelCode::InvalidMessage)?;
        // Our own key sent back would make both sides show the same whoever stands between.
        if theirs == key.public_key() {
            return Err(CancelCode::KeyMismatch);
        }
        let established = key.diffie_hellman(theirs).ok().ok_or(CancelCode::KeyMismatch)?;
        let short = short(&established, role, context);
        Ok(Self { established, mac, short, theirs: None })
    }
}
