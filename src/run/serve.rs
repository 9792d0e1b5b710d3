//! `grotto serve`: the embedded homeserver, and what is done to its data.

use std::{fmt::Write as _, net::IpAddr, path::Path, time::Duration};

use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Builder;

use super::{context, failure::Failure, process, secrets};
use crate::{
    cli::{Exit, FileOrStdin, Global, ServeArgs, ServeCommand, ServeRunArgs},
    config::{ContactConfig, ContactRole, LogLevel, RateConfig, ServerConfig},
    gateway::{ListenOptions, Listener, TlsFiles, terminated},
    headless::Output,
    logging,
    matrix::SafeText,
    secret::Secret,
    server::{
        Admin, AdminDone, AdminJob, Contact, Folder, Model, Rate, Rates, Registration, Server,
        Settings, Site, UserLine,
    },
    wire::Limits,
};

/// Files for everything but connections.
const SPARE_FILES: usize = 64;
/// How long the first invitation holds.
const FIRST_INVITE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Name of the file in a server's folder that says how it is set up.
const CONFIG: &str = "server.toml";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Serves until it is asked to end, or does something with a server's data.
///
/// # Errors
/// When an option is wrong, the folder cannot be used, or the address is taken.
pub(super) fn run(
    arguments: &ServeArgs,
    global: &Global,
    output: &mut Output,
) -> Result<(), Failure> {
    match &arguments.command {
        None => {
            let level = context::level(LogLevel::Info, global.verbose);
            logging::start_service(level).map_err(failed)?;
            serve(&arguments.run, output)
        }
        Some(command) => administer(command, output),
    }
}

/// What is printed once it listens.
#[derive(Serialize)]
struct Serving {
    name: String,
    listening: String,
    url: String,
    /// For the first account; on a server that has one, `serve invite` makes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    invite: Option<String>,
    /// Where the address leads here, in words.
    #[serde(skip)]
    place: &'static str,
    /// The folder, as it was given.
    #[serde(skip)]
    data: String,
}

fn serve(arguments: &ServeRunArgs, output: &mut Output) -> Result<(), Failure> {
    let config = ServerConfig::load(&arguments.data.join(CONFIG)).map_err(failed)?;
    let folder = Folder::lock(&arguments.data).map_err(failed)?;
    let mut admin = Admin::of(folder.database().map_err(failed)?);
    let settle = AdminJob::Settle { name: arguments.name.clone() };
    let AdminDone::Settled { name, is_new } = admin.perform(settle).map_err(failed)? else {
        return Err(Failure::say(Exit::Failed, "the server has no name"));
    };
    let settings = settings(&config, name.clone());
    let needs_invite = is_new && settings.registration == Registration::ByInvite;
    let invite = if needs_invite { Some(invite(&mut admin, FIRST_INVITE)?) } else { None };
    let server = Server::start(Model::new(settings), admin.into_database()).map_err(failed)?;
    let proxies = config.network.trusted_proxies.clone();
    let site = Site::new(server, limits(&config)).behind(proxies);
    let tls = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let listen = ListenOptions {
        address: arguments.listen,
        tls: tls.map(|(certificates, key)| TlsFiles { certificates, key }),
    };
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = Listener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr()?;
        let place = place(config.public.url.as_deref(), address.ip());
        let url = config.public.url.unwrap_or_else(|| format!("{scheme}://{address}"));
        let data = arguments.data.display().to_string();
        let listening = address.to_string();
        let invite = invite.map(|it| it.expose().clone());
        let serving = Serving { name, listening, url, invite, place, data };
        output.show(&serving, |it| Some(words(it))).map_err(failed)?;
        match config.network.metrics {
            None => listener.serve(site, terminated()).await,
            Some(address) => {
                let counts = Listener::bind(ListenOptions { address, tls: None }).await;
                let counts = counts.map_err(failed)?;
                tokio::join!(
                    counts.serve(site.counts(), terminated()),
                    listener.serve(site, terminated())
                );
            }
        }
        Ok::<(), Failure>(())
    })?;
    drop(folder);
    Ok(())
}

/// From where the address that is printed leads here: what it does not do is not promised.
fn place(public: Option<&str>, listening: IpAddr) -> &'static str {
    if public.is_some() {
        "on this machine or another"
    } else if listening.is_loopback() {
        "on this machine"
    } else if listening.is_unspecified() {
        "on this machine (on another, with this one's name in the address)"
    } else {
        "on this machine or another"
    }
}

/// What a person reads once it listens.
fn words(serving: &Serving) -> String {
    let Serving { name, listening, url, invite, place, data } = serving;
    let mut text = format!("serving {name} on {listening}");
    if let Some(invite) = invite {
        let _written = write!(
            text,
            "\n\nNobody has an account yet. The first one, {place}:\n\n  \
             grotto login @you:{name} --homeserver {url} --register\n\n\
             It asks for an invitation, which is: {invite}\n\
             Each invitation is for one person and holds a week. More, while this runs or not:\n\n  \
             grotto serve invite --data '{data}'"
        );
    }
    text
}

