//! What an error of a guest's files means to the user.

use crate::Error;
use api::ErrorCode;
use guestfs::tree::PathError;

/// An error at a path of the guest.
pub(super) fn at(path: &[u8], error: &guestfs::Error) -> Error {
    use guestfs::Error as Guest;
    let code = match error {
        Guest::Io { .. } | Guest::Corrupt { .. } => ErrorCode::Damaged,
        Guest::Unsupported(_) => ErrorCode::Unsupported,
        Guest::Encrypted(_) => ErrorCode::Encrypted,
        Guest::Untrusted(_) => ErrorCode::Untrusted,
        Guest::NotFound => ErrorCode::FileNotFound,
        Guest::NotADirectory | Guest::IsADirectory | Guest::NotASymlink | Guest::Limit(_) => {
            ErrorCode::InvalidRequest
        }
    };
    Error::Guest { path: String::from_utf8_lossy(path).into_owned(), reason: error.to_string(), code }
}

/// An error of following a path.
pub(super) fn of_path(error: &PathError) -> Error {
    at(&error.at, &error.source)
}
