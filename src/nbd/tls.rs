//! TLS for NBD: which certificates, and the stream.
//!
//! The server's certificate is always verified, against `ca-cert.pem` of the folder that the URI names, or of
//! the first of `~/.config/pki/nbd`, `~/.pki/nbd` and `/etc/pki/nbd` that has one (the places that other NBD
//! clients use), or else against the authorities of this machine. Where a folder has `client-cert.pem` and `client-key.pem`, they are shown to a server
//! that asks. The key stays in memory; nothing of it is ever printed.

use crate::socket::Socket;
use crate::uri::{Address, Tls};
use crate::{Error, Result};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A socket inside TLS.
pub(crate) type TlsStream = StreamOwned<ClientConnection, Socket>;

/// What is needed to begin TLS with one server; read once, used by each connection.
#[derive(Clone)]
pub(crate) struct Credentials {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

fn tls(text: impl Into<String>) -> Error {
    Error::Tls(text.into())
}

impl Credentials {
    /// Reads the certificates.
    pub(crate) fn load(settings: &Tls, address: &Address) -> Result<Self> {
        let usual = || usual_folders().into_iter().find(|folder| folder.join(AUTHORITY).is_file());
        let name = server_name(settings, address)?;
        let Some(folder) = settings.certificates.clone().or_else(usual) else {
            return Ok(Credentials { config: Arc::new(of_the_system()?), name });
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&folder.join(AUTHORITY))? {
            roots.add(certificate).map_err(|e| tls(format!("{}: {e}", folder.join(AUTHORITY).display())))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| tls(e.to_string()))?
            .with_root_certificates(roots);
        let (certificate, key) = (folder.join("client-cert.pem"), folder.join("client-key.pem"));
        let config = match (certificate.exists(), key.exists()) {
            (true, true) => {
                let secret =
                    PrivateKeyDer::from_pem_file(&key).map_err(|e| tls(format!("{}: {e}", key.display())))?;
                builder
                    .with_client_auth_cert(certificates(&certificate)?, secret)
                    .map_err(|e| tls(format!("{} and {}: {e}", certificate.display(), key.display())))?
            }
            (false, false) => builder.with_no_client_auth(),
            (true, false) => return Err(tls(format!("{} is missing beside client-cert.pem", key.display()))),
            (false, true) => {
                return Err(tls(format!("{} is missing beside client-key.pem", certificate.display())));
            }
        };
        Ok(Credentials { config: Arc::new(config), name })
    }

    /// Begins TLS on a socket whose server has agreed to it.
    pub(crate) fn wrap(&self, mut socket: Socket) -> Result<TlsStream> {
        let mut connection =
            ClientConnection::new(self.config.clone(), self.name.clone()).map_err(|e| tls(e.to_string()))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| {
                match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(reason) => tls(self.explain(reason)),
                    None => Error::from_transport(error, 0),
                }
            })?;
        }
        Ok(StreamOwned::new(connection, socket))
    }

    fn explain(&self, reason: &rustls::Error) -> String {
        use rustls::CertificateError as Bad;
        let name = self.name.to_str();
        match reason {
            rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
                "the server's certificate is not signed by an authority that is trusted: one in ca-cert.pem of the folder that \
                 tls-certificates names, or one of this machine's".into()
            }
            rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                format!(
                    "the server's certificate is not for '{name}'; if that is right, add tls-hostname=NAME"
                )
            }
            rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
                "the server's certificate has expired".into()
            }
            rustls::Error::AlertReceived(alert) => format!(
                "the server refused this client ({alert:?}); it may want client-cert.pem and client-key.pem"
            ),
            other => other.to_string(),
        }
    }
}

const AUTHORITY: &str = "ca-cert.pem";

/// The name that a certificate must have.
fn server_name(settings: &Tls, address: &Address) -> Result<ServerName<'static>> {
    let name = match (&settings.hostname, address) {
        (Some(name), _) => name.as_str(),
        (None, Address::Tcp { host, .. }) => host.split('%').next().unwrap_or_default(),
        (None, Address::Unix(_)) => "localhost",
    };
    ServerName::try_from(name.to_owned())
        .map_err(|_| tls(format!("'{name}' can't be a name in a certificate: add tls-hostname=NAME")))
}

/// Trusts whom this machine trusts; nothing is shown to a server that asks.
fn of_the_system() -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| tls(e.to_string()))?;
    let unknown = |e: rustls::Error| {
        tls(format!(
            "this machine knows no certificate authority ({e}): add ?tls-certificates=DIR, a folder with ca-cert.pem"
        ))
    };
    Ok(builder.with_platform_verifier().map_err(unknown)?.with_no_client_auth())
}

fn usual_folders() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut folders = Vec::new();
    if let Some(home) = home {
        folders.push(home.join(".config/pki/nbd"));
        folders.push(home.join(".pki/nbd"));
    }
    folders.push("/etc/pki/nbd".into());
    folders
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |e: rustls_pki_types::pem::Error| tls(format!("{}: {e}", path.display()));
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(bad)?.collect::<Result<_, _>>().map_err(bad)?;
    if found.is_empty() {
        return Err(tls(format!("{} has no certificate", path.display())));
    }
    Ok(found)
}
