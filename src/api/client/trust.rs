//! Whom a client takes for its hub: the certificate must be the pinned one, be signed by a given authority, or by one
//! that this machine trusts.
//!
//! A [`Fingerprint`] is the SHA-256 of the certificate (DER). A pinned certificate is compared whole: its name, its
//! dates and who signed it do not matter then, but the server must prove that it has the key.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::BuilderVerifierExt;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// Which certificates are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that this machine trusts, with the name of the address.
    System,
    /// Those that an authority in this PEM file has signed, with the name of the address.
    Authority(PathBuf),
    /// This one.
    Pin(Fingerprint),
}

/// The SHA-256 of a certificate; shown as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fingerprint: it has 64 hexadecimal digits, as `sendense-ctl hub serve` prints it")]
pub struct FingerprintError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// With or without `sha256:`, in either case, with or without colons (as `openssl x509 -fingerprint` has them).
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let error = || FingerprintError(text.to_owned());
        let trimmed = text.trim();
        let digits = match trimmed.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sha256:") => rest,
            _ => trimmed,
        };
        let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(error());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| error())?;
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        Ok(Fingerprint(bytes))
    }
}

/// The server showed another certificate than the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("the hub's certificate is {found}, and {pinned} was pinned")]
pub struct OtherCertificate {
    /// What it showed.
    pub found: Fingerprint,
    /// What it was to show.
    pub pinned: Fingerprint,
}

/// Why TLS can't begin.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of an authority can't be used.
    #[error("{path} holds no usable certificate: {reason}")]
    Authority {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The library refuses.
    #[error("TLS can't be set up: {0}")]
    Library(#[from] rustls::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TrustError> {
    Ok(ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?)
}

impl Trust {
    /// The TLS of a client that trusts so.
    pub(super) fn client(&self) -> Result<ClientConfig, TrustError> {
        Ok(match self {
            Trust::System => match builder()?.with_platform_verifier() {
                Ok(builder) => builder.with_no_client_auth(),
                // A machine without a list of authorities trusts none, which is no failure of TLS.
                Err(error) => {
                    tracing::debug!(%error, "this machine has no authorities");
                    none()?
                }
            },
            Trust::Authority(path) => {
                let unusable =
                    |reason: String| TrustError::Authority { path: path.display().to_string(), reason };
                let mut roots = RootCertStore::empty();
                let certificates =
                    CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                    roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(unusable("there is none in it".to_owned()));
                }
                builder()?.with_root_certificates(roots).with_no_client_auth()
            }
            Trust::Pin(pin) => with(Arc::new(Pinned { pin: Some(*pin), seen: Seen::default() }))?,
        })
    }
}

/// The TLS of a client that has nothing to do with TLS.
pub(super) fn none() -> Result<ClientConfig, TrustError> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The TLS of a client that takes any certificate, to find out which one it is. Nothing secret goes through it.
pub(super) fn any(seen: &Seen) -> Result<ClientConfig, TrustError> {
    with(Arc::new(Pinned { pin: None, seen: seen.clone() }))
}

fn with(verifier: Arc<Pinned>) -> Result<ClientConfig, TrustError> {
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The certificate that a server showed.
pub(super) type Seen = Arc<Mutex<Option<Fingerprint>>>;

#[derive(Debug)]
struct Pinned {
    pin: Option<Fingerprint>,
    seen: Seen,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of(certificate);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        match self.pin {
            Some(pinned) if pinned != found => {
                let error = OtherError(Arc::new(OtherCertificate { found, pinned }));
                Err(rustls::Error::InvalidCertificate(CertificateError::Other(error)))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_shown_and_as_openssl_shows_it() {
        let shown = Fingerprint::of(b"abc").to_string();
        assert_eq!(shown, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(shown.parse::<Fingerprint>().unwrap(), Fingerprint::of(b"abc"));
        let digits: Vec<char> = shown[7..].to_uppercase().chars().collect();
        let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
        assert_eq!(pairs.join(":").parse::<Fingerprint>().unwrap(), Fingerprint::of(b"abc"));
        for text in ["", "sha256:", "sha256:00", &"g".repeat(64), &"+1".repeat(32), &"ü".repeat(32)] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
