//! How the `model`'s words and ids look in the OpenAPI document.
//!
//! The model knows nothing of OpenAPI, so each closed vocabulary has a stand-in here that is only ever
//! named in `#[schema(value_type = …)]`. Its words come from the model, so they can't drift apart.

use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident = $words:expr;)+) => {$(
        $(#[doc = $doc])+
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words: Vec<&str> = $words.iter().map(|word| word.as_str()).collect();
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some(concat!($($doc),+).trim()))
                    .enum_values(Some(words))
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

macro_rules! texts {
    ($($(#[doc = $doc:literal])+ $name:ident = $max:literal, $pattern:expr;)+) => {$(
        $(#[doc = $doc])+
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some(concat!($($doc),+).trim()))
                    .min_length(Some(1))
                    .max_length(Some($max))
                    .pattern(Some($pattern))
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

/// Bytes of whatever is downloaded.
pub enum Bytes {}

impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .into()
    }
}

impl ToSchema for Bytes {}

/// What is one component of a path, and one word of a table: the rule of `model`'s ids.
const ID: &str = concat!(
    r"^[^/\\@~\s\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069.\-]",
    r"([^/\\@~\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]*",
    r"[^/\\@~\s\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069])?$"
);

texts! {
    /// A VM's name.
    VmName = 128, ID;
    /// A backup's id: `backup-{vm}-{YYYYMMDD-HHMMSS}`.
    BackupId = 200, ID;
    /// A VM's stable id.
    ContextId = 200, ID;
    /// A repository's id or name.
    RepositoryId = 64, ID;
    /// A job's id; a backup's is that of the backup.
    JobId = 200, ID;
    /// A user's name.
    UserName = 64, "^[a-z0-9][a-z0-9._-]*$";
    /// A disk's source or target: a path, `file:///…`, `nbd://…`, `nbds://…`, `nbd+unix:///…`, or `push`.
    SourceUri = 4096, r"^(push|/.*|(file|nbds?(\+unix)?):.*)$";
    /// A label's key.
    TagKey = 128, r"^[^=\u0000\n]+$";
}

words! {
    /// What went wrong, as one stable word.
    ErrorCode = crate::ErrorCode::ALL;
    /// What a restore point holds.
    BackupType = model::BackupType::ALL;
    /// What may be asked for: a backup type, or `auto` for incremental where a chain exists and full otherwise.
    RequestedType = model::RequestedType::ALL;
    /// The state of a job, and of one disk within it.
    Status = model::Status::ALL;
    /// How far a job is.
    Phase = model::Phase::ALL;
    /// What kind of work a job does.
    JobType = model::JobType::ALL;
    /// How data clusters are stored.
    Compression = model::Compression::ALL;
    /// What to do when changes can't be told, or the parent can't be built upon.
    OnTrackingLoss = model::OnTrackingLoss::ALL;
    /// What somebody may do; each role includes the ones before it: `viewer`, `restorer`, `operator`, `admin`.
    Role = model::Role::ALL;
    /// The format of an image file.
    ImageFormat = [
        model::ImageFormat::Raw,
        model::ImageFormat::Qcow2,
        model::ImageFormat::Vmdk,
        model::ImageFormat::Vhdx,
        model::ImageFormat::Vdi,
    ];
    /// What kind of storage a repository lies on.
    RepositoryType = [
        model::RepositoryType::Local,
        model::RepositoryType::Nfs,
        model::RepositoryType::Cifs,
        model::RepositoryType::S3,
        model::RepositoryType::Azure,
        model::RepositoryType::Gcs,
        model::RepositoryType::Sftp,
    ];
}
