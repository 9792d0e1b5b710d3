//! `grotto gateway`: the server's end of the stream as a service.

use serde::Serialize;
use tokio::runtime::Builder;

use super::failure::Failure;
use crate::{
    cli::{Exit, GatewayArgs},
    gateway::{Gateway, GatewayOptions, ListenOptions, Listener, TlsFiles, terminated},
    headless::Output,
    wire::Limits,
};

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
pub(super) fn run(arguments: &GatewayArgs, output: &mut Output) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, error);
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
            max_connections: arguments.max_connections,
            max_connections_per_address: arguments.max_connections_per_address,
            ..Limits::default()
        },
    }
}
