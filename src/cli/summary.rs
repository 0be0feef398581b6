//! The last word on a job that completed: one line for a person, one object for a program.

use crate::duration;
use crate::failure::SCHEMA_VERSION;
use crate::show::{Show, percent, saved_percent, span};
use crate::ui::Ui;
use api::{Backup, Deleted, JobView, RestoreReport, VerifyReport};
use jiff::Timestamp;
use model::{JobType, Status};
use serde_json::{Value, json};
use std::time::Duration;

/// Says what a backup has become, and to a person why where it is not what was asked for.
pub fn backup(ui: &Ui, backup: &Backup) {
    if ui.json {
        ui.json_line(&backup_json(backup));
        return;
    }
    if ui.quiet {
        return;
    }
    ui.line(&backup_line(backup, &ui.show));
    if let Some(reason) = &backup.fallback_reason {
        ui.note(&format!("note: {reason}"));
    }
}

fn took(from: Option<Timestamp>, created: Timestamp, to: Option<Timestamp>) -> Duration {
    to.map(|to| span(from.unwrap_or(created), to)).unwrap_or_default()
}

fn speed(bytes: u64, took: Duration) -> u64 {
    let seconds = took.as_secs_f64();
    if seconds < 0.001 { 0 } else { (bytes as f64 / seconds) as u64 }
}

/// `backup-pg-…: full, 1.1 GiB stored, 45.0 % saved, 3.2 s, 640.0 MiB/s`: fits into 80 columns.
fn backup_line(backup: &Backup, show: &Show) -> String {
    let took = took(backup.started_at, backup.created_at, backup.completed_at);
    let mut line = format!("{}: {}, {} stored", backup.id, backup.backup_type, show.size(backup.size_bytes));
    if let Some(saved) = saved_percent(backup.size_bytes, backup.total_bytes) {
        line.push_str(&format!(", {} saved", percent(saved)));
    }
    line.push_str(&format!(", {}", duration::short(took)));
    let speed = speed(backup.bytes_processed, took);
    if speed > 0 {
        line.push_str(&format!(", {}", show.speed(speed)));
    }
    line
}

fn backup_json(backup: &Backup) -> Value {
    let took = took(backup.started_at, backup.created_at, backup.completed_at);
    json!({
        "message_type": "summary",
        "schema_version": SCHEMA_VERSION,
        "job_type": JobType::Backup.as_str(),
        "job_id": backup.id,
        "vm": backup.vm_name,
        "backup_id": backup.id,
        "backup_type": backup.backup_type,
        "status": backup.status,
        "phase": backup.current_phase,
        "fallback_reason": backup.fallback_reason,
        "total_bytes": backup.total_bytes,
        "bytes_done": backup.bytes_processed,
        "bytes_stored": backup.bytes_transferred,
        "size_bytes": backup.size_bytes,
        "saved_percent": saved_percent(backup.size_bytes, backup.total_bytes),
        "total_duration": took.as_secs_f64(),
        "bytes_per_second": speed(backup.bytes_processed, took),
        "backup": backup,
    })
}

/// Says where a disk was restored to.
pub fn restore(ui: &Ui, job: &JobView, report: &RestoreReport) {
    let took = took(job.started_at, job.created_at, job.completed_at);
    if ui.json {
        let mut line = job_json(job, took);
        line["disk"] = json!(report.disk_id);
        line["target"] = json!(report.target);
        line["format"] = json!(report.format);
        line["bytes_written"] = json!(report.bytes_written);
        line["verified"] = json!(report.verified);
        ui.json_line(&line);
        return;
    }
    if ui.quiet {
        return;
    }
    let show = &ui.show;
    let mut line = format!(
        "{} disk {} restored to {}: {}, {} written of {} in {}",
        report.backup_id,
        report.disk_id,
        report.target,
        report.format,
        show.size(report.bytes_written),
        show.size(report.total_bytes),
        duration::short(took),
    );
    let speed = speed(report.total_bytes, took);
    if speed > 0 {
        line.push_str(&format!(", {}", show.speed(speed)));
    }
    line.push_str(if report.verified { ", hashes match" } else { ", hashes not compared" });
    ui.line(&crate::show::one_line(&line));
}

