//! How the `model`'s words and ids look in the OpenAPI document.
//!
//! The model knows nothing of OpenAPI, so each closed vocabulary has a stand-in here that is only ever
//! named in `#[schema(value_type = …)]`. Its words come from the model, so they can't drift apart.

use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
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