fn administer(command: &ServeCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        ServeCommand::Invite { data, days } => {
            let invite = invite(&mut open(&data.dir)?, DAY * *days)?;
            show(output, &serde_json::json!({ "invite": invite.expose() }), |_| {
                invite.expose().clone()
            })
        }
        ServeCommand::Users { data } => match open(&data.dir)?.perform(AdminJob::Users) {
            Ok(AdminDone::Users(lines)) => {
                lines.iter().try_for_each(|line| show(output, line, user_words))
            }
            other => unexpected(other),
        },
        ServeCommand::ResetPassword { data, user, password_file } => {
            let mut admin = open(&data.dir)?;
            let password = new_password(password_file.as_ref())?;
            match admin.reset_password(user.clone(), &password) {
                Ok(AdminDone::Reset(user)) => {
                    let object = serde_json::json!({ "user_id": user });
                    show(output, &object, |_| format!("{user} has another password"))
                }
                other => unexpected(other),
            }
        }
        ServeCommand::Reports { data } => match open(&data.dir)?.perform(AdminJob::Reports) {
            Ok(AdminDone::Reports(reports)) => {
                reports.iter().try_for_each(|report| show(output, report, report_words))
            }
            other => unexpected(other),
        },
        ServeCommand::Backup { data, file } => {
            open(&data.dir)?.back_up(file).map_err(failed)?;
            let object = serde_json::json!({ "file": file });
            show(output, &object, |_| format!("copied to {}", file.display()))
        }
    }
}

fn open(dir: &Path) -> Result<Admin, Failure> {
    Admin::open(dir).map_err(failed)
}

fn invite(admin: &mut Admin, holds: Duration) -> Result<Secret<String>, Failure> {
    match admin.perform(AdminJob::Invite { holds }) {
        Ok(AdminDone::Invited(token)) => Ok(token),
        other => unexpected(other),
    }
}

fn new_password(file: Option<&FileOrStdin>) -> Result<Secret<String>, Failure> {
    let password = match file {
        Some(file) => Some(secrets::read(file)?),
        None => secrets::ask_new("New password: ")?,
    };
    password.filter(|password| !password.expose().is_empty()).ok_or_else(|| {
        Failure::say(Exit::Usage, "no password: give --password-file, or a terminal to ask in")
    })
}

fn show<T: Serialize>(
    output: &mut Output,
    object: &T,
    words: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    output.show(object, |it| Some(words(it))).map_err(failed)
}

fn user_words(line: &UserLine) -> String {
    let state = if line.deactivated { "closed" } else { "open" };
    format!("{}  {state}  {} devices", SafeText::line(&line.user_id), line.devices)
}

/// A report for people: its JSON, for it is whatever members wrote.
fn report_words(report: &Value) -> String {
    SafeText::line(&report.to_string()).into_string()
}

/// Whatever else came of a job.
fn unexpected<T, E>(other: Result<AdminDone, E>) -> Result<T, Failure>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match other {
        Err(error) => Err(failed(error)),
        Ok(done) => Err(Failure::say(Exit::Failed, format!("not what was asked for: {done:?}"))),
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(Exit::Failed, anyhow::Error::new(error))
}

fn settings(config: &ServerConfig, name: String) -> Settings {
    let mut settings = Settings::new(name);
    settings.public_url.clone_from(&config.public.url);
    settings.offers_stream = config.public.stream;
    settings.support_page.clone_from(&config.public.support_page);
    settings.contacts = config.public.contacts.iter().map(contact).collect();
    if config.registration.open {
        settings.registration = Registration::Open;
    }
    settings.max_media_bytes = u64::from(config.limits.max_file_mib) << 20;
    settings.max_account_bytes = u64::from(config.limits.max_account_mib) << 20;
    settings.rates = Rates {
        login: rate(config.rates.login),
        register: rate(config.rates.register),
        send: rate(config.rates.send),
        search: rate(config.rates.search),
    };
    settings
}

fn contact(config: &ContactConfig) -> Contact {
    let role = match config.role {
        ContactRole::Admin => "m.role.admin",
        ContactRole::Security => "m.role.security",
    };
    Contact {
        role: role.to_owned(),
        matrix_id: config.matrix_id.clone(),
        email_address: config.email_address.clone(),
    }
}

fn rate(config: RateConfig) -> Rate {
    Rate { burst: config.burst, pause: Duration::from_millis(config.pause_ms.into()) }
}

fn limits(config: &ServerConfig) -> Limits {
    Limits {
        max_connections: config.limits.max_connections.min(places()),
        max_connections_per_address: config.limits.max_connections_per_address,
        ..Limits::default()
    }
}

/// How many connections the process has files for. Without files nobody could be told that there
/// are too many.
fn places() -> usize {
    process::files().map_or(usize::MAX, |files| files.saturating_sub(SPARE_FILES))
}
