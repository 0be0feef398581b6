//! Registered VMs: `vm_contexts` and `vm_disks`.

use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Fields, Row, gigabytes, inserts, int, maybe_int, text, time, update};
use crate::statement::Statement;
use crate::{Catalog, Error, Page, Result};
use model::{ContextId, DiskIndex, Vm, VmDisk, VmName};
use std::collections::HashMap;

/// Most VMs whose disks are read by one query; from 1,000 on MariaDB makes a table of them.
const CONTEXTS_PER_QUERY: usize = 500;

/// Until sources are registered, all VMs belong to this one; the name is unique within a source.
const LOCAL_SOURCE: &str = "local";

impl Catalog {
    /// Registers a VM.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where its name or context id is taken.
    pub async fn insert_vm(&self, vm: &Vm) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            for statement in inserts("vm_contexts", vec![vm_fields(vm)?]) {
                if session.insert_new(statement).await? == 0 {
                    return Err(Error::AlreadyExists { what: "VM", id: vm.name.to_string() });
                }
            }
            insert_disks(session, vm).await?;
            Ok(())
        })
    }

    /// Replaces the record of a VM (found by its context id): its name and its disks.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::AlreadyExists`] where another VM has the name.
    pub async fn update_vm(&self, vm: &Vm) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            let other =
                "SELECT context_id FROM vm_contexts WHERE source_id = ? AND vm_name = ? AND context_id <> ?";
            let other =
                Statement::new(other).bind(LOCAL_SOURCE).bind(vm.name.as_str()).bind(vm.context_id.as_str());
            if session.optional(other).await?.is_some() {
                return Err(Error::AlreadyExists { what: "VM", id: vm.name.to_string() });
            }
            let statement = update("vm_contexts", vm_fields(vm)?, "context_id", vm.context_id.as_str());
            if session.execute(statement).await? == 0 {
                return Err(not_found(&vm.name));
            }
            delete_disks(session, &vm.context_id).await?;
            insert_disks(session, vm).await?;
            Ok(())
        })
    }

    /// The VM of that name.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn vm_by_name(&self, name: &VmName) -> Result<Option<Vm>> {
        let query = Statement::new("SELECT * FROM vm_contexts WHERE source_id = ? AND vm_name = ?");
        transaction!(self.engine.read(), |session| {
            let row = session.optional(query.clone().bind(LOCAL_SOURCE).bind(name.as_str())).await?;
            one(session, row).await
        })
    }

    /// The VM of that context id.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn vm(&self, context: &ContextId) -> Result<Option<Vm>> {
        let query = Statement::new("SELECT * FROM vm_contexts WHERE context_id = ?");
        transaction!(self.engine.read(), |session| {
            let row = session.optional(query.clone().bind(context.as_str())).await?;
            one(session, row).await
        })
    }

    /// A page of all VMs, or of those of these names, newest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn vms(&self, limit: u32, offset: u64, names: Option<&[VmName]>) -> Result<Page<Vm>> {
        let among = |query: &mut Statement| {
            if let Some(names) = names {
                query.push_among("vm_name", names.iter().map(VmName::as_str));
            }
        };
        transaction!(self.engine.read(), |session| {
            let mut query = Statement::new("SELECT * FROM vm_contexts WHERE 1 = 1");
            among(&mut query);
            query.push(" ORDER BY created_at DESC, context_id DESC LIMIT ").push_bind(i64::from(limit));
            query.push(" OFFSET ").push_bind(crate::fields::number("offset", offset)?);
            let rows = session.all(query).await?;
            let items = read_vms(session, &rows).await?;
            let mut count = Statement::new("SELECT COUNT(*) AS n FROM vm_contexts WHERE 1 = 1");
            among(&mut count);
            let total = session.number(count).await?;
            Ok(Page { items, total })
        })
    }

    /// Forgets a VM. Its backups stay where they are; only with `force` may there be any.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InUse`] without `force` while the catalog has backups of it.
    pub async fn remove_vm(&self, context: &ContextId, force: bool) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            let found = Statement::new("SELECT vm_name FROM vm_contexts WHERE context_id = ?")
                .bind(context.as_str())
                .for_change();
            let Some(row) = session.optional(found).await? else { return Err(not_found(context)) };
            let count = "SELECT COUNT(*) AS n FROM backup_jobs WHERE vm_context_id = ?";
            let backups = session.number(Statement::new(count).bind(context.as_str())).await?;
            if backups > 0 && !force {
                return Err(Error::InUse { what: "VM", id: row.text("vm_name")?, backups });
            }
            delete_disks(session, context).await?;
            let delete = Statement::new("DELETE FROM vm_contexts WHERE context_id = ?");
            session.execute(delete.bind(context.as_str())).await?;
            Ok(())
        })
    }
}

