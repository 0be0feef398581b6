//! The server's certificates.
//!
//! A folder in the form that QEMU and nbdkit use, too: `server-cert.pem` (with the certificates between it and its
//! authority), `server-key.pem`, and `ca-cert.pem` where clients must show a certificate of that authority.

use super::error::{Result, ServerError};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// What a server needs for TLS; read once.
#[derive(Clone)]
pub struct ServerTls(pub(super) Arc<ServerConfig>);

impl ServerTls {
    /// Reads the certificates in `folder`; with `verify_peer`, clients must show one of `ca-cert.pem`.
    ///
    /// # Errors
    /// Which file is missing or can't be used.
    pub fn load(folder: &Path, verify_peer: bool) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ServerError::Tls(error.to_string()))?;
        let builder = if verify_peer {
            let path = folder.join("ca-cert.pem");
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&path)? {
                roots.add(certificate).map_err(|error| bad(&path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| bad(&path, error))?)
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = (folder.join("server-cert.pem"), folder.join("server-key.pem"));
        let chain = certificates(&certificate)?;
        let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| bad(&key, error))?;
        let config = builder.with_single_cert(chain, secret).map_err(|error| bad(&certificate, error))?;
        Ok(ServerTls(Arc::new(config)))
    }
}

fn bad(path: &Path, error: impl std::fmt::Display) -> ServerError {
    ServerError::Tls(format!("{}: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error: rustls_pki_types::pem::Error| bad(path, error))?;
    if found.is_empty() {
        return Err(bad(path, "it has no certificate"));
    }
    Ok(found)
}
