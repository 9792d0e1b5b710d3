//! The loop: waits in one place for keys, updates, signals and time, takes in all that is ready,
//! and draws only when something changed, 60 times a second at most.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use super::{
    files,
    input::Input,
    key_stream::KeyStream,
    options::{Handle, TuiError, TuiOptions},
    state::State,
    terminal::Screen,
    theme::Theme,
    update::{Effects, TerminalEffect, update},
    view,
};
use crate::{
    engine::{Command, Update},
    time::Timestamp,
};

/// The shortest time in which two frames are drawn. The second may follow at once: what a key asked
/// of the engine comes a few milliseconds after the frame that the key caused.
const TWO_FRAMES: Duration = Duration::from_millis(32);
/// How many updates are taken in before a frame is drawn all the same.
const BURST: usize = 1024;

/// Shows the screen until the user quits, a signal asks to end, or the engine ends. Sends
/// [`Command::Shutdown`] when it ends by the user's wish.
///
/// Needs a tokio runtime with time and I/O, and must be called on the thread that owns the
/// terminal.
///
/// # Errors
/// When there is no terminal, it is lost, or the engine ended by itself.
pub async fn run(mut handle: Handle, options: TuiOptions) -> Result<(), TuiError> {
    let mut signals = Signals::install()?;
    let mut screen = Screen::take()?;
    let theme = options.theme.clone();
    let mut state =
        State::new(options, Screen::size()?, RandomState::new().build_hasher().finish());
    let mut keys = KeyStream::new();
    let mut pace = Pace { drawn: [None; 2], is_due: true };
    loop {
        let deadline = wake(&state, &pace);
        let first = tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Signal::End => Some(Input::EndRequested),
                Signal::Suspend => { suspend(&mut screen)?; pace.is_due = true; None }
                Signal::Continued => { screen.retake()?; pace.is_due = true; None }
            },
            // Both streams are cancel-safe: an event not taken stays in them.
            input = keys.next() => Some(input?.unwrap_or(Input::EndRequested)),
            told = handle.updates.recv() => Some(Input::Update(told.unwrap_or_else(gone))),
            () = tokio::time::sleep_until(deadline) => Some(Input::Tick),
        };
        let mut next = first;
        for _ in 0..BURST {
            let Some(input) = next else { break };
            pace.is_due = true;
            let effects = update(&mut state, input, now());
            if let Ended::Yes = carry_out(effects, &mut state, &handle, &mut screen)? {
                return end(&state, &handle).await;
            }
            next = ready(&mut keys, &mut handle).await?;
        }
        if pace.may_draw() {
            let effects = update(&mut state, Input::Prepare, now());
            carry_out(effects, &mut state, &handle, &mut screen)?;
            draw(&mut screen, &state, &theme)?;
            let effects = update(&mut state, Input::Drawn, now());
            carry_out(effects, &mut state, &handle, &mut screen)?;
            let [_, last] = pace.drawn;
            pace = Pace { drawn: [last, Some(Instant::now())], is_due: false };
        }
    }
}

/// Whether the loop is over.
enum Ended {
    No,
    Yes,
}

/// When the last two frames were drawn, the older first, and whether another is wanted.
struct Pace {
    drawn: [Option<Instant>; 2],
    is_due: bool,
}

impl Pace {
    fn next_slot(&self) -> Option<Instant> {
        let [older, _] = self.drawn;
        older.map(|drawn| drawn + TWO_FRAMES)
    }

    fn may_draw(&self) -> bool {
        self.is_due && self.next_slot().is_none_or(|slot| slot <= Instant::now())
    }
}

/// When the loop must go on by itself.
fn wake(state: &State, pace: &Pace) -> Instant {
    let asked = state.deadline().map(|at| Instant::now() + at.since(now()));
    let slot = if pace.is_due { Some(pace.next_slot().unwrap_or_else(Instant::now)) } else { None };
    let far = Instant::now() + Duration::from_secs(3600);
    asked.into_iter().chain(slot).fold(far, Instant::min)
}

/// What is there without waiting: keys first.
async fn ready(keys: &mut KeyStream, handle: &mut Handle) -> Result<Option<Input>, TuiError> {
    match keys.ready().await? {
        Some(input) => Ok(Some(input)),
        None => Ok(handle.updates.try_recv().ok().map(Input::Update)),
    }
}

fn gone() -> Update {
    Update::Ended { reason: "the engine stopped; the log says where".to_owned() }
}

fn carry_out(
    effects: Effects,
    state: &mut State,
    handle: &Handle,
    screen: &mut Screen,
) -> Result<Ended, TuiError> {
    let mut refused = Vec::new();
    for command in effects.commands {
        if let Err(error) = handle.commands.try_send(command) {
            refused.push(Input::Refused(error.into_inner()));
        }
    }
    for input in refused {
        // What follows from a refusal is words on the screen, no commands.
        drop(update(state, input, now()));
    }
    let mut answers = Vec::new();
    for effect in effects.terminal {
        match effect {
            TerminalEffect::Quit => return Ok(Ended::Yes),
            TerminalEffect::Suspend => suspend(screen)?,
            TerminalEffect::Redraw => screen.forget(),
            TerminalEffect::Ring => Screen::ring()?,
            TerminalEffect::Copy(text) => Screen::copy(&text)?,
            TerminalEffect::Inspect(path) => answers.push(Input::Inspected(files::inspect(&path))),
            TerminalEffect::Complete(typed) => {
                let names = files::continuations(&typed);
                answers.push(Input::Continuations { typed, names });
            }
        }
    }
    for answer in answers {
        let effects = update(state, answer, now());
        if let Ended::Yes = carry_out(effects, state, handle, screen)? {
            return Ok(Ended::Yes);
        }
    }
    Ok(Ended::No)
}

async fn end(state: &State, handle: &Handle) -> Result<(), TuiError> {
    if let Some(reason) = state.ended() {
        return Err(TuiError::EngineEnded { reason: reason.to_owned() });
    }
    // A closed channel means that the engine is ending already.
    drop(handle.commands.send(Command::Shutdown).await);
    Ok(())
}

fn draw(screen: &mut Screen, state: &State, theme: &Theme) -> Result<(), TuiError> {
    screen.draw(state.size(), |cells| view::draw(state, theme, cells))?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the loop is the screen's only reader of the clock")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}

/// What the system wants of us.
enum Signal {
    End,
    Suspend,
    Continued,
}

/// Gives the terminal to the shell and stops until it calls us back.
fn suspend(screen: &mut Screen) -> Result<(), TuiError> {
    Screen::release();
    stop_here();
    screen.retake()?;
    Ok(())
}

#[cfg(unix)]
fn stop_here() {
    // The whole group, so that a script that started us stops with us. STOP, because TSTP is ours.
    let stop = rustix::process::Signal::STOP;
    if rustix::process::kill_current_process_group(stop).is_err() {
        tracing::warn!("the process group could not be stopped");
    }
}

#[cfg(not(unix))]
fn stop_here() {}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    stop: tokio::signal::unix::Signal,
    go_on: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn install() -> Result<Self, TuiError> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            stop: signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
            go_on: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::End,
            _ = self.terminate.recv() => Signal::End,
            _ = self.hangup.recv() => Signal::End,
            _ = self.stop.recv() => Signal::Suspend,
            _ = self.go_on.recv() => Signal::Continued,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn install() -> Result<Self, TuiError> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        drop(tokio::signal::ctrl_c().await);
        Signal::End
    }
}
