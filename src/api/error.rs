//! The one error that every layer above the engine speaks, and its JSON body.
//!
//! The message is for a person and never holds a stack trace, a secret or a path that the caller has not
//! named and that is outside the repository. The code is for programs. Nothing here chooses a code: whoever
//! meets the failure does.

use crate::{ErrorCode, schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A failed request: what went wrong, as a code and as a sentence, and what to do next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What, for a program.
    pub code: ErrorCode,
    /// What and why, for a person: one sentence without its full stop.
    pub message: String,
    /// What to do next, for a person: a command to type where there is one.
    pub hint: Option<String>,
    /// More for a program, by code: `dependents`, `candidates`, `holder`, `field` …
    pub details: Map<String, Value>,
}

impl ApiError {
    /// An error without hint or details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ApiError { code, message: message.into(), hint: None, details: Map::new() }
    }

    /// A request that can't be carried out as it is, because of `field`.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        ApiError::new(ErrorCode::InvalidRequest, message).with("field", field)
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with one more detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// Always false.
    #[serde(default)]
    pub success: bool,
    /// What and why, for a person.
    pub error: String,
    /// A stable word for programs, one of a closed list; a newer hub may send one that this version does
    /// not know.
    #[schema(value_type = schema::ErrorCode)]
    pub code: String,
    /// What to do next; null where there is nothing that could be said.
    #[serde(default)]
    pub hint: Option<String>,
    /// More for a program, by code.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub details: Map<String, Value>,
}

impl From<ApiError> for ErrorBody {
    fn from(error: ApiError) -> ErrorBody {
        ErrorBody {
            success: false,
            error: error.message,
            code: error.code.as_str().to_owned(),
            hint: error.hint,
            details: error.details,
        }
    }
}

impl ErrorBody {
    /// The error again; `status` stands in where the code is not known here.
    pub fn into_error(self, status: u16) -> ApiError {
        ApiError {
            code: self.code.parse().unwrap_or_else(|_| ErrorCode::of_status(status)),
            message: self.error,
            hint: self.hint,
            details: self.details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_that_of_the_contract_and_reads_back() {
        let error = ApiError::new(ErrorCode::HasDependents, "2 restore point(s) depend on a")
            .hint("delete them too with --cascade")
            .with("dependents", vec!["b", "c"]);
        let json = serde_json::to_value(ErrorBody::from(error.clone())).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "success": false,
                "error": "2 restore point(s) depend on a",
                "code": "has_dependents",
                "hint": "delete them too with --cascade",
                "details": {"dependents": ["b", "c"]},
            })
        );
        let body: ErrorBody = serde_json::from_value(json).unwrap();
        assert_eq!(body.into_error(409), error);
    }

    #[test]
    fn a_code_of_the_future_falls_back_to_its_status() {
        let body: ErrorBody =
            serde_json::from_str(r#"{"success":false,"error":"x","code":"quantum"}"#).unwrap();
        assert_eq!(body.into_error(423).code, ErrorCode::Locked);
    }
}
