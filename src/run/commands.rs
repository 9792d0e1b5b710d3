//! Commands that work at an engine, here or in the process that holds the account.

use std::{io::Read as _, time::Duration};

use tokio::{runtime::Builder, time::Instant};

use super::{
    account,
    context::Context,
    control::Stay,
    failure::Failure,
    process::EndSignals,
    recovery::{self, Ticker},
    seat::{OnSignal, Seat},
    secrets, start,
    trust::TrustWork,
};
use crate::{
    cli::{
        Command, CreateArgs, DownloadArgs, Exit, FileOrStdin, KeyFileArgs, KeysCommand, SendArgs,
        SetupRecoveryArgs, TailArgs,
    },
    engine::{SecretText, inspect_file},
    headless::{
        self, Destination, DownloadOptions, Encryption, Errand, HeadlessError, HistoryOptions,
        KeyFileOptions, Making, NewRoom, Output, SendOptions, Sending, Start, TailOptions,
    },
    matrix::{OwnedEventId, OwnedUserId},
    rooms::{Form, Markup, RoomKind, Target, Typed},
    secret::Secret,
};

/// Longest message taken from standard input, in bytes. One event holds less; the engine says so.
const MAX_STDIN_BYTES: u64 = 256 << 10;

/// Work for an engine, with everything that is read beforehand.
enum Work {
    Rooms,
    Create(NewRoom),
    Join(String),
    Leave(String),
    Invite(String, OwnedUserId),
    Send(SendOptions),
    Download(DownloadOptions),
    Tail(TailOptions),
    History(HistoryOptions),
    KeyStatus,
    KeyStory(String, OwnedEventId),
    ExportKeys(KeyFileOptions),
    ImportKeys(KeyFileOptions),
    Trust(TrustWork),
    Recover(SecretText),
    SetUpRecovery(Making),
}

impl Work {
    /// Whether doing it twice is the same as once. A message has a name that makes it so.
    fn may_be_repeated(&self) -> bool {
        match self {
            Self::Rooms
            | Self::Send(_)
            | Self::Download(_)
            | Self::Tail(_)
            | Self::History(_)
            | Self::KeyStatus
            | Self::ImportKeys(_)
            | Self::KeyStory(..)
            | Self::Recover(_)
            | Self::SetUpRecovery(Making::Missing) => true,
            Self::SetUpRecovery(Making::NewKey)
            | Self::ExportKeys(_)
            | Self::Create(_)
            | Self::Join(_)
            | Self::Leave(_)
            | Self::Invite(..) => false,
            Self::Trust(work) => work.may_be_repeated(),
        }
    }

    /// What to say when no process could do it in time.
    fn given_up(&self, after: Duration) -> HeadlessError {
        match self {
            Self::Send(options) => HeadlessError::Unsure { after, txn: options.txn.clone() },
            Self::Rooms
            | Self::Download(_)
            | Self::Tail(_)
            | Self::History(_)
            | Self::KeyStatus
            | Self::KeyStory(..)
            | Self::ExportKeys(_)
            | Self::ImportKeys(_)
            | Self::Trust(_)
            | Self::Recover(_)
            | Self::SetUpRecovery(_)
            | Self::Create(_)
            | Self::Join(_)
            | Self::Leave(_)
            | Self::Invite(..) => HeadlessError::Gone,
        }
    }
}

/// Does a command's work.
///
/// # Errors
/// With words and exit code.
pub(super) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let chosen = account::choose(context)?;
    let mut work = work(context, command)?;
    let mut output = start::output(&context.global);
    let is_tail = matches!(work, Work::Tail(_));
    let (stay, on_signal) =
        if is_tail { (Stay::Long, OnSignal::Done) } else { (Stay::Brief, OnSignal::Fail) };
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let give_up = Instant::now() + context.global.timeout;
        let mut was_cut_off = false;
        // Once for all seats: one that comes between two must not be lost.
        let mut signals = EndSignals::install()?;
        loop {
            let taken = tokio::select! {
                taken = Seat::take(context, &chosen, stay) => taken,
                () = signals.wait() => return on_signal.end(),
            };
            let seat = match taken {
                Err(failure) if was_cut_off && failure.exit() == Exit::Failed => {
                    return verdict(Err(work.given_up(context.global.timeout)));
                }
                seat => seat?,
            };
            let was_guest = matches!(seat, Seat::Guest(_));
            let left = give_up.saturating_duration_since(Instant::now());
            let patience = if is_tail { context.global.timeout } else { left };
            let result = seat
                .work(patience, Some((on_signal, &mut signals)), async |errand| {
                    let mut ticker = Ticker::new(&context.global);
                    perform(&work, errand, (&mut output, &mut ticker)).await
                })
                .await?;
            match (result, &mut work) {
                // The holder ended: hold the account from here on, and go on where it stopped.
                (Err(HeadlessError::Gone), Work::Tail(options)) if was_guest => {
                    options.start = Start::Missed;
                }
                (Err(HeadlessError::Gone), work)
                    if was_guest && work.may_be_repeated() && Instant::now() < give_up =>
                {
                    was_cut_off = true;
                }
                (Err(error), work) if was_cut_off && error.is_open() => {
                    return verdict(Err(work.given_up(context.global.timeout)));
                }
                (result, _) => return verdict(result),
            }
        }
    })
}

