//! A file of a guest as an HTTP answer: streamed, with ranges (RFC 9110, chapters 13 and 14), a content type and a name
//! (RFC 6266, RFC 8187).
//!
//! A thread of its own reads ahead by a few buffers and no further; it ends when the caller has gone away. An error in
//! the middle cuts the answer off, so that nobody takes a part for the whole.

use crate::failure::{Failure, Result};
use api::{ApiError, ErrorCode};
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hub::OpenFile;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::io;
use std::ops::Range;
use tokio::sync::mpsc;

/// What is read at once, and how many of these wait for the caller.
const CHUNK: usize = 256 << 10;
const AHEAD: usize = 3;
/// What is looked at to tell text from other content.
const SNIFFED: usize = 4096;
/// RFC 8187, `attr-char`.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The answer for that file and those request headers.
///
/// # Errors
/// A range that the file does not have; where its beginning can't be read.
pub(crate) async fn respond(file: OpenFile, request: &HeaderMap) -> Result<Response> {
    let tag = format!("\"{}\"", file.tag);
    let is = |name: header::HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    if let Some(known) = is(header::IF_NONE_MATCH)
        && known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*")
    {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        insert(response.headers_mut(), header::ETAG, &tag);
        return Ok(response);
    }
    let asked = is(header::RANGE).filter(|_| is(header::IF_RANGE).is_none_or(|known| known.trim() == tag));
    let (status, range) = match asked.map(|text| wanted(text, file.size)) {
        None | Some(Wanted::All) => (StatusCode::OK, 0..file.size),
        Some(Wanted::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Wanted::Outside) => {
            let error = ApiError::new(ErrorCode::InvalidRequest, format!("the file has {} bytes", file.size));
            let mut response = axum::response::IntoResponse::into_response(Failure(error));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", file.size));
            return Ok(response);
        }
    };
    let size = file.size;
    let name = file.name.clone();
    let modified = httpdate(file.modified);
    let (first, body) = start(file, range.clone()).await?;
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
    insert(headers, header::ACCEPT_RANGES, "bytes");
    insert(headers, header::ETAG, &tag);
    insert(headers, header::CONTENT_TYPE, &content_type(&name, &first, range.start == 0));
    insert(headers, header::CONTENT_DISPOSITION, &disposition(&name));
    // What a guest holds is never run in the browser of who looks at it.
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Some(modified) = modified {
        insert(headers, header::LAST_MODIFIED, &modified);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        insert(headers, header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    Ok(response)
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // All values are made of visible ASCII here.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Reads the beginning, so that what fails at once is told with a status, and then the rest behind the answer.
async fn start(file: OpenFile, range: Range<u64>) -> Result<(Bytes, Body)> {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
    let (began, beginning) = tokio::sync::oneshot::channel();
    let body = move || {
        let mut offset = range.start;
        let mut began = Some(began);
        loop {
            let length = (range.end - offset).min(CHUNK as u64) as usize;
            let mut buf = vec![0; length];
            let read = match file.read_at(offset, &mut buf) {
                Ok(read) if read == length => Ok(Bytes::from(buf)),
                Ok(_) => Err(hub::Error::Internal("the file ended before its end".to_owned())),
                Err(error) => Err(error),
            };
            offset += length as u64;
            if let Some(began) = began.take() {
                let failed = read.is_err();
                if began.send(read).is_err() || failed || offset >= range.end {
                    return;
                }
                continue;
            }
            let failed = read.is_err();
            let sent = sender.blocking_send(read.map_err(|error| io::Error::other(error.to_string())));
            if sent.is_err() || failed || offset >= range.end {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("download".to_owned())
        .spawn(body)
        .map_err(|error| hub::Error::Internal(format!("no thread can be made: {error}")))?;
    let first = beginning
        .await
        .map_err(|_| hub::Error::Internal("the thread that read the file ended".to_owned()))??;
    let mut waiting = Some(first.clone());
    let frames = stream::poll_fn(move |context| match waiting.take() {
        Some(first) => std::task::Poll::Ready(Some(Ok(first))),
        None => receiver.poll_recv(context),
    });
    Ok((first, Body::from_stream(frames)))
}

#[derive(Debug, PartialEq)]
enum Wanted {
    /// No range, several, or none that is understood: all of it is always right.
    All,
    Part(Range<u64>),
    Outside,
}

/// RFC 9110, section 14.1.2.
fn wanted(text: &str, size: u64) -> Wanted {
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Wanted::All;
    }
    // A number that is too large for a position is one past every end.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Wanted::All,
        (true, false) => match number(last) {
            0 => Wanted::Outside,
            _ if size == 0 => Wanted::Outside,
            length => Wanted::Part(size - length.min(size)..size),
        },
        (false, _) => {
            let start = number(first);
            let end = if last.is_empty() { size } else { number(last).saturating_add(1).min(size) };
            match () {
                () if !last.is_empty() && number(last) < start => Wanted::All,
                () if start >= size => Wanted::Outside,
                () => Wanted::Part(start..end),
            }
        }
    }
}

/// By the name; where that says nothing, text or not by the beginning. Nothing that a browser would run.
fn content_type(name: &[u8], first: &[u8], from_the_beginning: bool) -> String {
    let guessed = mime_guess::from_path(String::from_utf8_lossy(name).as_ref()).first_raw();
    if let Some(guessed) = guessed {
        return if guessed.starts_with("text/") {
            format!("{guessed}; charset=utf-8")
        } else {
            guessed.to_owned()
        };
    }
    let sample = &first[..first.len().min(SNIFFED)];
    let text = match std::str::from_utf8(sample) {
        Ok(_) => true,
        // Cut in the middle of a character.
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    let plain = text
        && !sample.iter().any(|&byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b));
    match plain && from_the_beginning {
        true => "text/plain; charset=utf-8".to_owned(),
        false => "application/octet-stream".to_owned(),
    }
}

/// A name that old clients understand, and the exact one (RFC 6266, section 4.3).
pub(crate) fn disposition(name: &[u8]) -> String {
    let plain: String = name
        .iter()
        .map(|&byte| {
            if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'%') || byte == b' ' {
                byte as char
            } else {
                '_'
            }
        })
        .collect();
    let exact = String::from_utf8_lossy(name);
    let exact = percent_encode(exact.as_bytes(), NAME);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

/// RFC 9110, section 5.6.7; none for times that it can't write.
fn httpdate(seconds: i64) -> Option<String> {
    let at = jiff::Timestamp::from_second(seconds).ok()?;
    let shown = at.to_zoned(jiff::tz::TimeZone::UTC);
    (0..=9999).contains(&shown.year()).then(|| shown.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let cases = [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=5-", Wanted::Part(5..100)),
            ("bytes=-5", Wanted::Part(95..100)),
            ("bytes=-500", Wanted::Part(0..100)),
            ("bytes=90-500", Wanted::Part(90..100)),
            ("bytes=100-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=7-3", Wanted::All),
            ("bytes=1-2,4-5", Wanted::All),
            ("bytes=x-", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("bytes=99999999999999999999-", Wanted::Outside),
        ];
        for (text, expected) in cases {
            assert_eq!(wanted(text, 100), expected, "{text}");
        }
        assert_eq!(wanted("bytes=-1", 0), Wanted::Outside);
    }

    #[test]
    fn names_can_not_leave_their_header() {
        let shown = disposition(b"a\"b\\c\r\nX: y/\xff\xc3\xbc");
        assert!(shown.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{shown}");
        assert_eq!(shown.matches('"').count(), 2);
        assert!(disposition("ü.txt".as_bytes()).ends_with("filename*=UTF-8''%C3%BC.txt"));
    }

    #[test]
    fn content_is_told_by_its_name_and_else_by_itself() {
        assert_eq!(content_type(b"index.html", b"", true), "text/html; charset=utf-8");
        assert_eq!(content_type(b"hostname", b"debian\n", true), "text/plain; charset=utf-8");
        assert_eq!(content_type(b"core", b"\x7fELF\x02\x01\x01\0", true), "application/octet-stream");
        assert_eq!(content_type(b"hostname", b"middle", false), "application/octet-stream");
    }
}
