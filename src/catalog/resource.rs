//! What a lease can be on, and how that is written in the table: `vm:…`, `point:…`, `repository:…`.

use model::{BackupId, ContextId, IdError, RepositoryId};
use std::fmt;
use std::str::FromStr;

/// What a lease is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// All backups of a VM: exclusive for whoever makes, merges or deletes them.
    Vm(ContextId),
    /// One restore point: shared by its readers.
    Point(BackupId),
    /// A repository as a whole: exclusive for who scans or removes it.
    Repository(RepositoryId),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Vm(id) => write!(f, "vm:{id}"),
            Resource::Point(id) => write!(f, "point:{id}"),
            Resource::Repository(id) => write!(f, "repository:{id}"),
        }
    }
}

/// A text that is no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// What comes after the colon is no id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// What comes before it is no kind.
    #[error("{0:?} is no kind of resource")]
    Kind(String),
}

impl FromStr for Resource {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        match text.split_once(':') {
            Some(("vm", id)) => Ok(Resource::Vm(ContextId::new(id)?)),
            Some(("point", id)) => Ok(Resource::Point(BackupId::new(id)?)),
            Some(("repository", id)) => Ok(Resource::Repository(RepositoryId::new(id)?)),
            _ => Err(ResourceError::Kind(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_read_back_with_whatever_their_ids_hold() {
        let resources = [
            Resource::Vm(ContextId::new("ctx-a:b-20251006-120000").unwrap()),
            Resource::Point(BackupId::new("backup-vm:x-20251006-120000-2").unwrap()),
            Resource::Repository(RepositoryId::new("default").unwrap()),
        ];
        for resource in resources {
            assert_eq!(resource.to_string().parse::<Resource>().unwrap(), resource);
        }
        assert!("vm".parse::<Resource>().is_err());
        assert!("disk:a".parse::<Resource>().is_err());
        assert!("vm:../x".parse::<Resource>().is_err());
    }
}
