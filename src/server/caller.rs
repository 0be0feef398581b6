//! The caller, as handlers have it: each names the least role that it was made for.
//!
//! The guard has looked at the route's rule before; what a handler asks for here is the same or less, which a test of all
//! routes and roles proves. What the request's body or query names is for the handler to check: [`Claim::vm`],
//! [`Claim::backup`], [`Claim::only`].

use crate::failure::{Failure, Result};
use crate::guard::{Note, found, missing};
use api::{ApiError, Caller, ErrorCode};
use axum::extract::FromRequestParts;
use http::request::Parts;
use hub::{Hub, Missing};
use model::{BackupId, Role, VmName};

/// A caller whose role was looked at.
pub(crate) struct Claim {
    /// Who.
    pub caller: Caller,
    /// What the audit log is told.
    pub note: Note,
}

impl Claim {
    /// The only VMs that exist for the caller, by name; `None` for all.
    pub(crate) fn only(&self) -> Option<Vec<VmName>> {
        self.caller.vms.as_ref().map(|vms| vms.iter().cloned().collect())
    }

    /// Notes the VM that the request is about.
    ///
    /// # Errors
    /// Where the caller may not touch it.
    pub(crate) fn vm(&self, vm: &VmName) -> Result<()> {
        self.note.object(vm);
        if self.caller.sees(vm) {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::Forbidden, format!("the token is not for the VM {vm}"))
            .hint("ask an administrator of the hub for another token")
            .into())
    }

    /// Checks that the caller may name a place on the hub's machine, or a disk elsewhere, by `field`.
    ///
    /// # Errors
    /// Where it may see some VMs only: any disk's content could be had as theirs.
    pub(crate) fn places(&self, field: &str, named: bool) -> Result<()> {
        if named && self.caller.vms.is_some() {
            let message = format!("{field}: a token for some VMs can't say where their disks are");
            return Err(ApiError::new(ErrorCode::Forbidden, message)
                .hint("an operator registers the VM: sendense-ctl vm add; the token then backs up what is registered")
                .into());
        }
        Ok(())
    }

    /// Notes the backup that the request is about.
    ///
    /// # Errors
    /// Where it is one of a VM that the caller does not see.
    pub(crate) async fn backup(&self, hub: &Hub, id: &BackupId) -> Result<()> {
        self.note.object(id);
        if self.caller.vms.is_some()
            && let Some(backup) = found(hub.backup(id).await)?
            && !self.caller.sees(&backup.vm_name)
        {
            return Err(missing(Missing::Backup, id.as_str()));
        }
        Ok(())
    }
}

macro_rules! roles {
    ($($(#[$meta:meta])* $name:ident = $role:expr;)+) => {$(
        $(#[$meta])*
        pub(crate) struct $name(pub Claim);

        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = Failure;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
                claim(parts, $role).map($name)
            }
        }
    )+};
}

roles! {
    /// The caller may look.
    Viewer = Role::Viewer;
    /// The caller may restore.
    Restorer = Role::Restorer;
    /// The caller may back up, delete, and change VMs.
    Operator = Role::Operator;
    /// The caller may do everything.
    Admin = Role::Admin;
}

fn claim(parts: &Parts, least: Role) -> Result<Claim> {
    let note = parts.extensions.get::<Note>().cloned().unwrap_or_default();
    match parts.extensions.get::<Caller>() {
        Some(caller) if caller.role >= least => Ok(Claim { caller: caller.clone(), note }),
        _ => Err(ApiError::new(ErrorCode::Forbidden, format!("this needs the role {least}")).into()),
    }
}
