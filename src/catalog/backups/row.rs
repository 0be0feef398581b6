//! `model::Backup` as rows, and back.

use crate::counts::value_start;
use crate::engine::Session;
use crate::fields::{
    Fields, Row, Value, flag, gigabytes, inserts, int, maybe_int, maybe_text, maybe_time, text, time,
};
use crate::statement::Statement;
use crate::{Error, Result};
use model::{Backup, BackupDisk, BackupId, DiskIndex, Verification};
use std::collections::{BTreeMap, HashMap};

/// Most ids in one `IN (…)`: from 1,000 on MariaDB makes a table of them, and may begin with the other one.
pub(super) const IDS_PER_QUERY: usize = 500;

/// The record's own columns: all but where its repository lies and how the engine works on it.
pub(super) fn fields(backup: &Backup) -> Result<Fields> {
    let verification = backup.verification.as_ref();
    let problems = verification
        .map(|v| serde_json::to_string(&v.problems))
        .transpose()
        .map_err(|e| Error::Value { field: "verified_problems", reason: e.to_string() })?;
    Ok(vec![
        ("id", text(backup.id.as_str())),
        ("vm_context_id", text(backup.vm_context_id.as_str())),
        ("vm_name", text(backup.vm_name.as_str())),
        ("requested_type", text(backup.requested_type.as_str())),
        ("backup_type", text(backup.backup_type.as_str())),
        ("status", text(backup.status.as_str())),
        ("current_phase", text(backup.phase.as_str())),
        ("repository_id", text(backup.repository_id.as_str())),
        ("parent_backup_id", maybe_text(backup.parent_backup_id.as_ref())),
        ("change_id", maybe_text(backup.disks.first().and_then(|disk| disk.change_id.as_ref()))),
        ("fallback_reason", maybe_text(backup.fallback_reason.as_ref())),
        ("bytes_transferred", int("bytes_transferred", backup.bytes_transferred)?),
        ("total_bytes", int("total_bytes", backup.total_bytes)?),
        ("bytes_processed", int("bytes_processed", backup.bytes_processed)?),
        ("size_bytes", int("size_bytes", size(backup))?),
        ("progress_percent", Value::Real(backup.progress_percent())),
        ("transfer_speed_bps", int("transfer_speed_bps", backup.transfer_speed_bps)?),
        ("eta_seconds", maybe_int("eta_seconds", backup.eta_seconds)?),
        ("last_telemetry_at", maybe_time("last_telemetry_at", backup.last_telemetry_at)?),
        ("error_message", maybe_text(backup.error_message.as_ref())),
        ("error_code", maybe_text(backup.error_code.as_ref())),
        ("notes", maybe_text(backup.notes.as_ref())),
        ("protected", flag(backup.protected)),
        ("protect_reason", maybe_text(backup.protect_reason.as_ref())),
        ("compression", text(backup.compression.as_str())),
        ("compression_enabled", flag(backup.compression.is_on())),
        ("on_cbt_loss", text(backup.on_tracking_loss.as_str())),
        ("timeout_seconds", int("timeout_seconds", backup.timeout_seconds)?),
        ("bandwidth_limit_bps", maybe_int("bandwidth_limit_bps", backup.bandwidth_limit_bps)?),
        ("verified_at", maybe_time("verified_at", verification.map(|v| v.verified_at))?),
        ("verified_ok", Value::MaybeInt(verification.map(|v| i64::from(v.ok)))),
        ("verified_whole", Value::MaybeInt(verification.map(|v| i64::from(v.whole)))),
        ("verified_problems", Value::MaybeText(problems)),
        ("created_at", time("created_at", backup.created_at)?),
        ("started_at", maybe_time("started_at", backup.started_at)?),
        ("completed_at", maybe_time("completed_at", backup.completed_at)?),
    ])
}

/// The sum of hostile sizes can pass what a number holds.
pub(crate) fn size(backup: &Backup) -> u64 {
    backup.disks.iter().fold(0, |sum, disk| sum.saturating_add(disk.size_bytes))
}

fn disk_fields(id: &BackupId, disk: &BackupDisk) -> Result<Fields> {
    Ok(vec![
        ("backup_job_id", text(id.as_str())),
        ("disk_index", int("disk_index", disk.index.0.into())?),
        ("disk_key", int("disk_key", u64::from(disk.index.0) + 2000)?),
        ("source_uri", text(String::from(disk.source.clone()))),
        ("backup_type", text(disk.backup_type.as_str())),
        ("parent_backup_id", maybe_text(disk.parent_backup_id.as_ref())),
        ("status", text(disk.status.as_str())),
        ("size_gb", int("size_gb", gigabytes(disk.capacity_bytes))?),
        ("capacity_bytes", int("capacity_bytes", disk.capacity_bytes)?),
        ("size_bytes", int("size_bytes", disk.size_bytes)?),
        ("bytes_transferred", int("bytes_transferred", disk.bytes_transferred)?),
        ("bytes_processed", int("bytes_processed", disk.bytes_processed)?),
        ("progress_percent", Value::Real(disk.progress_percent())),
        ("qcow2_path", text(disk.file.as_str())),
        ("nbd_export_name", text(disk.nbd_export_name.as_str())),
        ("change_id", maybe_text(disk.change_id.as_ref())),
        ("fallback_reason", maybe_text(disk.fallback_reason.as_ref())),
        ("blake3", maybe_text(disk.blake3.as_ref())),
        ("error_message", maybe_text(disk.error_message.as_ref())),
    ])
}

