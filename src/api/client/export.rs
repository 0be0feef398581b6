//! Restore points served over NBD.

use super::{Client, ClientError, Path};
use crate::{ExportBackup, Exported};
use http::Method;

impl Client {
    /// `POST /restore/export`.
    pub async fn export_backup(&self, request: &ExportBackup) -> Result<Exported, ClientError> {
        self.tell(Method::POST, Path::new("/restore/export"), request).await
    }

    /// `GET /restore/export/{export_id}`.
    pub async fn exported(&self, id: &str) -> Result<Exported, ClientError> {
        self.ask(Method::GET, Path::new("/restore/export").segment(id)).await
    }
}
