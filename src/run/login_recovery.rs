//! The end of a login where somebody can be asked: the recovery key, so that this device is signed
//! and old messages can be read. Whatever comes of it, the login stands.

use tokio::runtime::Runtime;

use super::{
    context::Context,
    failure::Failure,
    holder::Ground,
    process::EndSignals,
    recovery::{Ticker, offer},
    secrets::{self, say, warn},
    start,
};
use crate::{
    cli::Exit,
    engine::{RecoveryState, SecretText},
    headless::{self, Errand},
    store::Store,
};

const LATER: &str = "Old messages can be read after: grotto recover";

/// Asks, and recovers, until it is done or left for later.
pub(super) fn ask(
    context: &Context,
    runtime: &Runtime,
    state: Option<&RecoveryState>,
    begin: impl Fn() -> Result<(Ground, Store), Failure>,
) {
    if context.global.json || !secrets::can_ask() {
        return;
    }
    match state {
        Some(RecoveryState::NeedsSetup) => {
            return say("Make a recovery key, to read your messages on other devices too: grotto \
                        setup-recovery");
        }
        Some(state) if headless::can_be_typed(state) => {}
        Some(RecoveryState::NeedsRecovery { .. }) => {
            return say("This device is not signed yet: verify it with another one of yours");
        }
        Some(_) | None => return,
    }
    say("This account has a recovery key: with it, this device is signed and old messages can be \
         read.");
    loop {
        match offer() {
            Ok(Some(secret)) => {
                let done = begin().and_then(|begun| {
                    runtime.block_on(async { recover(context, begun, secret).await })
                });
                let Err(failure) = done else { return };
                warn(&failure.words());
                if failure.exit() != Exit::Failed {
                    return say(LATER);
                }
            }
            Ok(None) | Err(_) => return say(LATER),
        }
    }
}

async fn recover(
    context: &Context,
    (ground, store): (Ground, Store),
    secret: SecretText,
) -> Result<(), Failure> {
    let mut signals = EndSignals::install()?;
    let (holder, handle) = ground.hold(store, &context.config.encryption)?;
    let mut errand = Errand::new(handle, context.global.timeout);
    let mut ticker = Ticker::new(&context.global);
    let mut output = start::output(&context.global);
    let done = {
        let progress = &mut |words: Option<&str>| ticker.show(words);
        let recovered = headless::recover(&mut errand, &mut output, secret, progress);
        tokio::select! {
            recovered = recovered => super::commands::verdict(recovered),
            () = signals.wait() => Err(Failure::say(Exit::Unreachable, "interrupted")),
        }
    };
    drop(ticker);
    let ended = holder.finish(errand.into_handle()).await;
    done.and(ended)
}