/// What a command's end means for the shell.
pub(super) fn verdict(result: Result<(), HeadlessError>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.is_closed_pipe() => Ok(()),
        Err(error) if error.is_unreachable() => Err(Failure::new(Exit::Unreachable, error)),
        Err(error) if error.is_refused_by_policy() => Err(Failure::new(Exit::Refused, error)),
        Err(error) => Err(Failure::new(Exit::Failed, error)),
    }
}

#[expect(clippy::cognitive_complexity, reason = "one arm for each command")]
async fn perform(
    work: &Work,
    errand: &mut Errand,
    (output, ticker): (&mut Output, &mut Ticker),
) -> Result<(), HeadlessError> {
    match work {
        Work::Rooms => headless::rooms(errand, output).await,
        Work::Create(new) => headless::create(errand, output, new.clone()).await,
        Work::Join(room) => headless::join(errand, output, room).await,
        Work::Leave(room) => headless::leave(errand, output, room).await,
        Work::Invite(room, user) => headless::invite(errand, output, room, user.clone()).await,
        Work::Send(options) => headless::send(errand, output, options.clone()).await,
        Work::ExportKeys(options) => headless::export_keys(errand, output, options).await,
        Work::ImportKeys(options) => headless::import_keys(errand, output, options).await,
        Work::Download(options) => headless::download(errand, output, options).await,
        Work::Tail(options) => headless::tail(errand, output, options).await,
        Work::History(options) => headless::history(errand, output, options.clone()).await,
        Work::Trust(work) => work.perform(errand, output).await,
        Work::KeyStatus => headless::key_status(errand, output).await,
        Work::KeyStory(room, event) => {
            headless::key_story(errand, output, room, event.clone()).await
        }
        Work::Recover(secret) => {
            let progress = &mut |words: Option<&str>| ticker.show(words);
            headless::recover(errand, output, secret.clone(), progress).await
        }
        Work::SetUpRecovery(making) => {
            let progress = &mut |words: Option<&str>| ticker.show(words);
            headless::set_up_recovery(errand, output, *making, progress).await
        }
    }
}

fn work(context: &Context, command: Command) -> Result<Work, Failure> {
    Ok(match command {
        Command::Rooms => Work::Rooms,
        Command::Create(arguments) => Work::Create(new_room(arguments)),
        Command::Join(arguments) => Work::Join(arguments.room),
        Command::Leave(arguments) => Work::Leave(arguments.room),
        Command::Invite(arguments) => Work::Invite(arguments.room, arguments.user),
        Command::Send(arguments) => Work::Send(message(arguments)?),
        Command::Download(arguments) => Work::Download(download(context, arguments)?),
        Command::Tail(arguments) => Work::Tail(tail(arguments)),
        Command::History(arguments) => Work::History(HistoryOptions {
            room: arguments.room,
            limit: arguments.limit,
            before: arguments.before,
        }),
        Command::Recover(arguments) => {
            Work::Recover(recovery::recovery_key(arguments.recovery_key_file.as_ref())?)
        }
        Command::SetupRecovery(SetupRecoveryArgs { new_key: true }) => {
            Work::SetUpRecovery(Making::NewKey)
        }
        Command::SetupRecovery(SetupRecoveryArgs { new_key: false }) => {
            Work::SetUpRecovery(Making::Missing)
        }
        Command::Keys(KeysCommand::Status) => Work::KeyStatus,
        Command::Keys(KeysCommand::Export(arguments)) => {
            if arguments.file.exists() {
                let file = arguments.file.display();
                let words = format!("{file} exists already: choose another name");
                return Err(Failure::say(Exit::Failed, words));
            }
            let ask = || secrets::ask_new("Passphrase for the key file: ");
            Work::ExportKeys(key_file(arguments, ask)?)
        }
        Command::Keys(KeysCommand::Import(arguments)) => {
            if !arguments.file.exists() {
                let words = format!("there is no file {}", arguments.file.display());
                return Err(Failure::say(Exit::Failed, words));
            }
            let ask = || secrets::ask("Passphrase of the key file: ");
            Work::ImportKeys(key_file(arguments, ask)?)
        }
        Command::Keys(KeysCommand::Why(arguments)) => {
            Work::KeyStory(arguments.room, arguments.event)
        }
        Command::Policy(arguments) => Work::Trust(TrustWork::policy(arguments)),
        Command::Devices(arguments) => Work::Trust(TrustWork::devices(arguments)?),
        Command::Trust(arguments) => Work::Trust(TrustWork::trust(arguments)),
        Command::ResetIdentity(arguments) => Work::Trust(TrustWork::reset(&arguments)?),
        Command::Login(_)
        | Command::Logout(_)
        | Command::Passphrase(_)
        | Command::Gateway(_)
        | Command::Serve(_)
        | Command::Demo
        | Command::Verify(_)
        | Command::Completions { .. }
        | Command::Man => return Err(Failure::say(Exit::Usage, "this command needs no engine")),
    })
}

