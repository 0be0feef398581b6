//! Paths and queries of requests, percent-encoded (RFC 3986).

use super::ClientError;
use crate::BASE_PATH;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

/// All but the characters that RFC 3986 calls unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as one segment of a request's path.
pub fn path_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The path of a request below the API's base.
pub(super) struct Path(String);

impl Path {
    /// The base and a fixed part, such as `/backups`.
    pub(super) fn new(fixed: &'static str) -> Self {
        Path(format!("{BASE_PATH}{fixed}"))
    }

    /// One more segment; whatever is in it stays in it.
    pub(super) fn segment(mut self, text: impl AsRef<str>) -> Self {
        self.0.push('/');
        self.0.extend(utf8_percent_encode(text.as_ref(), SEGMENT));
        self
    }

    /// One more fixed part.
    pub(super) fn then(mut self, fixed: &'static str) -> Self {
        self.0.push_str(fixed);
        self
    }

    /// The query.
    pub(super) fn query(mut self, query: &impl Serialize) -> Result<Self, ClientError> {
        let query = serde_urlencoded::to_string(query).map_err(ClientError::request)?;
        if !query.is_empty() {
            self.0.push('?');
            self.0.push_str(&query);
        }
        Ok(self)
    }

    pub(super) fn into_uri(self) -> Result<Uri, ClientError> {
        self.0.parse().map_err(ClientError::request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackupQuery;

    #[test]
    fn names_stay_one_segment_whatever_is_in_them() {
        let uri = Path::new("/vms").segment("büro/..?#% 🐘").then("/chain").into_uri().unwrap();
        assert_eq!(uri.path(), "/api/v1/vms/b%C3%BCro%2F..%3F%23%25%20%F0%9F%90%98/chain");
        assert_eq!(uri.query(), None);
    }

    #[test]
    fn what_is_left_out_is_not_sent() {
        let query = BackupQuery { vm_name: Some("a b&c".into()), limit: Some(5), ..BackupQuery::default() };
        let uri = Path::new("/backups").query(&query).unwrap().into_uri().unwrap();
        assert_eq!(uri.query(), Some("vm_name=a+b%26c&limit=5"));
        let all = Path::new("/backups").query(&BackupQuery::default()).unwrap().into_uri().unwrap();
        assert_eq!(all.query(), None);
    }
}
