//! Restore points served over NBD, over the wire.

use crate::schema;
use jiff::Timestamp;
use model::{BackupId, VmName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /restore/export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportBackup {
    /// Which point.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// Only this disk of the point; all of them where left out, each under its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// Let clients write. What they write is kept apart, and thrown away at the end: the point never changes.
    #[serde(default)]
    pub writable_overlay: bool,
    /// The folder for what clients write, on the hub's machine; its state folder where left out. Only an administrator
    /// may name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay_dir: Option<String>,
    /// The path of the Unix socket to serve on, on the hub's machine; a private one where left out. Only an
    /// administrator may name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Serve on TCP instead: an IP address and a port, 0 for any that is free. Only an administrator may say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// A folder on the hub's machine with `server-cert.pem` and `server-key.pem`: TLS is required of all clients then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_certificates: Option<String>,
    /// Clients must show a certificate that `ca-cert.pem` of that folder has signed.
    #[serde(default)]
    pub tls_verify_peer: bool,
    /// Serve on other addresses than loopback without TLS: everybody on the network can read the disks.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Closed after so many seconds without a connection: 3600 unless given, 0 for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u64>,
    /// For a client that may vanish: closed when nobody uses it and that client has asked nothing about it
    /// (`GET /restore/export/{export_id}`) for so many seconds. No such limit unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400)]
    pub client_timeout_seconds: Option<u64>,
}

impl ExportBackup {
    /// All disks of a point, read only, with everything optional left out.
    pub fn of(backup_id: BackupId) -> Self {
        ExportBackup {
            backup_id,
            disk_id: None,
            writable_overlay: false,
            overlay_dir: None,
            socket: None,
            listen: None,
            tls_certificates: None,
            tls_verify_peer: false,
            allow_plaintext: false,
            idle_timeout_seconds: None,
            client_timeout_seconds: None,
        }
    }
}

/// A point that is served. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Exported {
    /// Its id: `export-` and a UUID.
    pub export_id: String,
    /// The point.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// The VM.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
    /// Where the first disk is.
    pub nbd_uri: String,
    /// All disks.
    pub disks: Vec<ExportedDisk>,
    /// Clients may write, to an overlay.
    pub writable_overlay: bool,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it closes, if nobody connects until then; none where it stays.
    pub expires_at: Option<Timestamp>,
}

/// One disk of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportedDisk {
    /// Which disk of the point.
    pub disk_id: u32,
    /// The name by which clients ask for it; where there is one disk only, the empty name leads to it as well.
    pub export_name: String,
    /// Where it is.
    pub nbd_uri: String,
    /// Its size.
    pub size_bytes: u64,
    /// Connections now.
    pub connections: u32,
    /// Connections since it is served.
    pub connections_total: u64,
    /// What was sent to clients; zeros that were only told are left out.
    pub bytes_read: u64,
    /// What clients have written.
    pub bytes_written: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_request_is_understood() {
        let request: ExportBackup =
            serde_json::from_str(r#"{"backup_id":"backup-a-1","disk_id":0,"writable_overlay":false}"#)
                .unwrap();
        let expected =
            ExportBackup { disk_id: Some(0), ..ExportBackup::of(BackupId::new("backup-a-1").unwrap()) };
        assert_eq!(request, expected);
        assert!(serde_json::from_str::<ExportBackup>(r#"{"backup_id":"backup-a-1","disk":0}"#).is_err());
    }
}
