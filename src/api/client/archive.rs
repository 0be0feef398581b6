//! Many files of a restore session at once.
//!
//! # Errors
//! Every method fails as the hub says ([`ClientError::Api`]), or where there is no answer that can be understood. A
//! stream that is dropped ends the work for it in the hub.

use super::{Client, ClientError, Download, Path, ResponseBody, TransportError};
use crate::{
    ARCHIVE_HEADER, ArchiveProgress, ContentsRequest, FileCount, Frame, Frames, MakeArchive, Selection,
};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use serde::Serialize;

/// The longest line of a stream of counts.
const MAX_LINE: usize = 64 << 10;

/// An archive on its way from the hub.
#[derive(Debug)]
pub struct ArchiveDownload {
    /// Its bytes. A stream that ends well is the whole archive.
    pub bytes: Download,
    /// Its id, for [`Client::archive_progress`].
    pub archive_id: Option<String>,
}

/// Numbers that grow until all is counted.
pub struct Counting {
    body: ResponseBody,
    kept: BytesMut,
    done: bool,
}

/// Contents of files, one after the other, in the order in which they were asked for.
pub struct Contents {
    body: ResponseBody,
    frames: Frames,
}

impl Client {
    /// `POST /restore/{mount_id}/archive`.
    pub async fn archive(&self, id: &str, request: &MakeArchive) -> Result<ArchiveDownload, ClientError> {
        let path = Path::new("/restore").segment(id).then("/archive");
        let response = self.stream(path, request).await?;
        let archive_id = response.headers().get(ARCHIVE_HEADER);
        let archive_id = archive_id.and_then(|value| value.to_str().ok().map(str::to_owned));
        Ok(ArchiveDownload { bytes: Download::of(response), archive_id })
    }

    /// `GET /restore/{mount_id}/archives/{archive_id}`: how far an archive is, or how it ended.
    pub async fn archive_progress(&self, id: &str, archive: &str) -> Result<ArchiveProgress, ClientError> {
        let path = Path::new("/restore").segment(id).then("/archives").segment(archive);
        self.ask(Method::GET, path).await
    }

    /// `POST /restore/{mount_id}/count`.
    pub async fn count(&self, id: &str, selection: &Selection) -> Result<Counting, ClientError> {
        let path = Path::new("/restore").segment(id).then("/count");
        let response = self.stream(path, selection).await?;
        Ok(Counting { body: response.into_body(), kept: BytesMut::new(), done: false })
    }

    /// `POST /restore/{mount_id}/contents`.
    pub async fn contents(&self, id: &str, request: &ContentsRequest) -> Result<Contents, ClientError> {
        let path = Path::new("/restore").segment(id).then("/contents");
        let response = self.stream(path, request).await?;
        Ok(Contents { body: response.into_body(), frames: Frames::default() })
    }

    /// Sends a request whose answer is a stream.
    async fn stream<B: Serialize + Sync>(
        &self,
        path: Path,
        body: &B,
    ) -> Result<Response<ResponseBody>, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::request)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path.into_uri()?)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body));
        self.send(request.map_err(ClientError::request)?).await
    }
}

/// The next bytes of a body; `None` after the last.
async fn more(body: &mut ResponseBody) -> Result<Option<Bytes>, ClientError> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(TransportError::cut)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

impl Counting {
    /// The next numbers; `None` after the last.
    ///
    /// # Errors
    /// Where the stream is cut off.
    pub async fn next(&mut self) -> Result<Option<FileCount>, ClientError> {
        loop {
            if let Some(end) = self.kept.iter().position(|&byte| byte == b'\n') {
                let line = self.kept.split_to(end + 1);
                let count: FileCount = serde_json::from_slice(&line).map_err(ClientError::answer)?;
                self.done |= count.done;
                return Ok(Some(count));
            }
            match more(&mut self.body).await? {
                Some(bytes) if self.kept.len() + bytes.len() <= MAX_LINE => {
                    self.kept.extend_from_slice(&bytes)
                }
                Some(_) => return Err(ClientError::TooLarge { limit: MAX_LINE }),
                None if self.done => return Ok(None),
                None => return Err(TransportError::cut("the count ended before its end").into()),
            }
        }
    }
}

impl Contents {
    /// The next part: bytes of the current file, its end, or why it has none. Never fewer ends than files were asked
    /// for: a stream that ends before that is an error.
    ///
    /// # Errors
    /// Where the stream is cut off or damaged.
    pub async fn next(&mut self) -> Result<Frame, ClientError> {
        loop {
            if let Some(frame) = self.frames.take().map_err(TransportError::cut)? {
                return Ok(frame);
            }
            match more(&mut self.body).await? {
                Some(bytes) => self.frames.give(bytes),
                None => return Err(TransportError::cut("the contents ended before their end").into()),
            }
        }
    }
}

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counting").field("done", &self.done).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}
