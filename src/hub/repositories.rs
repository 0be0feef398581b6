//! Repositories as the hub knows them: registered in the catalog, opened by their marker.
//!
//! A folder is the repository whose id its marker carries. One that carries another id than the catalog
//! expects (a disk was swapped, a mount is missing) is refused before anything is read or written. Creating
//! a repository on a folder that already is one takes that one in again, with its old identity.
//!
//! The default repository is made at the first use that needs one and names none; the user is told.

mod place;

use crate::failure::Place;
use crate::{Error, Hub, Missing, Only, Result, blocking};
use api::{Check, CreateRepository, PatchRepository, TestReport, TestRepository};
use catalog::Usage;
use jiff::Timestamp;
use model::{Repository, RepositoryId, RepositoryType, Space};
use repository::{Identity, LocalRepository};
use std::path::{Path, PathBuf};

/// A repository with what is in it and what is left.
#[derive(Debug, Clone)]
pub struct RepositoryStatus {
    /// Its record.
    pub repository: Repository,
    /// The room of its file system; `None` where it can't be reached.
    pub space: Option<Space>,
    /// Restore points in it.
    pub backup_count: u64,
    /// Bytes of their files.
    pub backups_size_bytes: u64,
}

impl RepositoryStatus {
    /// Bytes that a backup must leave free.
    pub fn reserve_bytes(&self) -> u64 {
        reserve(&self.repository, self.space.unwrap_or_default())
    }
}

impl Hub {
    /// All repositories by name.
    ///
    /// # Errors
    /// Only the catalog's own; one that can't be reached has no space.
    pub async fn repositories(&self) -> Result<Vec<RepositoryStatus>> {
        let usage = self.catalog().usage().await?;
        let mut all = Vec::new();
        for repository in self.catalog().repositories().await? {
            let usage = usage.get(&repository.id).copied().unwrap_or_default();
            all.push(with_space(repository, usage).await?);
        }
        Ok(all)
    }

    /// Comes back when the catalog has answered, whatever it says. Who does not want to wait for its patience gives up before.
    pub async fn catalog_answers(&self) {
        if let Err(error) = self.catalog().repositories().await {
            tracing::debug!(%error, "the catalog");
        }
    }

