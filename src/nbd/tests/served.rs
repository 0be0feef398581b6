//! What tests of the server share: disks that are served, and what is known of them.

use block::{BlockSource, Extent, ExtentKind};
use nbd::server::{Export, FixedExports, Listen, Server, ServerOptions};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use testkit::mem::MemSource;

/// A server on a private socket that serves `exports`.
pub struct Served {
    pub server: Server,
    pub folder: TempDir,
}

impl Served {
    pub fn new(exports: Vec<Export>, options: ServerOptions) -> Served {
        let folder = tempfile::Builder::new().prefix("sendense-serve-").tempdir().unwrap();
        let at = Listen::Unix(folder.path().join("socket"));
        let exports = FixedExports::new(exports.into_iter().map(Arc::new).collect());
        let server = Server::start(&at, Arc::new(exports), options).unwrap();
        Served { server, folder }
    }

    /// One disk that can be read only.
    pub fn disk(source: impl BlockSource + 'static) -> Served {
        Served::new(vec![Export::read_only("disk0", "a disk", Arc::new(source))], hasty())
    }

    pub fn uri(&self, export: &str) -> String {
        self.server.uri(export).to_string()
    }

    pub fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("socket")
    }
}

/// Short limits, for tests of clients that dawdle.
pub fn hasty() -> ServerOptions {
    ServerOptions {
        handshake_timeout: Duration::from_millis(700),
        patience: Duration::from_millis(700),
        ..ServerOptions::default()
    }
}

/// A disk of `size` bytes: stretches of data and holes by turns, of odd lengths.
pub fn patchy(size: u64) -> MemSource {
    let mut bytes = vec![0u8; size as usize];
    let mut extents = Vec::new();
    let mut at = 0;
    let mut number = 0u64;
    while at < size {
        number += 1;
        let end = (at + 512 * (1 + number * number * 7 % 700)).min(size);
        let kind = match number % 3 {
            0 => ExtentKind::Hole,
            1 => ExtentKind::Data,
            _ => ExtentKind::Zero,
        };
        if kind == ExtentKind::Data {
            for (at, byte) in (at..end).zip(&mut bytes[at as usize..end as usize]) {
                *byte = (at / 512 + at * 7) as u8 | 1;
            }
        }
        extents.push(Extent::new(at..end, kind));
        at = end;
    }
    MemSource::new(bytes).with_extents(extents)
}

/// All bytes of a source.
pub fn bytes_of(source: &dyn BlockSource) -> Vec<u8> {
    let mut bytes = vec![0; source.size() as usize];
    source.read_at(&mut bytes, 0).unwrap();
    bytes
}
