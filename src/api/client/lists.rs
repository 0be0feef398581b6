//! Lists that are wanted whole: asked for page by page.
//!
//! The pages are newest first, so what is added meanwhile moves the others on: what came twice is taken once. A hub of
//! before there were pages answers the first time with all.

use super::{Client, ClientError};
use crate::{MAX_LIMIT, MountList, PageQuery, RepositoryList, UserList, VmList};
use std::collections::BTreeMap;

impl Client {
    /// Every VM, by name.
    ///
    /// # Errors
    /// Those of [`vms`](Client::vms).
    pub async fn all_vms(&self) -> Result<VmList, ClientError> {
        let ask = async |query| self.vms(&query).await.map(|page| (page.vms, page.total));
        let vms = all(ask, |vm| vm.name.clone()).await?;
        Ok(VmList { success: true, total: vms.len() as u64, vms })
    }

    /// Every repository, by name.
    ///
    /// # Errors
    /// Those of [`repositories`](Client::repositories).
    pub async fn all_repositories(&self) -> Result<RepositoryList, ClientError> {
        let ask = async |query| self.repositories(&query).await.map(|page| (page.repositories, page.total));
        let repositories = all(ask, |repository| repository.name.clone()).await?;
        Ok(RepositoryList { success: true, total: repositories.len() as u64, repositories })
    }

    /// Every user, by name.
    ///
    /// # Errors
    /// Those of [`users`](Client::users).
    pub async fn all_users(&self) -> Result<UserList, ClientError> {
        let ask = async |query| self.users(&query).await.map(|page| (page.users, page.total));
        let users = all(ask, |user| user.name.clone()).await?;
        Ok(UserList { success: true, total: users.len() as u64, users })
    }

    /// Everything that is open, oldest first.
    ///
    /// # Errors
    /// Those of [`mounts`](Client::mounts).
    pub async fn all_mounts(&self) -> Result<MountList, ClientError> {
        let ask = async |query| self.mounts(&query).await.map(|page| (page.mounts, page.total));
        let mounts = all(ask, |mount| (mount.created_at, mount.mount_id.clone())).await?;
        Ok(MountList { total: mounts.len() as u64, mounts })
    }
}

/// All pages, in the order of `key`.
async fn all<T, K: Ord>(
    ask: impl AsyncFn(PageQuery) -> Result<(Vec<T>, u64), ClientError>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, ClientError> {
    let (mut all, mut seen) = (BTreeMap::new(), 0);
    loop {
        let (page, total) = ask(PageQuery { limit: Some(MAX_LIMIT), offset: Some(seen) }).await?;
        let got = page.len() as u64;
        seen += got;
        all.extend(page.into_iter().map(|item| (key(&item), item)));
        if got == 0 || seen >= total {
            return Ok(all.into_values().collect());
        }
    }
}
