//! What whoever starts the engine decides.

use super::Renewer;
use crate::e2ee::KeyForwarding;

/// How the engine is to run.
#[derive(Clone, Debug)]
pub struct DriveOptions {
    /// Asks for new access tokens.
    pub renewer: Renewer,
    /// Whether room keys are asked of our other devices and handed to them.
    pub key_forwarding: KeyForwarding,
}

impl Default for DriveOptions {
    /// Tokens stay, and no key is asked for.
    fn default() -> Self {
        Self { renewer: Renewer::none(), key_forwarding: KeyForwarding::Off }
    }
}
