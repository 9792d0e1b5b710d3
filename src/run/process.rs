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