/// Writes the disks of these backups.
pub(super) async fn insert_disks(session: &mut Session, backups: &[&Backup]) -> Result<()> {
    let disks = backups.iter().flat_map(|backup| backup.disks.iter().map(|disk| (&backup.id, disk)));
    let rows = disks.map(|(id, disk)| disk_fields(id, disk)).collect::<Result<Vec<_>>>()?;
    for statement in inserts("backup_disks", rows) {
        if session.insert_new(statement).await? == 0 {
            return Err(Error::Value { field: "disk_index", reason: "two disks have the same".to_owned() });
        }
    }
    Ok(())
}

/// Writes the tags of these backups.
pub(super) async fn insert_tags(session: &mut Session, backups: &[&Backup]) -> Result<()> {
    let mut tags = Vec::new();
    for backup in backups {
        for (key, value) in &backup.tags {
            tags.push(vec![
                ("backup_job_id", text(backup.id.as_str())),
                ("tag_key", text(key.as_str())),
                ("tag_value", text(value.as_str())),
                ("value_start", text(value_start(value))),
                ("created_at", time("created_at", backup.created_at)?),
            ]);
        }
    }
    for statement in inserts("backup_tags", tags) {
        session.execute(statement).await?;
    }
    Ok(())
}

/// The backups of these rows of `backup_jobs`, in their order, with their disks and tags.
pub(super) async fn read_all(session: &mut Session, rows: &[Row]) -> Result<Vec<Backup>> {
    let mut backups = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    let mut positions = HashMap::with_capacity(backups.len());
    for (position, backup) in backups.iter().enumerate() {
        positions.insert(backup.id.to_string(), position);
    }
    let ids: Vec<String> = backups.iter().map(|backup| backup.id.to_string()).collect();
    for ids in ids.chunks(IDS_PER_QUERY) {
        let mut query = of_ids("backup_disks", ids);
        query.push(" ORDER BY backup_job_id, disk_index");
        for row in session.all(query).await? {
            if let Some(backup) = owner(&positions, &mut backups, &row)? {
                backup.disks.push(read_disk(&row)?);
            }
        }
        for row in session.all(of_ids("backup_tags", ids)).await? {
            if let Some(backup) = owner(&positions, &mut backups, &row)? {
                backup.tags.insert(row.text("tag_key")?, row.text("tag_value")?);
            }
        }
    }
    Ok(backups)
}

fn owner<'a>(
    positions: &HashMap<String, usize>,
    backups: &'a mut [Backup],
    row: &Row,
) -> Result<Option<&'a mut Backup>> {
    let id = row.text("backup_job_id")?;
    Ok(positions.get(&id).and_then(|position| backups.get_mut(*position)))
}

/// Rows of a table that belong to these backups.
pub(super) fn of_ids(table: &str, ids: &[String]) -> Statement {
    let mut query = Statement::new(format!("SELECT * FROM {table} [key {table}] WHERE backup_job_id IN ("));
    query.push_list(ids.iter().map(String::as_str)).push(")");
    query
}

fn read(row: &Row) -> Result<Backup> {
    Ok(Backup {
        id: row.parse("id")?,
        vm_name: row.parse("vm_name")?,
        vm_context_id: row.parse("vm_context_id")?,
        requested_type: row.parse("requested_type")?,
        backup_type: row.parse("backup_type")?,
        status: row.parse("status")?,
        phase: row.parse("current_phase")?,
        repository_id: row.parse("repository_id")?,
        parent_backup_id: row.maybe_parse("parent_backup_id")?,
        fallback_reason: row.maybe_text("fallback_reason")?,
        bytes_transferred: row.int("bytes_transferred")?,
        total_bytes: row.int("total_bytes")?,
        bytes_processed: row.int("bytes_processed")?,
        transfer_speed_bps: row.int("transfer_speed_bps")?,
        eta_seconds: row.maybe_int("eta_seconds")?,
        last_telemetry_at: row.maybe_parse("last_telemetry_at")?,
        error_message: row.maybe_text("error_message")?,
        error_code: row.maybe_text("error_code")?,
        tags: BTreeMap::new(),
        notes: row.maybe_text("notes")?,
        protected: row.flag("protected")?,
        protect_reason: row.maybe_text("protect_reason")?,
        compression: row.parse("compression")?,
        on_tracking_loss: row.parse("on_cbt_loss")?,
        timeout_seconds: row.int("timeout_seconds")?,
        bandwidth_limit_bps: row.maybe_int("bandwidth_limit_bps")?,
        created_at: row.parse("created_at")?,
        started_at: row.maybe_parse("started_at")?,
        completed_at: row.maybe_parse("completed_at")?,
        verification: read_verification(row)?,
        disks: Vec::new(),
    })
}

fn read_verification(row: &Row) -> Result<Option<Verification>> {
    let Some(verified_at) = row.maybe_parse("verified_at")? else { return Ok(None) };
    Ok(Some(Verification {
        verified_at,
        ok: row.flag("verified_ok")?,
        problems: row.json("verified_problems")?.unwrap_or_default(),
        whole: row.flag("verified_whole")?,
    }))
}

fn read_disk(row: &Row) -> Result<BackupDisk> {
    Ok(BackupDisk {
        index: DiskIndex(row.index("disk_index")?),
        source: row.parse("source_uri")?,
        backup_type: row.parse("backup_type")?,
        parent_backup_id: row.maybe_parse("parent_backup_id")?,
        status: row.parse("status")?,
        capacity_bytes: row.int("capacity_bytes")?,
        size_bytes: row.int("size_bytes")?,
        bytes_transferred: row.int("bytes_transferred")?,
        bytes_processed: row.int("bytes_processed")?,
        file: row.text("qcow2_path")?,
        nbd_export_name: row.text("nbd_export_name")?,
        change_id: row.maybe_text("change_id")?,
        fallback_reason: row.maybe_text("fallback_reason")?,
        blake3: row.maybe_text("blake3")?,
        error_message: row.maybe_text("error_message")?,
    })
}