    /// The same for a caller for whom only these VMs exist: what is counted is of them.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn seen_by(&self, mut status: RepositoryStatus, only: Only<'_>) -> Result<RepositoryStatus> {
        if let Some(names) = only {
            let usage = self.catalog().usage_of(&status.repository.id, names).await?;
            (status.backup_count, status.backups_size_bytes) = (usage.backup_count, usage.size_bytes);
        }
        Ok(status)
    }

    /// The repository of that id or name; `local` is the default one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn repository(&self, id_or_name: &str) -> Result<RepositoryStatus> {
        let repository = self.find_repository(Some(id_or_name)).await?;
        self.status_of(repository).await
    }

    /// Registers a repository, and makes its folder one where it is not.
    ///
    /// # Errors
    /// [`Error::Exists`] where the name is taken; [`Error::Repository`] where the folder can't be used;
    /// [`Error::Unsupported`] for other kinds than local, and for immutable ones.
    pub async fn create_repository(&self, request: CreateRepository) -> Result<RepositoryStatus> {
        supported(request.kind, request.immutable)?;
        let path = local_path(request.config.disk_path.as_deref())?;
        if !request.config.other.is_empty() {
            let names: Vec<&str> = request.config.other.keys().map(String::as_str).collect();
            let reason = format!("a local repository has only disk_path, not {}", names.join(", "));
            return Err(Error::invalid("config", reason));
        }
        let known = self.catalog().repositories().await?;
        if known.iter().any(|other| other.name == request.name || other.id == request.name) {
            return Err(Error::Exists {
                what: format!("repository {}", request.name),
                hint: "choose another name".into(),
            });
        }
        let first = known.is_empty();
        let (wanted, state_dir) = (path.clone(), self.config().state_dir.clone());
        blocking::run("repository", move || place::check(&wanted, &state_dir, &known)).await?;
        let made = self.make_repository(path, request.name, request.default || first, request.reserve_bytes);
        let repository = made.await?;
        self.status_of(repository).await
    }

    /// Changes the settings of a repository.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Exists`] where the name is taken.
    pub async fn update_repository(&self, id: &str, patch: PatchRepository) -> Result<RepositoryStatus> {
        let mut repository = self.find_repository(Some(id)).await?;
        if let Some(name) = patch.name {
            repository.name = name;
        }
        if let Some(enabled) = patch.enabled {
            repository.enabled = enabled;
        }
        match patch.default {
            Some(true) => repository.default = true,
            Some(false) if repository.default => {
                return Err(Error::Conflict {
                    message: format!("{} is the default repository", repository.name),
                    hint: "make another one the default instead".into(),
                });
            }
            _ => {}
        }
        if let Some(reserve) = patch.reserve_bytes {
            repository.reserve_bytes = reserve;
        }
        repository.updated_at = Timestamp::now();
        self.catalog().update_repository(&repository).await?;
        self.status_of(repository).await
    }

    /// Forgets a repository that holds no restore points. Its folder stays, without its marker where it is
    /// empty.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`].
    pub async fn delete_repository(&self, id: &str) -> Result<Repository> {
        let repository = self.find_repository(Some(id)).await?;
        let points = self.usage_of(&repository.id).await?.backup_count;
        if points > 0 {
            return Err(Error::NotEmpty { what: format!("repository {}", repository.name), points });
        }
        self.catalog().remove_repository(&repository.id, false).await?;
        let path = repository.path.clone();
        // A folder that is gone or still holds files nobody knows stays as it is.
        let given_up = blocking::run("repository", move || {
            Ok(LocalRepository::open(Path::new(&path)).and_then(|folder| folder.remove_marker()))
        });
        if let Err(error) = given_up.await? {
            tracing::warn!(repository = %repository.name, %error, "the folder keeps its marker");
        }
        Ok(repository)
    }

    /// Tries a repository out, or a folder that is to become one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`], [`Error::Unsupported`]; what does not work is in the report.
    pub async fn test_repository(&self, request: TestRepository) -> Result<TestReport> {
        let (path, reserve, expected) = match (&request.repository_id, &request.config) {
            (Some(id), None) => {
                let repository = self.find_repository(Some(id.as_str())).await?;
                (PathBuf::from(&repository.path), repository.reserve_bytes, Some(repository.id))
            }
            (None, Some(config)) => {
                supported(request.kind.unwrap_or(RepositoryType::Local), false)?;
                (local_path(config.disk_path.as_deref())?, None, None)
            }
            _ => return Err(Error::invalid("repository_id", "either it or a config must be given")),
        };
        blocking::run("repository test", move || {
            let mut checks: Vec<Check> = repository::probe(&path, reserve)
                .into_iter()
                .map(|check| Check { name: check.name.to_owned(), ok: check.ok, detail: check.detail })
                .collect();
            if let (Some(expected), Ok(found)) = (expected, LocalRepository::open_for_reading(&path))
                && found.identity().id != expected
            {
                checks.push(Check { name: "identity".into(), ok: false, detail: stranger(&found) });
            }
            Ok(TestReport { success: checks.iter().all(|check| check.ok), checks })
        })
        .await
    }

    /// The record of a repository; the default one where none is named.
    pub(crate) async fn find_repository(&self, named: Option<&str>) -> Result<Repository> {
        let missing = |name: &str| Error::missing(Missing::Repository, name);
        if let Some(name) = named {
            let id = RepositoryId::new(name).map_err(|error| Error::invalid("repository_id", error))?;
            if let Some(found) = self.catalog().repository(&id).await? {
                return Ok(found);
            }
            if name != "local" {
                return Err(missing(name));
            }
        }
        match self.catalog().default_repository().await? {
            Some(found) => Ok(found),
            None => Err(missing("default")),
        }
    }

    /// As [`find_repository`](Hub::find_repository), and makes the default one where there is none at all, or takes
    /// it in again where its folder is there already.
    pub(crate) async fn repository_or_default(&self, named: Option<&str>) -> Result<Repository> {
        let by_itself = matches!(named, None | Some("local" | "default"));
        match self.find_repository(named).await {
            Err(Error::NotFound { .. }) if by_itself => {}
            other => return other,
        }
        let path = self.config().default_repository_path();
        let alone = self.catalog().repositories().await?.is_empty();
        // Where there are some, none of them is what was asked for, or another process has made it in between;
        // but one that lies there already is taken in again by its name.
        let lies_there = || named == Some("default") && LocalRepository::open_for_reading(&path).is_ok();
        if !alone && !lies_there() {
            return self.find_repository(named).await;
        }
        let name = RepositoryId::new("default").map_err(|error| Error::Internal(error.to_string()))?;
        match self.make_repository(path.clone(), name, alone, None).await {
            Ok(made) => {
                self.config().tell(&format!("made the default repository in {}", path.display()));
                Ok(made)
            }
            // Another process was faster.
            Err(Error::Exists { .. }) => self.find_repository(named).await,
            Err(error) => Err(error),
        }
    }

    async fn make_repository(
        &self,
        path: PathBuf,
        name: RepositoryId,
        default: bool,
        reserve_bytes: Option<u64>,
    ) -> Result<Repository> {
        let now = Timestamp::now();
        let unusable = name.clone();
        let folder = blocking::run("repository", move || {
            let failed = |error: repository::Error| from_repository(unusable.as_str(), error);
            let id = RepositoryId::new(format!("repo-{}", uuid::Uuid::new_v4()))
                .map_err(|error| Error::Internal(error.to_string()))?;
            let identity = Identity { id, name: unusable.clone(), created_at: now };
            match LocalRepository::create(&path, identity) {
                Ok(made) => Ok(made),
                Err(repository::Error::Exists { .. }) => LocalRepository::open(&path).map_err(failed),
                Err(error) => Err(failed(error)),
            }
        })
        .await?;
        let repository = Repository { name, default, reserve_bytes, updated_at: now, ..record_of(&folder) };
        match self.catalog().insert_repository(&repository).await {
            Err(catalog::Error::AlreadyExists { .. }) => Err(Error::Exists {
                what: format!("a repository in {}", repository.path),
                hint: "`sendense-ctl repo list` shows it; `repo scan` takes in what lies there".into(),
            }),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(repository),
        }
    }

    pub(crate) async fn usage_of(&self, id: &RepositoryId) -> Result<Usage> {
        Ok(self.catalog().usage().await?.get(id).copied().unwrap_or_default())
    }

    async fn status_of(&self, repository: Repository) -> Result<RepositoryStatus> {
        let usage = self.usage_of(&repository.id).await?;
        with_space(repository, usage).await
    }
}

