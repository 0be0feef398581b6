//! One point that is served: its disks, its server, and the lease that keeps the point where it is.

use super::place::Place;
use crate::checked::CheckedDisk;
use crate::leases::Guard;
use crate::mounts::{Closing, Ended, Lasting, Leftovers, Times, Wait, bare_view};
use crate::points::OpenDisk;
use crate::{Error, Result, Session, blocking};
use api::{Exported, ExportedDisk, Mount};
use block::BlockSource;
use model::{Backup, DiskIndex, MountKind};
use nbd::Overlay;
use nbd::server::{Export, FixedExports, Server, ServerError, ServerOptions, Usage};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// An export that stays until it is ended has a time all the same: ten years.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A point that is served, or is about to be.
pub(crate) struct PointExport {
    id: String,
    record: Backup,
    disks: Vec<(DiskIndex, Arc<Export>)>,
    writable: bool,
    place: Place,
    times: Times,
    /// Where each disk is, once it is served.
    uris: OnceLock<Vec<String>>,
    held: Mutex<Held>,
}

/// What is given back at the end.
struct Held {
    server: Option<Server>,
    lease: Option<Guard>,
}

impl PointExport {
    /// The point's disks, ready to be served; with `overlay`, the folder for what clients write. Blocks.
    ///
    /// # Errors
    /// Where an overlay can't be made.
    pub(super) fn new(
        id: String,
        record: Backup,
        open: Vec<(DiskIndex, OpenDisk)>,
        place: Place,
        overlay: Option<&Path>,
        idle: Option<Duration>,
        lease: Guard,
    ) -> Result<PointExport> {
        let mut disks = Vec::new();
        for (index, disk) in open {
            let checked = CheckedDisk::new(disk, format!("disk {index} of {}", record.id));
            let source: Arc<dyn BlockSource> = Arc::new(checked);
            let (name, description) = (format!("disk{index}"), format!("{} disk {index}", record.id));
            let export = match overlay {
                None => Export::read_only(name, description, source),
                Some(folder) => {
                    let overlay = Overlay::over(source, folder)
                        .map_err(|error| Error::invalid("overlay_dir", error))?;
                    Export::writable(name, description, Arc::new(overlay))
                }
            };
            disks.push((index, Arc::new(export)));
        }
        Ok(PointExport {
            id,
            record,
            disks,
            writable: overlay.is_some(),
            place,
            times: Times::new(idle.unwrap_or(FOR_EVER)),
            uris: OnceLock::new(),
            held: Mutex::new(Held { server: None, lease: Some(lease) }),
        })
    }

    /// Begins to serve. Blocks.
    ///
    /// # Errors
    /// Where it can't listen.
    pub(super) fn start(&self) -> Result<()> {
        self.place.make()?;
        let options = ServerOptions { tls: self.place.tls.clone(), ..ServerOptions::default() };
        let exports = self.disks.iter().map(|(_, export)| Arc::clone(export)).collect();
        let server = Server::start(&self.place.listen, Arc::new(FixedExports::new(exports)), options);
        let server = server.map_err(|error| {
            self.place.remove();
            refused(error)
        })?;
        let uris = self.disks.iter().map(|(_, export)| server.uri(export.name()).to_string());
        self.uris.get_or_init(|| uris.collect());
        self.held.lock().unwrap_or_else(PoisonError::into_inner).server = Some(server);
        Ok(())
    }

    /// As the wire shows it.
    pub(super) fn exported(&self) -> Exported {
        let disks: Vec<ExportedDisk> =
            self.disks.iter().enumerate().map(|(number, disk)| self.disk_view(number, disk)).collect();
        let stays = self.times.idle() == FOR_EVER;
        Exported {
            export_id: self.id.clone(),
            backup_id: self.record.id.clone(),
            vm_name: self.record.vm_name.clone(),
            nbd_uri: self.uri(0),
            disks,
            writable_overlay: self.writable,
            created_at: self.times.created(),
            expires_at: (!stays).then(|| self.times.expires()),
        }
    }

    fn disk_view(&self, number: usize, (index, export): &(DiskIndex, Arc<Export>)) -> ExportedDisk {
        let Usage { connections, connections_ever, bytes_read, bytes_written, .. } =
            export.activity().usage();
        ExportedDisk {
            disk_id: index.0,
            export_name: export.name().to_owned(),
            nbd_uri: self.uri(number),
            size_bytes: export.size(),
            connections,
            connections_total: connections_ever,
            bytes_read,
            bytes_written,
        }
    }

    /// Where a disk is, counted among those that are served; empty before that.
    fn uri(&self, number: usize) -> String {
        self.uris.get().and_then(|uris| uris.get(number).cloned()).unwrap_or_default()
    }

    fn connections(&self) -> u32 {
        self.disks.iter().map(|(_, export)| export.activity().usage().connections).sum()
    }

    /// Ends it, whoever is connected. Harmless to repeat.
    pub(super) async fn end(&self) {
        let (server, lease) = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            (held.server.take(), held.lease.take())
        };
        if let Some(server) = server {
            let stopped = blocking::run("export-end", move || {
                server.stop();
                Ok(())
            });
            if let Err(error) = stopped.await {
                tracing::warn!(%error, export = self.id, "an export did not end well");
            }
            self.place.remove();
        }
        if let Some(lease) = lease {
            lease.release().await;
        }
    }
}

impl Lasting for PointExport {
    fn view(&self) -> Mount {
        Mount {
            backup_id: Some(self.record.id.clone()),
            nbd_uri: Some(self.uri(0)),
            status: "serving".to_owned(),
            ..bare_view(&self.id, MountKind::Export, &self.record.vm_name, &self.times)
        }
    }

    fn path(&self) -> Option<String> {
        self.place.socket()
    }

    fn leftovers(&self) -> Value {
        let folder = self.place.folder.as_ref().map(|folder| folder.to_string_lossy().into_owned());
        Leftovers { folder, ..Leftovers::default() }.into_json()
    }

    fn session(self: Arc<Self>) -> Option<Arc<Session>> {
        None
    }

    fn touch(&self) {
        self.times.touch();
    }

    fn is_over(&self) -> bool {
        false
    }

    fn tend(&self) -> Wait<'_, ()> {
        if self.connections() > 0 {
            self.times.touch();
        }
        Box::pin(async {})
    }

    fn close(&self, how: Closing) -> Wait<'_, Result<Ended>> {
        Box::pin(async move {
            let connections = self.connections();
            if how == Closing::IfUnused && connections > 0 {
                return Err(Error::InUse {
                    message: format!("{} is served to {connections} connection(s)", self.record.id),
                    hint: format!("end those, or `sendense-ctl restore unmount {} --force`", self.id),
                    details: json!({ "mount_id": self.id, "connections": connections }),
                });
            }
            self.end().await;
            Ok(Ended::Gone)
        })
    }
}

/// It can't listen there.
fn refused(error: ServerError) -> Error {
    use std::io::ErrorKind;
    match error {
        ServerError::Listen { at, source } if source.kind() == ErrorKind::AddrInUse => Error::Exists {
            what: format!("a server on {at}"),
            hint: "end that one, or choose another socket or port".into(),
        },
        ServerError::Listen { at, source } if source.kind() == ErrorKind::AlreadyExists => {
            Error::Exists { what: at, hint: "it is no socket: choose another path".into() }
        }
        ServerError::Listen { at, source } => Error::Target {
            target: at,
            permission: source.kind() == ErrorKind::PermissionDenied,
            reason: source.to_string(),
        },
        other => Error::Internal(format!("the NBD server: {other}")),
    }
}