/// Says what a verification found: one line, and one for each finding.
pub fn verify(ui: &Ui, job: &JobView, report: &VerifyReport) {
    let took = took(job.started_at, job.created_at, job.completed_at);
    if ui.json {
        let mut line = job_json(job, took);
        line["report"] = json!(report);
        ui.json_line(&line);
        return;
    }
    let name = job.backup_id.as_ref().map_or(job.id.as_str(), |id| id.as_str());
    if report.ok {
        if !ui.quiet {
            ui.line(&sound_line(name, report, took, &ui.show));
        }
        return;
    }
    let paint = ui.stdout_paint();
    ui.line(&format!("{name}: {}", paint.error("damaged")));
    for finding in &report.findings {
        let place = match (finding.disk_id, finding.offset) {
            (Some(disk), Some(offset)) => format!(" disk {disk} at byte {offset}"),
            (Some(disk), None) => format!(" disk {disk}"),
            (None, _) => String::new(),
        };
        let text = format!("{}{place}: {}", finding.backup_id, finding.message);
        ui.line(&format!("  {}", crate::show::one_line(&text)));
    }
    if report.findings_left_out > 0 {
        ui.line(&format!("  and {} more", report.findings_left_out));
    }
    let hit: Vec<&str> = report.affected.iter().map(|id| id.as_str()).collect();
    ui.line(&format!("  backups that can't be restored whole: {}", hit.join(", ")));
}

/// Says what was deleted and rewritten: at once, or by a job.
pub fn deleted(ui: &Ui, job: Option<&JobView>, deleted: &Deleted) {
    if ui.json {
        let Some(job) = job else {
            ui.document(deleted);
            return;
        };
        let mut line = job_json(job, took(job.started_at, job.created_at, job.completed_at));
        for (name, value) in [
            ("deleted", json!(deleted.deleted)),
            ("rewritten", json!(deleted.rewritten)),
            ("freed_bytes", json!(deleted.freed_bytes)),
        ] {
            line[name] = value;
        }
        ui.json_line(&line);
        return;
    }
    if ui.quiet {
        return;
    }
    let would = if deleted.dry_run { "would be " } else { "" };
    for id in &deleted.deleted {
        ui.line(&format!("{id} {would}deleted"));
    }
    for id in &deleted.rewritten {
        ui.line(&format!("{id} {would}rewritten"));
    }
    ui.line(&format!("{} {would}freed", ui.show.size(deleted.freed_bytes)));
}

/// Says that there was nothing to verify.
pub fn nothing_verified(ui: &Ui) {
    if ui.json {
        ui.json_line(&json!({
            "message_type": "summary",
            "schema_version": SCHEMA_VERSION,
            "job_type": JobType::Verify,
            "status": Status::Completed,
            "checked": [],
        }));
    } else if !ui.quiet {
        ui.line("there are no backups to verify");
    }
}

fn sound_line(name: &str, report: &VerifyReport, took: Duration, show: &Show) -> String {
    let points = match report.checked.len() {
        1 => "1 backup".to_owned(),
        count => format!("{count} backups"),
    };
    let what = if report.whole { "all of" } else { "a part of" };
    format!(
        "{name}: sound; {what} {points} checked, {} read in {}",
        show.size(report.bytes_checked),
        duration::short(took)
    )
}

fn job_json(job: &JobView, took: Duration) -> Value {
    json!({
        "message_type": "summary",
        "schema_version": SCHEMA_VERSION,
        "job_type": job.job_type,
        "job_id": job.id,
        "vm": job.vm_name,
        "backup_id": job.backup_id,
        "status": job.status,
        "phase": job.current_phase,
        "total_bytes": job.total_bytes,
        "bytes_done": job.bytes_processed,
        "total_duration": took.as_secs_f64(),
        "bytes_per_second": speed(job.bytes_processed, took),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::VerifyReport;

    #[test]
    fn a_sound_verification_says_what_was_read() {
        let report = VerifyReport {
            ok: true,
            whole: true,
            checked: vec![model::BackupId::new("backup-a-1").unwrap()],
            bytes_checked: 3 << 30,
            findings: Vec::new(),
            findings_left_out: 0,
            affected: Vec::new(),
        };
        assert_eq!(
            sound_line("backup-a-1", &report, Duration::from_millis(1500), &Show::new(false, true)),
            "backup-a-1: sound; all of 1 backup checked, 3.0 GiB read in 1.5 s"
        );
    }

    #[test]
    fn speed_is_nothing_where_no_time_has_passed() {
        assert_eq!(speed(1 << 30, Duration::ZERO), 0);
        assert_eq!(speed(1 << 30, Duration::from_secs(2)), 1 << 29);
    }
}
