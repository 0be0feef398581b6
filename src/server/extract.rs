//! Reading requests: like axum's extractors, but what is wrong is told in the contract's body, with the
//! field named.
//!
//! A body may be declared as anything: the older scripts send theirs as `curl -d` does. It must be JSON.

use crate::failure::Failure;
use api::{ApiError, ErrorCode, MAX_LIMIT, MAX_OFFSET, PageQuery};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

/// A JSON body.
pub(crate) struct Json<T>(pub T);

/// A JSON body that may be left out, meaning the default of everything.
pub(crate) struct OptionalJson<T>(pub T);

/// The query.
pub(crate) struct Query<T>(pub T);

/// The parameters of the path.
pub(crate) struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        parse(&read(request, state).await?).map(Json)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = read(request, state).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(OptionalJson(T::default()));
        }
        if body.trim_ascii() == b"null" {
            return Ok(OptionalJson(T::default()));
        }
        parse(&body).map(OptionalJson)
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        Failure(match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::new(ErrorCode::PayloadTooLarge, "the request's body is too large")
                    .hint("no request of this API needs more than 1 MiB")
            }
            _ => ApiError::new(ErrorCode::InvalidRequest, "the request's body broke off"),
        })
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    // Every body of this API is an object; a list would be taken for one, field by field in their order.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(refuse("", "the request's body is to be a JSON object, and is a list"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let inner = error.into_inner();
        // What is no word where one is expected counts as syntax there, whatever else it may be.
        let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        if inner.is_syntax() && is_json() {
            return refuse(&field, "it does not take such a value");
        }
        if inner.is_data() {
            refuse(&field, &without_place(&inner.to_string()))
        } else {
            let line = inner.line();
            let column = inner.column();
            Failure(ApiError::new(
                ErrorCode::InvalidRequest,
                format!("the request's body is not JSON: line {line}, column {column}"),
            ))
        }
    })?;
    json.end().map_err(|_| {
        Failure(ApiError::new(ErrorCode::InvalidRequest, "something follows the JSON of the request's body"))
    })?;
    Ok(value)
}

/// The field's path says where it is; serde's line and column, counted in a body that nobody sees, do not.
fn without_place(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message.get(..at).unwrap_or(message).to_owned(),
        None => message.to_owned(),
    }
}

/// What serde and the standard library say, without the names of this program's types.
fn in_words(message: &str) -> String {
    let mut told = message.to_owned();
    for (theirs, ours) in [
        ("expected u64", "expected a whole number"),
        ("expected u32", "expected a whole number"),
        ("expected u16", "expected a whole number"),
        ("expected u8", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("expected a sequence", "expected a list"),
        ("expected unit", "expected one of its words"),
        ("invalid digit found in string", "it is to be a whole number"),
        ("cannot parse integer from empty string", "it is to be a whole number"),
        ("number too large to fit in target type", "the number is too large"),
    ] {
        told = told.replace(theirs, ours);
    }
    if let Some((before, after)) = told.split_once("expected struct ") {
        let rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        told = format!("{before}expected an object{rest}");
    }
    told
}

/// `field` is a path such as `disks[1].source`; `.` and nothing mean the whole.
fn refuse(field: &str, message: &str) -> Failure {
    let message = &in_words(message);
    if let Some(unknown) = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("missing field `"))
        .and_then(|rest| rest.split_once('`'))
    {
        return Failure(ApiError::invalid(unknown.0, message));
    }
    if matches!(field, "" | "." | "?") {
        return Failure(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    Failure(ApiError::invalid(field, format!("{field}: {message}")))
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|query| Query(query.0)).map_err(|rejection| {
            // The rejection's text is a fixed sentence, the field's path where there is one, and the reason.
            let text = rejection.body_text();
            let text = text.split_once("query string: ").map_or(text.as_str(), |(_, rest)| rest);
            match text.split_once(": ") {
                Some((field, reason)) if !field.contains(' ') => refuse(field, reason),
                _ => refuse("", text),
            }
        })
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(path) => Ok(Path(path.0)),
            Err(rejection) => {
                let text = rejection.body_text();
                let text = text.split_once("Invalid URL: ").map_or(text.as_str(), |(_, rest)| rest);
                Err(refuse("", text))
            }
        }
    }
}

/// How long a page is, checked.
///
/// # Errors
/// Where more is asked for than a page may hold.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Failure> {
    match asked {
        None => Ok(api::DEFAULT_LIMIT),
        Some(limit) if limit <= MAX_LIMIT => Ok(limit),
        Some(limit) => Err(refuse("limit", &format!("{limit} is more than a page may hold, {MAX_LIMIT}"))),
    }
}

/// How many are skipped, checked.
///
/// # Errors
/// Where there can't be as many.
pub(crate) fn offset(asked: Option<u64>) -> Result<u64, Failure> {
    match asked {
        Some(offset) if offset > MAX_OFFSET => {
            Err(refuse("offset", &format!("{offset} is more than can be skipped, {MAX_OFFSET}")))
        }
        asked => Ok(asked.unwrap_or(0)),
    }
}

/// Which part of a list that is known whole is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    limit: u32,
    offset: u64,
}

impl Part {
    /// What is asked for, checked.
    ///
    /// # Errors
    /// Those of [`limit`] and [`offset`].
    pub(crate) fn of(query: &PageQuery) -> Result<Part, Failure> {
        Ok(Part { limit: limit(query.limit)?, offset: offset(query.offset)? })
    }

    /// That part, and how many there are.
    pub(crate) fn cut<T>(self, all: impl IntoIterator<Item = T>) -> (Vec<T>, u64) {
        let (mut part, mut total) = (Vec::new(), 0);
        for item in all {
            if total >= self.offset && part.len() < self.limit as usize {
                part.push(item);
            }
            total += 1;
        }
        (part, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> ApiError {
        match parse::<api::StartBackup>(json.as_bytes()) {
            Ok(request) => panic!("{request:?} was taken"),
            Err(Failure(error)) => error,
        }
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        for (json, field, word) in [
            (r#"{"backup_type":"full"}"#, "vm_name", "missing field"),
            (r#"{"vm_name":"a","backup_type":"full","disk":1}"#, "disk", "unknown field"),
            (r#"{"vm_name":"a","backup_type":"fulll"}"#, "backup_type", "fulll"),
            (r#"{"vm_name":"../a","backup_type":"full"}"#, "vm_name", "begins with a dot"),
            (r#"{"vm_name":"a","backup_type":"full","sources":["/a","b"]}"#, "sources[1]", "relative"),
            (r#"{"vm_name":"a","backup_type":"full","disk_id":-1}"#, "disk_id", "-1"),
        ] {
            let error = refused(json);
            assert_eq!(error.details["field"], field, "{error}");
            assert!(error.message.contains(word) && !error.message.contains(" at line "), "{error}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_without_repeating_it() {
        for json in ["", "{", "[1", r#"["a","full"]"#, " [null]", "{\"vm_name\":}", "\u{1}secret"] {
            let error = refused(json);
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{json}");
            assert!(!error.message.contains("secret"), "{error}");
        }
        assert!(refused(r#"{"vm_name":"a","backup_type":"full"} x"#).message.contains("follows"));
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(limit(None).ok(), Some(100));
        assert_eq!(limit(Some(1000)).ok(), Some(1000));
        assert!(limit(Some(1001)).is_err());
        assert_eq!((offset(None).ok(), offset(Some(MAX_OFFSET)).ok()), (Some(0), Some(MAX_OFFSET)));
        assert!(offset(Some(u64::MAX)).is_err());
    }
}