fn not_found(id: impl ToString) -> Error {
    Error::NotFound { what: "VM", id: id.to_string() }
}

fn vm_fields(vm: &Vm) -> Result<Fields> {
    Ok(vec![
        ("context_id", text(vm.context_id.as_str())),
        ("vm_name", text(vm.name.as_str())),
        ("source_id", text(LOCAL_SOURCE)),
        ("created_at", time("created_at", vm.created_at)?),
        ("updated_at", time("updated_at", vm.updated_at)?),
    ])
}

fn disk_fields(vm: &Vm, disk: &VmDisk) -> Result<Fields> {
    Ok(vec![
        ("vm_context_id", text(vm.context_id.as_str())),
        ("disk_index", int("disk_index", disk.index.0.into())?),
        ("disk_key", int("disk_key", disk.index.key().into())?),
        ("source_uri", text(String::from(disk.source.clone()))),
        ("size_gb", maybe_int("size_gb", disk.capacity_bytes.map(gigabytes))?),
        ("capacity_bytes", maybe_int("capacity_bytes", disk.capacity_bytes)?),
    ])
}

async fn insert_disks(session: &mut Session, vm: &Vm) -> Result<()> {
    let rows = vm.disks.iter().map(|disk| disk_fields(vm, disk)).collect::<Result<Vec<_>>>()?;
    for statement in inserts("vm_disks", rows) {
        if session.insert_new(statement).await? == 0 {
            return Err(Error::AlreadyExists { what: "disk of VM", id: vm.name.to_string() });
        }
    }
    Ok(())
}

async fn delete_disks(session: &mut Session, context: &ContextId) -> Result<()> {
    let delete = Statement::new("DELETE FROM vm_disks WHERE vm_context_id = ?").bind(context.as_str());
    session.execute(delete).await?;
    Ok(())
}

async fn one(session: &mut Session, row: Option<Row>) -> Result<Option<Vm>> {
    match row {
        Some(row) => Ok(read_vms(session, &[row]).await?.pop()),
        None => Ok(None),
    }
}

/// The VMs of these rows, in their order, with their disks.
async fn read_vms(session: &mut Session, rows: &[Row]) -> Result<Vec<Vm>> {
    let mut vms = rows
        .iter()
        .map(|row| {
            Ok(Vm {
                context_id: row.parse("context_id")?,
                name: row.parse("vm_name")?,
                disks: Vec::new(),
                created_at: row.parse("created_at")?,
                updated_at: row.parse("updated_at")?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut positions = HashMap::with_capacity(vms.len());
    for (position, vm) in vms.iter().enumerate() {
        positions.insert(vm.context_id.to_string(), position);
    }
    let contexts: Vec<String> = vms.iter().map(|vm| vm.context_id.to_string()).collect();
    for contexts in contexts.chunks(CONTEXTS_PER_QUERY) {
        let mut query = Statement::new("SELECT * FROM vm_disks WHERE vm_context_id IN (");
        query.push_list(contexts.iter().map(String::as_str)).push(") ORDER BY vm_context_id, disk_index");
        for disk in session.all(query).await? {
            let position = positions.get(&disk.text("vm_context_id")?);
            if let Some(vm) = position.and_then(|position| vms.get_mut(*position)) {
                vm.disks.push(VmDisk {
                    index: DiskIndex(disk.index("disk_index")?),
                    source: disk.parse("source_uri")?,
                    capacity_bytes: disk.maybe_int("capacity_bytes")?,
                });
            }
        }
    }
    Ok(vms)
}
