//! Restore sessions and the files in them.
//!
//! # Errors
//! Every method fails as the hub says ([`ClientError::Api`]), or where there is no answer that can be understood.

use super::{Client, ClientError, Path, ResponseBody, TransportError};
use crate::{
    CleanupStatus, FileInfo, FileList, FilesQuery, Mount, MountBackup, MountList, PageQuery, PathQuery,
    Resources, UnmountQuery, Unmounted,
};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use std::ops::Range;

/// A file on its way from the hub.
pub struct Download {
    body: ResponseBody,
    /// How many bytes will come.
    pub length: Option<u64>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Download {
    /// The body of that answer.
    pub(super) fn of(response: Response<ResponseBody>) -> Self {
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        Download { body: response.into_body(), length }
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// Where the stream is cut off: what came so far is then not all.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(TransportError::cut)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl Client {
    /// `POST /restore/mount`.
    pub async fn mount(&self, request: &MountBackup) -> Result<Mount, ClientError> {
        self.tell(Method::POST, Path::new("/restore/mount"), request).await
    }

    /// `GET /restore/mounts`.
    pub async fn mounts(&self, query: &PageQuery) -> Result<MountList, ClientError> {
        self.ask(Method::GET, Path::new("/restore/mounts").query(query)?).await
    }

    /// `GET /restore/{mount_id}`: the session as it is now, with what is known of its volumes since.
    pub async fn mounted(&self, id: &str) -> Result<Mount, ClientError> {
        self.ask(Method::GET, Path::new("/restore").segment(id)).await
    }

    /// `DELETE /restore/{mount_id}`, where nobody uses it.
    pub async fn unmount(&self, id: &str) -> Result<Unmounted, ClientError> {
        self.unmount_as(id, UnmountQuery::default()).await
    }

    /// `DELETE /restore/{mount_id}`. The id may also be the path of a mount.
    pub async fn unmount_as(&self, id: &str, how: UnmountQuery) -> Result<Unmounted, ClientError> {
        self.ask(Method::DELETE, Path::new("/restore").segment(id).query(&how)?).await
    }

    /// `GET /restore/{mount_id}/files`.
    pub async fn files(&self, id: &str, query: &FilesQuery) -> Result<FileList, ClientError> {
        self.ask(Method::GET, Path::new("/restore").segment(id).then("/files").query(query)?).await
    }

    /// `GET /restore/{mount_id}/glob`.
    pub async fn glob(&self, id: &str, query: &FilesQuery) -> Result<FileList, ClientError> {
        self.ask(Method::GET, Path::new("/restore").segment(id).then("/glob").query(query)?).await
    }

    /// `GET /restore/{mount_id}/file-info`.
    pub async fn file_info(&self, id: &str, query: &PathQuery) -> Result<FileInfo, ClientError> {
        self.ask(Method::GET, Path::new("/restore").segment(id).then("/file-info").query(query)?).await
    }

    /// `GET /restore/{mount_id}/download`: all of a file, or the bytes of `range`, which must not be empty.
    pub async fn download(
        &self,
        id: &str,
        query: &PathQuery,
        range: Option<Range<u64>>,
    ) -> Result<Download, ClientError> {
        let path = Path::new("/restore").segment(id).then("/download").query(query)?;
        let mut request = Request::builder().method(Method::GET).uri(path.into_uri()?);
        if let Some(range) = range {
            let last = range.end.saturating_sub(1);
            request = request.header(header::RANGE, format!("bytes={}-{last}", range.start));
        }
        let response = self.send(request.body(Bytes::new()).map_err(ClientError::request)?).await?;
        Ok(Download::of(response))
    }

    /// `GET /restore/resources`.
    pub async fn restore_resources(&self) -> Result<Resources, ClientError> {
        self.ask(Method::GET, Path::new("/restore/resources")).await
    }

    /// `GET /restore/cleanup-status`.
    pub async fn cleanup_status(&self) -> Result<CleanupStatus, ClientError> {
        self.ask(Method::GET, Path::new("/restore/cleanup-status")).await
    }
}