fn new_room(arguments: CreateArgs) -> NewRoom {
    NewRoom {
        name: arguments.name,
        invite: arguments.invite,
        kind: if arguments.dm { RoomKind::Dm } else { RoomKind::Group },
        encryption: if arguments.unencrypted { Encryption::Off } else { Encryption::On },
    }
}

fn download(context: &Context, arguments: DownloadArgs) -> Result<DownloadOptions, Failure> {
    let to = match arguments.to {
        FileOrStdin::File(path) => Destination::Path(path),
        FileOrStdin::Stdin if context.global.json => {
            let words = "--to - writes the file to standard output, where --json would write too";
            return Err(Failure::say(Exit::Usage, words));
        }
        FileOrStdin::Stdin => Destination::Stdout { spool: context.paths.data_dir.clone() },
    };
    Ok(DownloadOptions { room: arguments.room, event: arguments.event, to })
}

/// A key file and its passphrase, which is read or asked for.
fn key_file(
    arguments: KeyFileArgs,
    ask: impl FnOnce() -> Result<Option<Secret<String>>, Failure>,
) -> Result<KeyFileOptions, Failure> {
    let passphrase = match &arguments.file_passphrase_file {
        Some(from) => Some(secrets::read(from)?),
        None => ask()?,
    };
    match passphrase {
        Some(passphrase) if !passphrase.expose().is_empty() => {
            Ok(KeyFileOptions { path: arguments.file, passphrase: passphrase.into() })
        }
        Some(_) => Err(Failure::say(Exit::Usage, "a key file needs a passphrase")),
        None => {
            let words = "a key file needs a passphrase; give --file-passphrase-file";
            Err(Failure::say(Exit::Usage, words))
        }
    }
}

fn tail(arguments: TailArgs) -> TailOptions {
    let start = match (arguments.backlog, arguments.since_start) {
        (Some(limit), _) => Start::Backlog(limit),
        (None, true) => Start::Now,
        (None, false) => Start::Missed,
    };
    TailOptions { rooms: arguments.rooms, start }
}

fn message(arguments: SendArgs) -> Result<SendOptions, Failure> {
    let reaction = arguments.reaction().map_err(|wrong| Failure::say(Exit::Usage, wrong))?;
    let txn = match arguments.txn.clone() {
        Some(txn) => txn,
        None => headless::fresh_transaction().map_err(|error| Failure::new(Exit::Failed, error))?,
    };
    if let Some(reaction) = reaction {
        let what = Sending::Reaction { key: reaction.key, event: reaction.event };
        return Ok(SendOptions { room: arguments.room, what, txn });
    }
    let form = match (arguments.notice, arguments.emote) {
        (true, _) => Form::Notice,
        (false, true) => Form::Emote,
        (false, false) => Form::Text,
    };
    let target = match (arguments.edit, arguments.thread, arguments.reply) {
        (Some(event), _, _) => Target::Edit(event),
        (None, Some(root), reply) => Target::Thread { root, reply },
        (None, None, Some(event)) => Target::Reply(event),
        (None, None, None) => Target::None,
    };
    let facts = arguments.file.as_deref().map(inspect_file).transpose();
    let facts = facts.map_err(|error| Failure::new(Exit::Failed, error))?;
    let text = match arguments.text.as_deref() {
        None if facts.is_some() => String::new(),
        Some("-") | None => standard_input()?,
        Some(text) => text.to_owned(),
    };
    let markup = if arguments.plain { Markup::Plain } else { Markup::Markdown };
    let typed = Typed { text, form, markup, target, mentions: Vec::new() };
    let what = match facts {
        Some(facts) => Sending::File(facts, typed),
        None => Sending::Message(typed),
    };
    Ok(SendOptions { room: arguments.room, what, txn })
}

/// All of standard input, without the line end at its end.
fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_STDIN_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::new(Exit::Failed, HeadlessError::Input(error)))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_STDIN_BYTES {
        let words = format!("the message is longer than {MAX_STDIN_BYTES} bytes; nothing was sent");
        return Err(Failure::say(Exit::Failed, words));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
