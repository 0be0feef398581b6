//! The service's certificate: the one that the settings name, or one that it makes for itself at its first start.
//!
//! The own one is in `tls/` of the state folder, signed by itself, for a key that never leaves that folder. Nobody
//! trusts it by name; a client pins its fingerprint, so it does not expire and is never replaced by itself. Certificates
//! are read again on request; connections that are open keep what they began with, and what can't be used is refused
//! and changes nothing.

use crate::settings::Settings;
use crate::{Error, Result};
use api::Fingerprint;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// The certificate that is shown now.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificate {
    /// Reads the certificate, or makes it.
    ///
    /// # Errors
    /// Where files are missing, can't be read, or don't fit one another.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        Ok(Certificate { current: Arc::new(Current(RwLock::new(Arc::new(load(settings)?)))) })
    }

    /// Reads it again.
    ///
    /// # Errors
    /// As [`open`](Self::open); then the old one stays.
    pub(crate) fn reload(&self, settings: &Settings) -> Result<()> {
        let fresh = Arc::new(load(settings)?);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// By what a client pins it.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        let current = self.current.0.read().unwrap_or_else(PoisonError::into_inner);
        current.cert.first().map(|certificate| Fingerprint::of(certificate))
    }

    /// What makes TLS of a connection.
    ///
    /// # Errors
    /// Never with the provider that is built in.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn load(settings: &Settings) -> Result<CertifiedKey> {
    let (certificate, key) = match (&settings.tls_certificate, &settings.tls_key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => own(settings)?,
    };
    let unusable = |path: &Path, reason: String| Error::Tls(format!("{}: {reason}", path.display()));
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(&certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(&certificate, "there is no certificate in it".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, error.to_string()))?;
    CertifiedKey::from_der(chain, secret, &default_provider())
        .map_err(|error| Error::Tls(format!("{} and {}: {error}", certificate.display(), key.display())))
}

/// The files of the own certificate, which are made where both are missing.
fn own(settings: &Settings) -> Result<(PathBuf, PathBuf)> {
    let folder = settings.state_dir.join("tls");
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    match (certificate.exists(), key.exists()) {
        (true, true) => return Ok((certificate, key)),
        (true, false) => {
            return Err(Error::Tls(format!(
                "{} is missing beside cert.pem; remove both for a new pair",
                key.display()
            )));
        }
        // A key without its certificate: it was not finished, and nobody has seen it.
        (false, _) => {}
    }
    let failed = |error: rcgen::Error| Error::Tls(format!("no certificate can be made: {error}"));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), host];
    names.extend(settings.tls_names.iter().cloned());
    names.sort();
    names.dedup();
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Sendense hub");
    let pair = KeyPair::generate().map_err(failed)?;
    let signed = params.self_signed(&pair).map_err(failed)?;
    let io = |error: std::io::Error| Error::io(format!("{} can't be written", folder.display()), error);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io)?;
    write(&key, pair.serialize_pem().as_bytes()).map_err(io)?;
    write(&certificate, signed.pem().as_bytes()).map_err(io)?;
    Ok((certificate, key))
}

/// Writes a file whole or not at all, for its owner only.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("pem.tmp");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_own_certificate_is_made_once_and_its_key_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings { state_dir: folder.path().to_owned(), ..Settings::default() };
        let certificate = Certificate::open(&settings).unwrap();
        let first = certificate.fingerprint().unwrap();
        let key = folder.path().join("tls/key.pem");
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Certificate::open(&settings).unwrap().fingerprint(), Some(first));

        settings.tls_certificate = Some(folder.path().join("nothing.pem"));
        settings.tls_key = Some(key.clone());
        let error = certificate.reload(&settings).unwrap_err();
        assert!(error.to_string().contains("nothing.pem"), "{error}");
        assert_eq!(certificate.fingerprint(), Some(first), "the old one stays");

        let other = tempfile::tempdir().unwrap();
        let others = Settings { state_dir: other.path().to_owned(), ..Settings::default() };
        Certificate::open(&others).unwrap();
        settings.tls_certificate = Some(other.path().join("tls/cert.pem"));
        assert!(certificate.reload(&settings).is_err(), "a key of another certificate");
        settings.tls_key = Some(other.path().join("tls/key.pem"));
        certificate.reload(&settings).unwrap();
        assert_ne!(certificate.fingerprint(), Some(first));

        std::fs::remove_file(key).unwrap();
        let gone = Settings { tls_certificate: None, tls_key: None, ..settings };
        assert!(Certificate::open(&gone).is_err());
    }
}
