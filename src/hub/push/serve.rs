//! An export for a disk in work: a port of its own, and who may have it.
//!
//! On loopback an export has the name of the contract, which anybody on the machine can work out; a tunnel ends there.
//! Elsewhere there is no export without TLS, and its name ends in 22 random characters (132 bits): whoever was not told
//! it does not find it. It is good for the connections of one backup and for nothing after it. Names are not listed then,
//! and an empty one opens nothing.

use super::disk::PushDisk;
use crate::config::PushConfig;
use crate::{Error, Result};
use model::DiskIndex;
use nbd::server::{Export, Exports, Listen, Peer, Refused, Server, ServerError, ServerOptions, ServerTls};
use nbd::{Address, Tls, Uri};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The longest export name.
const LONGEST: usize = 63;

/// Where a client writes a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushTarget {
    /// Which disk.
    pub disk: DiskIndex,
    /// Its port.
    pub port: u16,
    /// The export's name.
    pub export_name: String,
    /// Where it is, for a client.
    pub uri: String,
    /// Whether the name is a secret.
    pub secret: bool,
}

/// Begins to serve a disk under `name`, at the first port that is free. Blocks.
///
/// # Errors
/// Where no port is free; certificates that can't be used; an address that can't be listened on.
pub(super) fn serve(
    config: &PushConfig,
    index: DiskIndex,
    name: &str,
    description: String,
    disk: Arc<PushDisk>,
) -> Result<(Server, PushTarget)> {
    let secret = !config.listen.is_loopback();
    let tls = match &config.tls {
        Some(folder) => Some(certificates(folder)?),
        None if secret => {
            let reason = format!(
                "without TLS everybody who reaches {} could write backups: name certificates, or listen on loopback",
                config.listen
            );
            return Err(Error::invalid("push.tls_certificates", reason));
        }
        None => None,
    };
    let name = if secret { secret_name(name) } else { name.to_owned() };
    let export = Arc::new(Export::writable(name.clone(), description, disk));
    let exports: Arc<dyn Exports> = Arc::new(ByName { export, listed: !secret });
    let options = ServerOptions { tls, ..ServerOptions::default() };
    let scheme = options.tls.as_ref().map(|_| Tls::default());
    let (server, port) = listen(config, &exports, &options)?;
    let host = config.host.clone().unwrap_or_else(|| config.listen.to_string());
    let uri = Uri::new(Address::Tcp { host, port }, name.clone(), scheme).to_string();
    Ok((server, PushTarget { disk: index, port, export_name: name, uri, secret }))
}

/// What exports show to their clients.
///
/// # Errors
/// Where it can't be used.
pub(crate) fn certificates(folder: &Path) -> Result<ServerTls> {
    ServerTls::load(folder, false).map_err(|error| Error::invalid("push.tls_certificates", error))
}

/// The next port to try: so that one that was just given back is not at once somebody else's.
static NEXT: AtomicU16 = AtomicU16::new(0);

fn listen(config: &PushConfig, exports: &Arc<dyn Exports>, options: &ServerOptions) -> Result<(Server, u16)> {
    let (first, last) = (*config.ports.start(), *config.ports.end());
    let count = last.saturating_sub(first).saturating_add(1);
    let from = NEXT.fetch_add(1, Ordering::Relaxed);
    for n in 0..count {
        let port = first + from.wrapping_add(n) % count;
        let at = Listen::Tcp(SocketAddr::new(config.listen, port));
        match Server::start(&at, Arc::clone(exports), options.clone()) {
            Ok(server) => {
                NEXT.store(from.wrapping_add(n).wrapping_add(1), Ordering::Relaxed);
                return Ok((server, port));
            }
            Err(ServerError::Listen { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(ServerError::Listen { at, source }) => {
                return Err(Error::Target {
                    target: at,
                    permission: source.kind() == std::io::ErrorKind::PermissionDenied,
                    reason: source.to_string(),
                });
            }
            Err(other) => return Err(Error::Internal(format!("the NBD server: {other}"))),
        }
    }
    Err(Error::Conflict {
        message: format!("all ports from {first} to {last} are in use"),
        hint: "wait for a running backup to end, or give push.ports more of them".into(),
    })
}

/// The name with a secret behind it: what tells disk, type and time stays whole, and as much of the rest as fits.
fn secret_name(name: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // Two UUIDs: 244 bits of the system's randomness, of which a name holds 132.
    let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    let bytes = random.iter().flat_map(|part| part.into_bytes()).collect::<Vec<u8>>();
    let digest = blake3::hash(&bytes);
    let secret: String =
        digest.as_bytes()[..22].iter().map(|b| LETTERS[usize::from(b % 64)] as char).collect();
    let room = LONGEST - secret.len() - 1;
    // All of it is ASCII.
    let (vm, tail) = name.split_at(name.rfind("-disk").unwrap_or(0));
    let vm = vm.get(..room.saturating_sub(tail.len()).min(vm.len())).unwrap_or_default();
    let tail = tail.get(tail.len().saturating_sub(room)..).unwrap_or_default();
    format!("{vm}{tail}-{secret}")
}

/// One export for those who know its name.
struct ByName {
    export: Arc<Export>,
    listed: bool,
}

impl Exports for ByName {
    fn list(&self, _: &Peer) -> Vec<Arc<Export>> {
        if self.listed { vec![Arc::clone(&self.export)] } else { Vec::new() }
    }

    fn open(&self, name: &str, _: &Peer) -> std::result::Result<Arc<Export>, Refused> {
        let (known, name) = (self.export.name().as_bytes(), name.as_bytes());
        // Takes as long wherever the first difference is.
        let differ = known.iter().zip(name).fold(0, |differ, (a, b)| differ | (a ^ b));
        if known.len() == name.len() && differ == 0 {
            Ok(Arc::clone(&self.export))
        } else {
            Err(Refused::Unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names_fit_and_are_never_the_same() {
        for name in ["backup-ctx-pg-20251006-120000-disk0-full-20251006T120000", "x"] {
            let (a, b) = (secret_name(name), secret_name(name));
            assert!(a.len() < 64 && a != b, "{a} {b}");
            assert!(a.contains(&name[name.len().saturating_sub(20)..]), "{a}");
            assert!(a.starts_with(&name[..name.len().min("backup-ctx-".len())]), "{a}");
        }
    }
}
