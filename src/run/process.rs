//! What holds for the whole process: no core dumps, files for the owner alone, and how the system
//! asks it to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Turns core dumps off and makes every new file the owner's alone. What the system refuses is not
/// worth failing for.
pub(super) fn harden() {
    use rustix::process::{Resource, Rlimit, setrlimit, umask};
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, nothing).unwrap_or_default();
    #[cfg(target_os = "linux")]
    {
        // Cores that go to a program ignore the limit; this also keeps debuggers of the same user
        // away from keys and tokens.
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or_default();
    }
}

/// Allows the process as many open files as the system lets it have, and says how many that are;
/// `None` when there is no limit.
pub(super) fn files() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where the system refuses that, as macOS does, the old limit holds.
    setrlimit(Resource::Nofile, raised).unwrap_or_default();
    let files = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(files).unwrap_or(usize::MAX))
}

/// The signals that ask a process to end.
#[derive(Debug)]
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl EndSignals {
    /// Takes them over from the system; needs a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the first of them. Cancel-safe.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
