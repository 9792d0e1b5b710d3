//! What the command line says.

use anyhow::{Context, Result, bail};
use matrix_sdk_crypto::{CollectStrategy, TrustRequirement};

/// How a peer is to behave.
pub struct Options {
    pub base: String,
    pub user: String,
    pub password: String,
    pub echo: bool,
    pub join: bool,
    pub share_with: CollectStrategy,
    pub read: TrustRequirement,
    pub ask_keys: bool,
    pub forward_keys: bool,
}

impl Options {
    /// Reads the arguments; those of the file system are for other peers.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut next =
            || arguments.next().context("usage: sdk-peer BASE USER PASSWORD DIR [OPTION…]");
        let (base, user, password, _folder) = (next()?, next()?, next()?, next()?);
        let mut options = Self {
            base,
            user,
            password,
            echo: false,
            join: true,
            share_with: CollectStrategy::AllDevices,
            read: TrustRequirement::Untrusted,
            ask_keys: false,
            forward_keys: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--echo" => options.echo = true,
                "--no-join" => options.join = false,
                "--ask-keys" => options.ask_keys = true,
                "--forward-keys" => options.forward_keys = true,
                "--share-with" => {
                    options.share_with = match arguments.next().as_deref() {
                        Some("cross-signed") => CollectStrategy::IdentityBasedStrategy,
                        Some("trusted") => CollectStrategy::OnlyTrustedDevices,
                        Some("all") => CollectStrategy::AllDevices,
                        Some("all-but-changed") => CollectStrategy::ErrorOnVerifiedUserProblem,
                        other => bail!("--share-with {other:?}"),
                    }
                }
                "--read" => {
                    options.read = match arguments.next().as_deref() {
                        Some("cross-signed") => TrustRequirement::CrossSigned,
                        Some("all") => TrustRequirement::Untrusted,
                        other => bail!("--read {other:?}"),
                    }
                }
                other => bail!("unknown option {other}"),
            }
        }
        Ok(options)
    }
}
