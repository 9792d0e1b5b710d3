//! Asks for new access tokens. The engine knows when, whoever starts it knows how: HTTP is not the
//! engine's business.

use std::{fmt, pin::Pin, sync::Arc};

use crate::engine::{RenewError, Renewal, Tokens};

/// The answer to a question for new tokens; dropped, the question is given up.
pub type Renewing = Pin<Box<dyn Future<Output = Result<Tokens, RenewError>>>>;

type Renew = dyn Fn(Renewal) -> Renewing + Send + Sync;

/// What asks for new tokens.
#[derive(Clone)]
pub struct Renewer(Arc<Renew>);

impl Renewer {
    /// Takes the function that asks; its futures run on the engine's thread.
    pub fn new(renew: impl Fn(Renewal) -> Renewing + Send + Sync + 'static) -> Self {
        Self(Arc::new(renew))
    }

    /// For logins whose tokens stay.
    pub fn none() -> Self {
        let words = "this program was started without a way to renew tokens";
        Self::new(move |_| Box::pin(std::future::ready(Err(RenewError::Later(words.to_owned())))))
    }

    pub(super) fn renew(&self, renewal: Renewal) -> Renewing {
        (self.0)(renewal)
    }
}

impl fmt::Debug for Renewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewer(..)")
    }
}
