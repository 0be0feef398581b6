//! Backups, chains, restores and jobs.
//!
//! # Errors
//! Every method fails as the hub says ([`ClientError::Api`]), or where there is no answer that can be
//! understood.

use super::{Client, ClientError, Path};
use crate::{
    AddressQuery, Backup, BackupAnswer, BackupList, BackupQuery, BackupStarted, Chain, ChainQuery,
    Consolidate, Consolidating, DeleteQuery, Deleted, JobAnswer, JobList, JobQuery, JobView, PatchBackup,
    RestoreDisk, StartBackup, VerifyRequest,
};
use http::Method;
use model::{BackupId, JobId, VmName};

impl Client {
    /// `POST /backups`: accepts a backup, or with `dry_run` says what it would do.
    pub async fn start_backup(&self, request: &StartBackup) -> Result<BackupStarted, ClientError> {
        self.tell(Method::POST, Path::new("/backups"), request).await
    }

    /// `GET /backups`.
    pub async fn backups(&self, query: &BackupQuery) -> Result<BackupList, ClientError> {
        self.ask(Method::GET, Path::new("/backups").query(query)?).await
    }

    /// `GET /backups/{id}`.
    pub async fn backup(&self, id: &BackupId) -> Result<Backup, ClientError> {
        let answer: BackupAnswer = self.ask(Method::GET, Path::new("/backups").segment(id)).await?;
        Ok(answer.backup)
    }

    /// `GET /backups/resolve`: the backup that an address means.
    pub async fn resolve(&self, query: &AddressQuery) -> Result<Backup, ClientError> {
        let path = Path::new("/backups/resolve").query(query)?;
        let answer: BackupAnswer = self.ask(Method::GET, path).await?;
        Ok(answer.backup)
    }

    /// `PATCH /backups/{id}`.
    pub async fn patch_backup(&self, id: &BackupId, patch: &PatchBackup) -> Result<Backup, ClientError> {
        let path = Path::new("/backups").segment(id);
        let answer: BackupAnswer = self.tell(Method::PATCH, path, patch).await?;
        Ok(answer.backup)
    }

    /// `DELETE /backups/{id}`.
    pub async fn delete_backup(&self, id: &BackupId, how: DeleteQuery) -> Result<Deleted, ClientError> {
        self.ask(Method::DELETE, Path::new("/backups").segment(id).query(&how)?).await
    }

    /// `POST /backups/{id}/cancel`: asks it to end; it has ended when its state says so.
    pub async fn cancel_backup(&self, id: &BackupId) -> Result<BackupStarted, ClientError> {
        self.ask(Method::POST, Path::new("/backups").segment(id).then("/cancel")).await
    }

    /// `POST /backups/{id}/complete`: all disks are written; it is a point when its state says so.
    pub async fn complete_backup(&self, id: &BackupId) -> Result<BackupStarted, ClientError> {
        self.ask(Method::POST, Path::new("/backups").segment(id).then("/complete")).await
    }

    /// `POST /backups/{id}/retry`: the same again, as a backup of its own.
    pub async fn retry_backup(&self, id: &BackupId) -> Result<BackupStarted, ClientError> {
        self.ask(Method::POST, Path::new("/backups").segment(id).then("/retry")).await
    }

    /// `POST /backups/{id}/verify`: a job.
    pub async fn verify_backup(
        &self,
        id: &BackupId,
        request: &VerifyRequest,
    ) -> Result<JobView, ClientError> {
        let path = Path::new("/backups").segment(id).then("/verify");
        let answer: JobAnswer = self.tell(Method::POST, path, request).await?;
        Ok(answer.job)
    }

    /// `POST /backups/{id}/merge`: a job.
    pub async fn merge_backup(&self, id: &BackupId) -> Result<JobView, ClientError> {
        let answer: JobAnswer =
            self.ask(Method::POST, Path::new("/backups").segment(id).then("/merge")).await?;
        Ok(answer.job)
    }

    /// `POST /backups/{vm_name}/chain/consolidate`: a job, or with `dry_run` what it would do.
    pub async fn consolidate(
        &self,
        vm: &VmName,
        request: &Consolidate,
    ) -> Result<Consolidating, ClientError> {
        let path = Path::new("/backups").segment(vm).then("/chain/consolidate");
        self.tell(Method::POST, path, request).await
    }

    /// `GET /backups/{vm_name}/chain`.
    pub async fn chain(&self, vm: &VmName, query: &ChainQuery) -> Result<Chain, ClientError> {
        self.ask(Method::GET, Path::new("/backups").segment(vm).then("/chain").query(query)?).await
    }

    /// `POST /restore/disk`: a job.
    pub async fn restore_disk(&self, request: &RestoreDisk) -> Result<JobView, ClientError> {
        let answer: JobAnswer = self.tell(Method::POST, Path::new("/restore/disk"), request).await?;
        Ok(answer.job)
    }

    /// `GET /jobs`.
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobList, ClientError> {
        self.ask(Method::GET, Path::new("/jobs").query(query)?).await
    }

    /// `GET /jobs/{id}`.
    pub async fn job(&self, id: &JobId) -> Result<JobView, ClientError> {
        let answer: JobAnswer = self.ask(Method::GET, Path::new("/jobs").segment(id)).await?;
        Ok(answer.job)
    }

    /// `POST /jobs/{id}/cancel`: asks it to end; it has ended when its state says so.
    pub async fn cancel_job(&self, id: &JobId) -> Result<JobView, ClientError> {
        let path = Path::new("/jobs").segment(id).then("/cancel");
        let answer: JobAnswer = self.ask(Method::POST, path).await?;
        Ok(answer.job)
    }
}
