//! The service's own certificate, from files.

use std::{io, path::PathBuf, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    },
};

use super::options::TlsFiles;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or holds something else.
    #[error("{path} is not a readable PEM file of the right kind")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate file holds none.
    #[error("{path} holds no certificate")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("certificate and key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The task that reads the files ended.
    #[error("the certificate's files were not read")]
    Read(#[source] io::Error),
}

/// Reads the files.
pub(super) async fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, CertificateError> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || load(&files))
        .await
        .map_err(|error| CertificateError::Read(io::Error::other(error)))?
}

fn load(files: &TlsFiles) -> Result<TlsAcceptor, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect)
        .map_err(|source| CertificateError::File { path: files.certificates.clone(), source })?;
    if chain.is_empty() {
        return Err(CertificateError::Empty { path: files.certificates.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| CertificateError::File { path: files.key.clone(), source })?;
    let mut config = ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(CertificateError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
