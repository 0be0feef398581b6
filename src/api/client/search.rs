//! Searches and comparisons, which are streams of lines (NDJSON).
//!
//! A stream ends after its last line, a summary or why it can't go on. One that ends before was cut off, which is an
//! error: what came so far is then not all. No line may be larger than 4 MiB. Dropping a stream ends the search.

use super::{Client, ClientError, Path, ResponseBody, TransportError};
use crate::{DiffLine, DiffQuery, DiffRequest, SearchLine, SearchQuery, SearchRequest};
use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use model::BackupId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// The most bytes of one line.
const MAX_LINE: usize = 4 << 20;

/// A line of a stream that can tell whether it is the last.
pub trait Line: DeserializeOwned {
    /// The last line, or why the stream can't go on.
    ///
    /// # Errors
    /// Why.
    fn ended(self) -> Result<(Self, bool), ClientError>;
}

impl Line for SearchLine {
    fn ended(self) -> Result<(Self, bool), ClientError> {
        match self {
            SearchLine::Fatal(body) => Err(ClientError::Api(body.into_error(500))),
            line => {
                let last = matches!(line, SearchLine::Summary(_));
                Ok((line, last))
            }
        }
    }
}

impl Line for DiffLine {
    fn ended(self) -> Result<(Self, bool), ClientError> {
        match self {
            DiffLine::Fatal(body) => Err(ClientError::Api(body.into_error(500))),
            line => {
                let last = matches!(line, DiffLine::Summary(_));
                Ok((line, last))
            }
        }
    }
}

/// The lines of a search or comparison as they come.
pub struct LineStream<L> {
    body: ResponseBody,
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no line end.
    searched: usize,
    ended: bool,
    line: PhantomData<fn() -> L>,
}

impl<L> std::fmt::Debug for LineStream<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Client {
    /// `GET /search/files`, with keys `POST /search/files`, as a stream.
    ///
    /// # Errors
    /// As the hub says; no connection.
    pub async fn search(
        &self,
        query: &SearchQuery,
        keys_b64: Vec<String>,
    ) -> Result<LineStream<SearchLine>, ClientError> {
        let path = Path::new("/search/files");
        if keys_b64.is_empty() {
            return self.lines(Method::GET, path.query(query)?, None::<&()>).await;
        }
        let request = SearchRequest { query: query.clone(), keys_b64 };
        self.lines(Method::POST, path, Some(&request)).await
    }

    /// `GET /backups/{a}/diff/{b}`, with keys `POST`, as a stream.
    ///
    /// # Errors
    /// As the hub says; no connection.
    pub async fn diff(
        &self,
        before: &BackupId,
        after: &BackupId,
        query: &DiffQuery,
        keys_b64: Vec<String>,
    ) -> Result<LineStream<DiffLine>, ClientError> {
        let path = Path::new("/backups").segment(before).then("/diff").segment(after);
        if keys_b64.is_empty() {
            return self.lines(Method::GET, path.query(query)?, None::<&()>).await;
        }
        let request = DiffRequest { query: query.clone(), keys_b64 };
        self.lines(Method::POST, path, Some(&request)).await
    }

    async fn lines<L, B: Serialize + Sync>(
        &self,
        method: Method,
        path: Path,
        body: Option<&B>,
    ) -> Result<LineStream<L>, ClientError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(ClientError::request)?;
        let request = Request::builder()
            .method(method)
            .uri(path.into_uri()?)
            .header(header::ACCEPT, crate::NDJSON)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.unwrap_or_default()))
            .map_err(ClientError::request)?;
        let body = self.send(request).await?.into_body();
        Ok(LineStream { body, buffer: BytesMut::new(), searched: 0, ended: false, line: PhantomData })
    }
}

impl<L: Line> LineStream<L> {
    /// The next line; `None` after the last. May be dropped and called again without losing any.
    ///
    /// # Errors
    /// Where the stream is cut off, is not understood, or the hub says that it can't go on.
    pub async fn next(&mut self) -> Result<Option<L>, ClientError> {
        while !self.ended {
            let found = self.buffer.iter().skip(self.searched).position(|byte| *byte == b'\n');
            if let Some(length) = found {
                let line = self.buffer.split_to(self.searched + length);
                self.buffer.advance(1);
                self.searched = 0;
                if line.is_empty() {
                    continue;
                }
                let line: L = serde_json::from_slice(&line).map_err(ClientError::answer)?;
                let (line, last) = line.ended().inspect_err(|_| self.ended = true)?;
                self.ended = last;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                return Err(ClientError::TooLarge { limit: MAX_LINE });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(TransportError::cut(error).into()),
                None => return Err(TransportError::cut("it ended before its last line").into()),
            }
        }
        Ok(None)
    }
}
