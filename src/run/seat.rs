//! A place at the engine of an account: in this process, or in the one that holds the account.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    account::{self, Chosen},
    context::Context,
    control::{self, Guest, Stay},
    failure::Failure,
    holder::Holder,
    process::EndSignals,
};
use crate::{
    cli::Exit,
    engine::Handle,
    headless::{Errand, HeadlessError},
    store::OpenError,
};

/// How long a holder may take to start or to end before we give up on it.
const HOLDER_TIME: Duration = Duration::from_secs(5);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A place at the engine.
pub(super) enum Seat {
    /// In this process.
    Holder(Holder, Handle),
    /// In another one.
    Guest(Guest),
}

/// What a signal that asks us to end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnSignal {
    /// The work was cut short.
    Fail,
    /// The work is done: it has no other end.
    Done,
}

impl OnSignal {
    /// What a signal makes of the work.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self {
            Self::Fail => Err(Failure::say(Exit::Failed, "interrupted")),
            Self::Done => Ok(()),
        }
    }
}

impl Seat {
    /// Opens the account's store, or goes to the process that has it open.
    ///
    /// # Errors
    /// When the store is locked or broken, or its holder lets nobody in.
    pub(super) async fn take(
        context: &Context,
        chosen: &Chosen,
        stay: Stay,
    ) -> Result<Self, Failure> {
        let socket = control::address(context.paths.control_socket(&chosen.user_id));
        let give_up = Instant::now() + HOLDER_TIME;
        loop {
            let held = match account::open(context, chosen)? {
                Ok(store) => {
                    let (holder, handle) = Holder::start(context, chosen, store)?;
                    return Ok(Self::Holder(holder, handle));
                }
                Err(held) => held,
            };
            match control::connect(&socket, stay).await {
                Ok(Ok(guest)) => return Ok(Self::Guest(guest)),
                Ok(Err(refusal)) => return Err(Failure::say(Exit::Failed, refusal)),
                // It is just starting, or just ending.
                Err(_) if Instant::now() < give_up => sleep(PAUSE).await,
                Err(error) => return Err(unreachable(held, error)),
            }
        }
    }

    /// Does a command's work, and ends the engine if it is ours. The inner result is the work's.
    /// Without `on_signal` the work waits for signals itself, and ends in its own way.
    ///
    /// # Errors
    /// When a signal cut the work short, or the engine ended with an error.
    pub(super) async fn work(
        self,
        patience: Duration,
        on_signal: Option<(OnSignal, &mut EndSignals)>,
        work: impl AsyncFnOnce(&mut Errand) -> Result<(), HeadlessError>,
    ) -> Result<Result<(), HeadlessError>, Failure> {
        let signal = async {
            let Some((meaning, signals)) = on_signal else { return std::future::pending().await };
            signals.wait().await;
            meaning
        };
        match self {
            Self::Holder(holder, handle) => {
                let mut errand = Errand::new(handle, patience);
                let result = tokio::select! {
                    result = work(&mut errand) => Ok(result),
                    meaning = signal => meaning.end().map(Ok),
                };
                let ended = holder.finish(errand.into_handle()).await;
                match (&result, ended) {
                    // What ended the engine says more than that it ended.
                    (Ok(Err(HeadlessError::Gone)), Err(why)) => Err(why),
                    _ => result,
                }
            }
            Self::Guest(guest) => {
                let (handle, pump) = guest.split();
                let mut errand = Errand::new(handle, patience);
                tokio::select! {
                    result = work(&mut errand) => Ok(result),
                    () = pump => Ok(Err(HeadlessError::Gone)),
                    meaning = signal => meaning.end().map(Ok),
                }
            }
        }
    }
}

fn unreachable(held: OpenError, error: std::io::Error) -> Failure {
    let error = anyhow::Error::new(error).context(held);
    Failure::new(
        Exit::Failed,
        error.context("the account is held by a process that takes no commands"),
    )
}
