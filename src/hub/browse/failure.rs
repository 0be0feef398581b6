//! What an error of a guest's files means to the user.

use crate::Error;
use api::ErrorCode;
use guestfs::tree::PathError;

/// An error at a path of the guest.
pub(crate) fn at(path: &[u8], error: &guestfs::Error) -> Error {
    let path = String::from_utf8_lossy(path).into_owned();
    Error::Guest { path, reason: error.to_string(), code: code(error) }
}

/// The word for an error of a guest.
pub(crate) fn code(error: &guestfs::Error) -> ErrorCode {
    use guestfs::Error as Guest;
    match error {
        Guest::Io { .. } | Guest::Corrupt { .. } => ErrorCode::Damaged,
        Guest::Unsupported(_) => ErrorCode::Unsupported,
        Guest::Encrypted(_) => ErrorCode::Encrypted,
        Guest::Untrusted(_) => ErrorCode::Untrusted,
        Guest::NotFound => ErrorCode::FileNotFound,
        Guest::NotADirectory | Guest::IsADirectory | Guest::NotASymlink | Guest::Limit(_) => {
            ErrorCode::InvalidRequest
        }
    }
}

/// An error of following a path.
pub(crate) fn of_path(error: &PathError) -> Error {
    at(&error.at, &error.source)
}
