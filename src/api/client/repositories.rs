//! Repositories and VMs.
//!
//! # Errors
//! Every method fails as the hub says ([`ClientError::Api`]), or where there is no answer that can be
//! understood.

use super::{Client, ClientError, Path};
use crate::{
    CreateRepository, CreateVm, PageQuery, PatchRepository, Repository, RepositoryAnswer, RepositoryDeleted,
    RepositoryList, RepositoryStorage, ScanReport, StorageAnswer, TestReport, TestRepository, Vm, VmAnswer,
    VmDeleted, VmList,
};
use http::Method;
use model::{RepositoryId, VmName};

impl Client {
    /// `POST /repositories`.
    pub async fn create_repository(&self, request: &CreateRepository) -> Result<Repository, ClientError> {
        let path = Path::new("/repositories");
        let answer: RepositoryAnswer = self.tell(Method::POST, path, request).await?;
        Ok(answer.repository)
    }

    /// `GET /repositories`.
    pub async fn repositories(&self, query: &PageQuery) -> Result<RepositoryList, ClientError> {
        self.ask(Method::GET, Path::new("/repositories").query(query)?).await
    }

    /// `GET /repositories/{id}`; a name does as well, here and below.
    pub async fn repository(&self, id: &RepositoryId) -> Result<Repository, ClientError> {
        let path = Path::new("/repositories").segment(id);
        let answer: RepositoryAnswer = self.ask(Method::GET, path).await?;
        Ok(answer.repository)
    }

    /// `PATCH /repositories/{id}`.
    pub async fn patch_repository(
        &self,
        id: &RepositoryId,
        patch: &PatchRepository,
    ) -> Result<Repository, ClientError> {
        let path = Path::new("/repositories").segment(id);
        let answer: RepositoryAnswer = self.tell(Method::PATCH, path, patch).await?;
        Ok(answer.repository)
    }

    /// `DELETE /repositories/{id}`: refused while it holds backups; the folder stays.
    pub async fn delete_repository(&self, id: &RepositoryId) -> Result<RepositoryDeleted, ClientError> {
        self.ask(Method::DELETE, Path::new("/repositories").segment(id)).await
    }

    /// `GET /repositories/{id}/storage`.
    pub async fn repository_storage(&self, id: &RepositoryId) -> Result<RepositoryStorage, ClientError> {
        let path = Path::new("/repositories").segment(id).then("/storage");
        let answer: StorageAnswer = self.ask(Method::GET, path).await?;
        Ok(answer.storage)
    }

    /// `POST /repositories/test`.
    pub async fn test_repository(&self, request: &TestRepository) -> Result<TestReport, ClientError> {
        self.tell(Method::POST, Path::new("/repositories/test"), request).await
    }

    /// `POST /repositories/{id}/scan`.
    pub async fn scan_repository(&self, id: &RepositoryId) -> Result<ScanReport, ClientError> {
        self.ask(Method::POST, Path::new("/repositories").segment(id).then("/scan")).await
    }

    /// `POST /vms`.
    pub async fn create_vm(&self, request: &CreateVm) -> Result<Vm, ClientError> {
        let answer: VmAnswer = self.tell(Method::POST, Path::new("/vms"), request).await?;
        Ok(answer.vm)
    }

    /// `GET /vms`.
    pub async fn vms(&self, query: &PageQuery) -> Result<VmList, ClientError> {
        self.ask(Method::GET, Path::new("/vms").query(query)?).await
    }

    /// `GET /vms/{name}`.
    pub async fn vm(&self, name: &VmName) -> Result<Vm, ClientError> {
        let answer: VmAnswer = self.ask(Method::GET, Path::new("/vms").segment(name)).await?;
        Ok(answer.vm)
    }

    /// `DELETE /vms/{name}`: the hub forgets the VM; refused while it has backups.
    pub async fn delete_vm(&self, name: &VmName) -> Result<VmDeleted, ClientError> {
        self.ask(Method::DELETE, Path::new("/vms").segment(name)).await
    }
}
