//! The short string that people compare, and the MACs over keys, both derived from the shared
//! secret.
//!
//! # Spec
//! Client-Server API, "SAS HKDF calculation", "MAC calculation".

use std::collections::BTreeMap;

use subtle::ConstantTimeEq as _;
use vodozemac::{
    Curve25519PublicKey,
    sas::{EstablishedSas, SasBytes},
};

use super::{
    code::CancelCode,
    content::{MAC_V1, MAC_V2},
    emoji::Emoji,
    keys::{Bound, OwnTrust, Side},
    proof::{Checked, Checks, KeysChecked},
};

/// How MACs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MacVersion {
    /// In the base64 that libolm got wrong; for peers that know no better.
    V1,
    V2,
}

impl MacVersion {
    /// The best that is on offer.
    pub(super) fn best(offered: &[String]) -> Option<Self> {
        [Self::V2, Self::V1].into_iter().find(|it| offered.iter().any(|name| name == it.as_str()))
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            MAC_V2 => Some(Self::V2),
            MAC_V1 => Some(Self::V1),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V1 => MAC_V1,
            Self::V2 => MAC_V2,
        }
    }
}

/// What both sides see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) emoji: Vec<Emoji>,
    pub(super) decimals: [u16; 3],
}

impl Short {
    fn of(bytes: &SasBytes) -> Self {
        let (one, two, three) = bytes.decimals();
        let emoji = bytes.emoji_indices().into_iter().filter_map(Emoji::of).collect();
        Self { emoji, decimals: [one, two, three] }
    }
}

/// Which side began the exchange of keys: it stands first in the short string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Starter,
    Acceptor,
}

/// The HKDF info of the short string.
pub(super) fn short_info(
    starter: (&Side, &Curve25519PublicKey),
    acceptor: (&Side, &Curve25519PublicKey),
    flow: &str,
) -> String {
    let part = |(side, key): (&Side, &Curve25519PublicKey)| {
        format!("{}|{}|{}", side.user, side.device, key.to_base64())
    };
    format!("MATRIX_KEY_VERIFICATION_SAS|{}|{}|{flow}", part(starter), part(acceptor))
}

/// The short string of both sides.
pub(super) fn short(
    established: &EstablishedSas,
    role: Role,
    (bound, flow): (&Bound, &str),
) -> Short {
    let (ours, theirs) = (established.our_public_key(), established.their_public_key());
    let (us, them) = ((&bound.us, &ours), (&bound.them, &theirs));
    let info = match role {
        Role::Starter => short_info(us, them, flow),
        Role::Acceptor => short_info(them, us, flow),
    };
    Short::of(&established.bytes(&info))
}

fn mac(established: &EstablishedSas, version: MacVersion, input: &str, info: &str) -> String {
    match version {
        MacVersion::V1 => established.calculate_mac_invalid_base64(input, info),
        MacVersion::V2 => established.calculate_mac(input, info).to_base64(),
    }
}

/// The info of MACs that `from` sends to `to`.
fn mac_info(from: &Side, to: &Side, flow: &str) -> String {
    let parts = [
        "MATRIX_KEY_VERIFICATION_MAC",
        from.user.as_str(),
        from.device.as_str(),
        to.user.as_str(),
        to.device.as_str(),
        flow,
    ];
    parts.concat()
}

/// MACs of one side's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Macs {
    pub(super) macs: BTreeMap<String, String>,
    pub(super) keys: String,
}

/// The MACs over our keys: this device's, and our master key if this device trusts it.
pub(super) fn our_macs(
    established: &EstablishedSas,
    version: MacVersion,
    (bound, flow): (&Bound, &str),
) -> Macs {
    let us = &bound.us;
    let info = mac_info(us, &bound.them, flow);
    let mut keys = BTreeMap::from([(format!("ed25519:{}", us.device), us.ed25519.to_base64())]);
    if let (OwnTrust::Verified, Some(master)) = (bound.trust, &us.master) {
        keys.insert(format!("ed25519:{master}"), master.clone());
    }
    let ids = keys.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    let macs = keys
        .iter()
        .map(|(id, key)| (id.clone(), mac(established, version, key, &format!("{info}{id}"))));
    let macs = macs.collect();
    Macs { macs, keys: mac(established, version, &ids, &format!("{info}KEY_IDS")) }
}

/// Checks the MACs of the other side against the keys that were bound.
pub(super) fn check_macs(
    established: &EstablishedSas,
    version: MacVersion,
    (bound, flow): (&Bound, &str),
    theirs: &Macs,
) -> Result<KeysChecked, CancelCode> {
    let them = &bound.them;
    let info = mac_info(them, &bound.us, flow);
    let ids = theirs.macs.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    let expected = mac(established, version, &ids, &format!("{info}KEY_IDS"));
    if !bool::from(expected.as_bytes().ct_eq(theirs.keys.as_bytes())) || them.is_ambiguous() {
        return Err(CancelCode::KeyMismatch);
    }
    let mut checks = Checks::default();
    for (id, shown) in &theirs.macs {
        let Some(name) = id.strip_prefix("ed25519:") else { continue };
        let (what, key) = if name == them.device.as_str() {
            (Checked::Device, them.ed25519.to_base64())
        } else if let Some(master) = them.master.as_deref().filter(|master| *master == name) {
            (Checked::Master, master.to_owned())
        } else {
            continue;
        };
        let expected = mac(established, version, &key, &format!("{info}{id}"));
        if !checks.check(what, expected.as_bytes(), shown.as_bytes()) {
            return Err(CancelCode::KeyMismatch);
        }
    }
    checks.suffice(bound).ok_or(CancelCode::KeyMismatch)
}
