//! Which TLS servers are trusted, for every outgoing connection of the program: those that the
//! operating system trusts and those of an extra CA file. There is no way to switch the check off.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls_platform_verifier::Verifier;
use tokio_rustls::rustls::{
    self, ClientConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};
use url::Host;

/// Why no TLS connection can be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The extra CA file cannot be read.
    #[error("CA file {path} is not a readable PEM file of certificates")]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The extra CA file holds nothing.
    #[error("CA file {path} holds no certificate")]
    CaFileEmpty {
        /// Which file.
        path: PathBuf,
    },
    /// The certificates that the system trusts cannot be loaded.
    #[error("the system's trusted certificates cannot be used")]
    Roots(#[source] rustls::Error),
}

/// The one cryptography provider of every TLS connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The configuration of a TLS client that trusts the system's certificates and `extra_ca`, a PEM
/// file.
///
/// # Errors
/// When the file cannot be read, or the system's certificates cannot.
pub fn client_config(extra_ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let extra = extra_ca.map(certificates).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(extra, provider()).map_err(TlsError::Roots)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Roots)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// Whether nothing between the two ends can read along, so that TLS is not needed: `host` is this
/// machine, or an onion service.
pub fn may_be_clear(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            *name == "localhost" || name.rsplit_once('.').is_some_and(|(_, top)| top == "onion")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::CaFile { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(TlsError::CaFileEmpty { path: path.to_owned() });
    }
    Ok(found)
}
