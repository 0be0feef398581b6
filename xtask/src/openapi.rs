//! `openapi/openapi.json`: the API's document, made from the handlers.

use crate::Files;
use std::error::Error;
use std::path::PathBuf;

/// The one file.
pub(crate) fn files() -> Result<Files, Box<dyn Error>> {
    Ok(vec![(PathBuf::from("openapi/openapi.json"), server::document()?)])
}