/// Looks how much room is left.
async fn with_space(repository: Repository, usage: Usage) -> Result<RepositoryStatus> {
    let path = PathBuf::from(&repository.path);
    let space = blocking::run("repository", move || {
        Ok(LocalRepository::open_for_reading(&path).and_then(|folder| folder.space()).ok())
    });
    Ok(RepositoryStatus {
        space: space.await?,
        backup_count: usage.backup_count,
        backups_size_bytes: usage.size_bytes,
        repository,
    })
}

/// The record of a folder, as far as the folder tells.
pub(crate) fn record_of(folder: &LocalRepository) -> Repository {
    let identity = folder.identity().clone();
    Repository {
        id: identity.id,
        name: identity.name,
        kind: RepositoryType::Local,
        path: folder.root().to_string_lossy().into_owned(),
        enabled: true,
        default: false,
        immutable: false,
        reserve_bytes: None,
        created_at: identity.created_at,
        updated_at: identity.created_at,
    }
}

/// Opens the folder of a repository and makes sure that it is the one. Blocks.
pub(crate) fn open(repository: &Repository, writing: bool) -> Result<LocalRepository> {
    let path = Path::new(&repository.path);
    let folder = if writing { LocalRepository::open(path) } else { LocalRepository::open_for_reading(path) };
    let folder = folder.map_err(|error| from_repository(repository.name.as_str(), error))?;
    if folder.identity().id != repository.id {
        return Err(Error::Repository { name: repository.name.to_string(), reason: stranger(&folder) });
    }
    Ok(folder)
}

/// What messages and space checks need to know of an open repository.
pub(crate) fn place(repository: &Repository, folder: &LocalRepository) -> Result<Place> {
    let space = folder.space().map_err(|error| from_repository(repository.name.as_str(), error))?;
    Ok(Place {
        name: repository.name.to_string(),
        root: folder.root().to_owned(),
        reserve: reserve(repository, space),
    })
}

fn reserve(repository: &Repository, space: Space) -> u64 {
    repository.reserve_bytes.unwrap_or_else(|| space.default_reserve())
}

/// A failure of a repository's own files.
pub(crate) fn from_repository(name: &str, error: repository::Error) -> Error {
    if error.is_no_space() {
        return Error::NoSpace {
            place: format!("repository {name}"),
            needed: None,
            available: 0,
            reserve: 0,
        };
    }
    match error {
        repository::Error::Exists { identity, .. } => Error::Exists {
            what: format!("a repository ({})", identity.name),
            hint: "use it as it is with `sendense-ctl repo scan`, or choose another folder".into(),
        },
        other => {
            let reason = format!("{other} ({})", other.hint());
            Error::Repository { name: name.to_owned(), reason }
        }
    }
}

fn stranger(folder: &LocalRepository) -> String {
    let identity = folder.identity();
    format!("its folder holds another repository, {} ({})", identity.name, identity.id)
}

fn supported(kind: RepositoryType, immutable: bool) -> Result<()> {
    if kind != RepositoryType::Local {
        return Err(Error::Unsupported {
            what: format!("a repository of type {kind}"),
            hint: "this version keeps backups in local folders: mount the storage and give its path".into(),
        });
    }
    if immutable {
        return Err(Error::Unsupported {
            what: "an immutable repository".into(),
            hint: "leave immutable out; single points can be protected".into(),
        });
    }
    Ok(())
}

fn local_path(disk_path: Option<&str>) -> Result<PathBuf> {
    let path = disk_path.ok_or_else(|| Error::invalid("config.disk_path", "a local repository needs it"))?;
    if path.contains('\0') {
        return Err(Error::invalid("config.disk_path", "a path has no zero bytes"));
    }
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err(Error::invalid(
            "config.disk_path",
            format!("{} is not an absolute path", path.display()),
        ));
    }
    Ok(path)
}
