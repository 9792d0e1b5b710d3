//! `grotto serve`: the embedded homeserver.

use serde::Serialize;
use tokio::runtime::Builder;

use super::failure::Failure;
use crate::{
    cli::{Exit, RegistrationArg, ServeArgs, ServeRunArgs},
    gateway::{ListenOptions, Listener, TlsFiles, terminated},
    headless::Output,
    server::{Contact, Folder, Model, Registration, Server, Settings, Site},
    wire::Limits,
};

/// Name of a server that was not given one.
const DEFAULT_NAME: &str = "localhost";

/// What is printed once it listens.
#[derive(Serialize)]
struct Serving {
    listening: String,
    name: String,
}

/// Serves until it is asked to end.
///
/// # Errors
/// When an option is wrong, the folder cannot be used, or the address is taken.
pub(super) fn run(arguments: &ServeArgs, output: &mut Output) -> Result<(), Failure> {
    serve(&arguments.run, output)
}

fn serve(arguments: &ServeRunArgs, output: &mut Output) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, error);
    let folder = Folder::lock(&arguments.data).map_err(|error| failed(error.into()))?;
    let database = folder.database().map_err(|error| failed(error.into()))?;
    let settings = settings(arguments);
    let name = settings.name.clone();
    let server =
        Server::start(Model::new(settings), database).map_err(|error| failed(error.into()))?;
    let site = Site::new(server, limits(arguments));
    let tls = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    let listen = ListenOptions {
        address: arguments.listen,
        tls: tls.map(|(certificates, key)| TlsFiles { certificates, key }),
    };
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = Listener::bind(listen).await.map_err(|error| failed(error.into()))?;
        let serving = Serving { listening: listener.local_addr()?.to_string(), name };
        let shown =
            output.show(&serving, |it| Some(format!("serving {} on {}", it.name, it.listening)));
        shown.map_err(|error| failed(error.into()))?;
        listener.serve(site, terminated()).await;
        Ok::<(), Failure>(())
    })?;
    drop(folder);
    Ok(())
}

fn settings(arguments: &ServeRunArgs) -> Settings {
    let mut settings = Settings::new(arguments.name.as_deref().unwrap_or(DEFAULT_NAME));
    settings.public_url.clone_from(&arguments.public_url);
    settings.registration = match arguments.registration {
        RegistrationArg::Invite => Registration::ByInvite,
        RegistrationArg::Open => Registration::Open,
    };
    settings.max_media_bytes = arguments.max_file << 20;
    settings.contacts = arguments.contact.iter().map(|who| contact(who)).collect();
    settings.support_page.clone_from(&arguments.support_page);
    settings
}

fn contact(who: &str) -> Contact {
    let is_user = who.starts_with('@');
    Contact {
        role: "m.role.admin".to_owned(),
        matrix_id: is_user.then(|| who.to_owned()),
        email_address: (!is_user).then(|| who.to_owned()),
    }
}

fn limits(arguments: &ServeRunArgs) -> Limits {
    Limits {
        max_connections: arguments.max_connections,
        max_connections_per_address: arguments.max_connections_per_address,
        ..Limits::default()
    }
}
