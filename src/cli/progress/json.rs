//! Progress as JSON lines. The fields are those that users of restic know, and `phase`, `vm`, `disk`,
//! `backup_id`. `disk` is the disk's number where the job has one disk only, otherwise null; `disks` holds each.

use super::{Numbers, Task};
use crate::failure::SCHEMA_VERSION;
use crate::ui::Ui;
use api::{DiskTelemetry, Telemetry};
use model::{Phase, Status};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// At most that often a line for each job, unless its phase changes.
const INTERVAL: Duration = Duration::from_millis(500);

/// What was written last of each job.
#[derive(Debug, Default)]
pub struct JsonLines {
    written: BTreeMap<usize, (Phase, Instant)>,
}

impl JsonLines {
    /// The line that says that a job was accepted.
    pub fn begin(&mut self, ui: &Ui, task: &Task) {
        ui.json_line(&accepted(task));
    }

    /// Writes a line where one is due.
    pub fn progress(&mut self, ui: &Ui, handle: usize, task: &Task, now: &Telemetry, at: Instant) {
        if self.due(handle, now, at) {
            ui.json_line(&status(task, now));
        }
    }

    fn due(&mut self, handle: usize, now: &Telemetry, at: Instant) -> bool {
        // Said already, when the job was accepted.
        if now.current_phase == Phase::Pending {
            return false;
        }
        if let Some((phase, last)) = self.written.get(&handle)
            && *phase == now.current_phase
            && at.duration_since(*last) < INTERVAL
        {
            return false;
        }
        self.written.insert(handle, (now.current_phase, at));
        true
    }
}

/// The first line of a job.
pub fn accepted(task: &Task) -> Value {
    json!({
        "message_type": "status",
        "schema_version": SCHEMA_VERSION,
        "job_type": task.job.as_str(),
        "job_id": task.job_id,
        "status": Status::Pending.as_str(),
        "phase": Phase::Pending.as_str(),
        "vm": task.vm,
        "disk": null,
        "backup_id": task.backup_id,
        "percent_done": 0.0,
        "bytes_done": 0,
        "total_bytes": 0,
        "bytes_stored": 0,
        "bytes_per_second": 0,
        "seconds_remaining": null,
        "disks": [],
    })
}

/// A line of progress.
fn status(task: &Task, now: &Telemetry) -> Value {
    let numbers = Numbers::of(now);
    let disk = match now.disks.as_slice() {
        [only] => Some(only.disk_index),
        _ => None,
    };
    json!({
        "message_type": "status",
        "schema_version": SCHEMA_VERSION,
        "job_type": task.job.as_str(),
        "job_id": task.job_id,
        "status": now.status.as_str(),
        "phase": now.current_phase.as_str(),
        "vm": task.vm,
        "disk": disk,
        "backup_id": task.backup_id,
        "percent_done": fraction(numbers.percent),
        "bytes_done": numbers.done,
        "total_bytes": numbers.total,
        "bytes_stored": now.bytes_transferred,
        "bytes_per_second": numbers.speed,
        "seconds_remaining": numbers.left,
        "disks": now.disks.iter().map(of_disk).collect::<Vec<_>>(),
    })
}

fn of_disk(disk: &DiskTelemetry) -> Value {
    json!({
        "disk": disk.disk_index,
        "status": disk.status.as_str(),
        "percent_done": fraction(disk.progress_percent),
        "bytes_done": disk.bytes_processed.unwrap_or(disk.bytes_transferred),
        "total_bytes": disk.total_bytes,
        "bytes_stored": disk.bytes_transferred,
    })
}

/// 0 to 1, as restic has it, to a hundredth of a percent.
fn fraction(percent: f64) -> f64 {
    (percent * 100.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::super::samples::{task, telemetry};
    use super::*;

    #[test]
    fn a_status_line_has_the_promised_fields() {
        let line = status(&task(), &telemetry(Phase::Transferring, 1 << 30));
        assert_eq!(line["message_type"], "status");
        assert_eq!(line["percent_done"], 0.5);
        assert_eq!(line["bytes_done"], 1u64 << 30);
        assert_eq!(line["total_bytes"], 2u64 << 30);
        assert_eq!(line["seconds_remaining"], 2);
        assert_eq!(line["phase"], "transferring");
        assert_eq!(line["vm"], "pgtest2");
        assert_eq!(line["disk"], Value::Null);
        assert_eq!(line["disks"][1]["disk"], 1);
        assert_eq!(line["backup_id"], "backup-pgtest2-20251006-120000");
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&line), keys(&accepted(&task())), "the first line has the fields of the others");
    }

    #[test]
    fn lines_are_not_more_frequent_than_useful() {
        let start = Instant::now();
        let mut json = JsonLines::default();
        let mut written = Vec::new();
        for tenth in 0..20u32 {
            let phase = if tenth < 13 { Phase::Transferring } else { Phase::Finalizing };
            if json.due(0, &telemetry(phase, 0), start + Duration::from_millis(100) * tenth) {
                written.push(tenth);
            }
        }
        assert_eq!(written, [0, 5, 10, 13, 18]);
    }
}
