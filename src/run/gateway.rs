//! `grotto gateway`: the server's end of the stream as a service.

use serde::Serialize;
use tokio::runtime::Builder;

use super::{context, failure::Failure, process};
use crate::{
    cli::{Exit, GatewayArgs, Global},
    config::LogLevel,
    gateway::{Gateway, GatewayOptions, ListenOptions, Listener, TlsFiles, terminated},
    headless::Output,
    logging,
    wire::Limits,
};

/// Files for everything but connections.
const SPARE_FILES: usize = 128;

/// What is printed once it listens.
#[derive(Serialize)]
struct Listening {
    listening: String,
    homeserver: String,
}

/// Serves until it is asked to end.
///
/// # Errors
/// When an option is wrong or the address is taken.
pub(super) fn run(
    arguments: &GatewayArgs,
    global: &Global,
    output: &mut Output,
) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, error);
    let level = context::level(LogLevel::Info, global.verbose);
    logging::start_service(level).map_err(|error| failed(error.into()))?;
    let gateway = Gateway::new(options(arguments)).map_err(|error| failed(error.into()))?;
    let tls = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    let listen = ListenOptions {
        address: arguments.listen,
        tls: tls.map(|(certificates, key)| TlsFiles { certificates, key }),
    };
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = Listener::bind(listen).await.map_err(|error| failed(error.into()))?;
        let listening = Listening {
            listening: listener.local_addr()?.to_string(),
            homeserver: arguments.homeserver.clone(),
        };
        let shown = output.show(&listening, |it| {
            Some(format!("listening on {} for {}", it.listening, it.homeserver))
        });
        shown.map_err(|error| failed(error.into()))?;
        listener.serve(gateway, terminated()).await;
        Ok(())
    })
}

fn options(arguments: &GatewayArgs) -> GatewayOptions {
    GatewayOptions {
        homeserver: arguments.homeserver.clone(),
        proxy: arguments.proxy.clone(),
        extra_ca: arguments.ca_file.clone(),
        allowed_origins: arguments.origin.clone(),
        limits: Limits {
            max_connections: arguments.max_connections.min(places()),
            max_connections_per_address: arguments.max_connections_per_address,
            header_timeout: arguments.handshake_timeout,
            idle_timeout: arguments.idle_timeout,
            ping_after: arguments.idle_timeout / 2,
            ..Limits::default()
        },
    }
}

/// How many connections the process has files for: one each, and one for its call of the
/// homeserver. Without files nobody could be told that there are too many.
fn places() -> usize {
    process::files().map_or(usize::MAX, |files| files.saturating_sub(SPARE_FILES) / 2)
}
