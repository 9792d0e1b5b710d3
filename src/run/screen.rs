//! The terminal interface: screen on the main thread, engine wherever the account is held.

use std::{
    future::pending,
    io::{self, IsTerminal as _},
    path::Path,
};

use tokio::{
    runtime::Builder,
    sync::mpsc::{Receiver, Sender, channel},
};

use super::{
    account::{self, Chosen},
    context::Context,
    control::Stay,
    failure::Failure,
    seat::Seat,
};
use crate::{
    cli::Exit,
    config::{self, ConfigError},
    engine::{Command, Handle, Update},
    matrix::UserId,
    tui::{
        self, Bell, ColorMode, Disclosure, Keymap, StateLines, Theme, ThemeError, TimelineOptions,
        TuiError, TuiOptions,
    },
};

/// Commands and updates that may wait between screen and engine.
const QUEUE: usize = 64;

/// Shows the screen until the user quits.
///
/// # Errors
/// When there is no terminal, no account, or the engine ends by itself.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::new(Exit::Usage, TuiError::NotATerminal));
    }
    let chosen = account::choose(context)?;
    let options = options(context, &chosen)?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        match Seat::take(context, &chosen, Stay::Long).await? {
            Seat::Holder(holder, mut handle) => {
                let (screen, commands, updates) = apart();
                let shown = tokio::select! {
                    shown = tui::run(screen, options) => shown,
                    () = relay(&mut handle, commands, updates) => Ok(()),
                };
                let ended = holder.finish(handle).await;
                match (shown, ended) {
                    (Ok(()), ended) => ended,
                    (Err(TuiError::EngineEnded { .. }), Err(why)) => Err(why),
                    (Err(error), _) => Err(Failure::new(Exit::Failed, error)),
                }
            }
            Seat::Guest(guest) => {
                let (handle, pump) = guest.split();
                tokio::select! {
                    shown = tui::run(handle, options) => {
                        shown.map_err(|error| Failure::new(Exit::Failed, error))
                    }
                    () = pump => Ok(()),
                }
            }
        }
    })
}

/// A handle for the screen, and its other ends.
fn apart() -> (Handle, Receiver<Command>, Sender<Update>) {
    let (commands, asked) = channel(QUEUE);
    let (told, updates) = channel(QUEUE);
    (Handle { commands, updates }, asked, told)
}

/// Carries commands and updates between screen and engine. That the screen is done does not end
/// the engine: guests may have work in it. Never ends by itself; when the engine is gone the
/// screen's updates end.
async fn relay(handle: &mut Handle, mut asked: Receiver<Command>, told: Sender<Update>) {
    loop {
        tokio::select! {
            Some(command) = asked.recv() => {
                let is_end = command == Command::Shutdown;
                if !is_end && handle.commands.send(command).await.is_err() {
                    break;
                }
            }
            update = handle.updates.recv() => {
                let Some(update) = update else { break };
                if told.send(update).await.is_err() {
                    break;
                }
            }
        }
    }
    drop(told);
    pending::<()>().await;
}

fn options(context: &Context, chosen: &Chosen) -> Result<TuiOptions, Failure> {
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, error);
    let config = &context.config;
    let user_id = UserId::parse(chosen.user_id.as_str()).map_err(|error| failed(error.into()))?;
    let theme = theme(context)?;
    let keymap = Keymap::configured(config, &context.paths.config_file)
        .map_err(|error| failed(error.into()))?;
    Ok(TuiOptions {
        theme,
        keymap,
        timeline: timeline(&config.timeline, config.general.bell),
        downloads: downloads(config.general.downloads.as_deref()),
        ..TuiOptions::new(user_id)
    })
}

/// Where files are saved: as configured, or the desktop's folder for downloads, or the home.
fn downloads(configured: Option<&Path>) -> Option<String> {
    let user = directories::UserDirs::new();
    let of_desktop = || {
        let user = user.as_ref()?;
        Some(user.download_dir().filter(|folder| folder.is_dir()).unwrap_or(user.home_dir()))
    };
    configured.or_else(of_desktop)?.to_str().map(str::to_owned)
}

/// The theme that the configuration names. One that does not exist is told with the place of its
/// name; what is wrong inside a theme's file has a place in that file.
fn theme(context: &Context) -> Result<Theme, Failure> {
    let (general, paths) = (&context.config.general, &context.paths);
    let folder = general.themes_dir.as_deref().unwrap_or(&paths.themes_dir);
    let named = &general.theme;
    let theme = Theme::load(&named.name, Some(folder)).map_err(|error| {
        let is_unknown = matches!(&error, ThemeError::Unknown { name, .. } if *name == named.name);
        match named.place.filter(|_| is_unknown) {
            Some(place) => Failure::new(
                Exit::Failed,
                ConfigError::at(place, &paths.config_file, error.to_string()),
            ),
            None => Failure::new(Exit::Failed, error),
        }
    })?;
    Ok(theme.with_colors(colors()))
}

fn timeline(config: &config::Timeline, bell: config::Bell) -> TimelineOptions {
    let disclosure = |is_on: bool| if is_on { Disclosure::Sent } else { Disclosure::KeptBack };
    TimelineOptions {
        state_lines: match config.state_lines {
            config::StateLines::Folded => StateLines::Folded,
            config::StateLines::Hidden => StateLines::Hidden,
        },
        read_receipts: disclosure(config.read_receipts),
        typing_notices: disclosure(config.typing_notices),
        page_size: config.page_size,
        bell: match bell {
            config::Bell::Never => Bell::Never,
            config::Bell::Mentions => Bell::Mentions,
            config::Bell::Messages => Bell::Messages,
        },
        ..TimelineOptions::default()
    }
}

/// What `NO_COLOR` asks for (<https://no-color.org>).
pub(super) fn colors() -> ColorMode {
    let asked = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if asked { ColorMode::None } else { ColorMode::Full }
}
