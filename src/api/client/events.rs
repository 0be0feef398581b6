//! Server-sent events (HTML Living Standard, "Server-sent events", 9.2.6), as far as the hub sends them:
//! `event` and `data` fields and comments.
//!
//! A stream ends after its final event. One that ends before has been cut off, which is an error: the
//! watcher can connect again, the job does not depend on it. No event may be larger than 1 MiB.

use super::{Client, ClientError, Path, ResponseBody, TransportError};
use crate::Event;
use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use model::{BackupId, JobId};

/// The most bytes of one event, and of one line.
const MAX_EVENT: usize = 1 << 20;

/// The progress of one job as it comes.
pub struct EventStream {
    body: ResponseBody,
    parser: Parser,
    ended: bool,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Client {
    /// `GET /backups/{id}/events`.
    ///
    /// # Errors
    /// As the hub says; no connection.
    pub async fn backup_events(&self, id: &BackupId) -> Result<EventStream, ClientError> {
        self.events(Path::new("/backups").segment(id).then("/events")).await
    }

    /// `GET /jobs/{id}/events`.
    ///
    /// # Errors
    /// As the hub says; no connection.
    pub async fn job_events(&self, id: &JobId) -> Result<EventStream, ClientError> {
        self.events(Path::new("/jobs").segment(id).then("/events")).await
    }

    async fn events(&self, path: Path) -> Result<EventStream, ClientError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(path.into_uri()?)
            .header(header::ACCEPT, "text/event-stream")
            .body(Bytes::new())
            .map_err(ClientError::request)?;
        let body = self.send(request).await?.into_body();
        Ok(EventStream { body, parser: Parser::default(), ended: false })
    }
}

impl EventStream {
    /// The next event; `None` after the final one. May be dropped and called again without losing any.
    ///
    /// # Errors
    /// Where the stream is cut off, is not understood, or the hub says that it can't go on.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        while !self.ended {
            while let Some((name, data)) = self.parser.next()? {
                match Event::parse(&name, &data).map_err(ClientError::answer)? {
                    Some(Event::Error(body)) => {
                        self.ended = true;
                        return Err(ClientError::Api(body.into_error(500)));
                    }
                    Some(event) => {
                        self.ended = matches!(event, Event::Final(_));
                        return Ok(Some(event));
                    }
                    // An event of a newer hub.
                    None => {}
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.parser.feed(&data);
                    }
                }
                Some(Err(error)) => return Err(TransportError::cut(error).into()),
                None => return Err(TransportError::cut("it ended before the job did").into()),
            }
        }
        Ok(None)
    }
}

/// Bytes in, (event name, data) out.
#[derive(Default)]
struct Parser {
    bytes: BytesMut,
    /// How much of `bytes` is known to hold no line end.
    searched: usize,
    name: String,
    data: String,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Result<Option<(String, String)>, ClientError> {
        while let Some(length) = self.bytes.iter().skip(self.searched).position(|byte| *byte == b'\n') {
            let mut line = self.bytes.split_to(self.searched + length);
            self.bytes.advance(1);
            self.searched = 0;
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            let line = std::str::from_utf8(&line).map_err(ClientError::answer)?;
            if line.is_empty() {
                let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
                if !data.is_empty() {
                    return Ok(Some((name, data)));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "data" => {
                    if !self.data.is_empty() {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                }
                // Comments (an empty field) keep the connection alive; ids and retry times are not used.
                _ => {}
            }
            if self.data.len() > MAX_EVENT {
                return Err(ClientError::TooLarge { limit: MAX_EVENT });
            }
        }
        self.searched = self.bytes.len();
        if self.searched > MAX_EVENT {
            return Err(ClientError::TooLarge { limit: MAX_EVENT });
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(parser: &mut Parser) -> Vec<(String, String)> {
        std::iter::from_fn(|| parser.next().unwrap()).collect()
    }

    #[test]
    fn events_read_alike_however_they_are_cut() {
        let wire =
            ": hello\n\nevent: progress\r\ndata: {\"a\":1}\r\n\r\nid: 7\nevent: final\ndata:b\ndata: c\n\n";
        let whole = [("progress", "{\"a\":1}"), ("final", "b\nc")].map(|(n, d)| (n.to_owned(), d.to_owned()));
        for step in 1..wire.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for part in wire.as_bytes().chunks(step) {
                parser.feed(part);
                found.extend(events(&mut parser));
            }
            assert_eq!(found, whole, "cut every {step} bytes");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        parser.feed(&vec![b'x'; MAX_EVENT + 1]);
        assert!(matches!(parser.next(), Err(ClientError::TooLarge { .. })));
        let mut parser = Parser::default();
        for _ in 0..3 {
            parser.feed(b"data: ");
            parser.feed(&vec![b'x'; MAX_EVENT / 2]);
            parser.feed(b"\n");
        }
        assert!(matches!(parser.next(), Err(ClientError::TooLarge { .. })));
    }
}
