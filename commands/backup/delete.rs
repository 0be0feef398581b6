//! `backup delete`: removes a restore point.

use api::{Client, DeleteQuery, Deleted, JobResult, JobView};
use cli::{
    App, BackupArg, During, Exit, Failure, Follow, Interrupts, Manual, OnStop, Reporter, Result, Show, Task,
    Work, summary,
};
use model::Status;
use std::future::Future;

const MANUAL: Manual = Manual {
    examples: &[
        ("one that nothing is built on", "sendense-ctl backup delete pgtest2@latest"),
        ("what would go", "sendense-ctl backup delete backup-pgtest2-20251004-120000 --cascade --dry-run"),
        (
            "keep what is built on it, without being asked",
            "sendense-ctl backup delete backup-pgtest2-20251004-120000 --merge --yes",
        ),
    ],
    exits: cli::exits![
        NotFound,
        Refused,
        Damaged,
        Unreachable,
        Locked,
        Denied,
        NoSpace,
        HungUp,
        Interrupted,
        Terminated
    ],
};

/// Delete a backup
///
/// A backup that others are built on is refused, with their list, unless --cascade or --merge says what is to become
/// of them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    backup: BackupArg,
    /// Delete what is built on it too
    #[arg(long)]
    cascade: bool,
    /// Give its data to what is built on it, and delete only it
    #[arg(long, conflicts_with = "cascade")]
    merge: bool,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let address = self.backup.address();
        let attempt = || format!("{address} was not deleted");
        let hub = app.connect(if self.merge { Work::Jobs } else { Work::Requests })?;
        let client = hub.client();
        let backup = hub.resolve(app, address).during(attempt)?;
        let id = &backup.id;
        let how = |dry_run| DeleteQuery { cascade: self.cascade, merge: self.merge, dry_run };
        hub.wait(async {
            if self.dry_run || !app.ui.yes {
                let plan = client.delete_backup(id, how(true)).await.during(attempt)?;
                if self.dry_run {
                    summary::deleted(&app.ui, None, &plan);
                    return Ok(Exit::Done);
                }
                cli::confirm_plan(&app.ui, &question(&plan, &app.ui.show)).during(attempt)?;
            }
            // The record of a backup that never became a point holds nothing to merge.
            if self.merge && backup.status == Status::Completed {
                let merging = async { client.merge_backup(id).await.during(attempt) };
                return follow(app, client, attempt(), merging).await;
            }
            let deleted = client.delete_backup(id, how(false)).await.during(attempt)?;
            summary::deleted(&app.ui, None, &deleted);
            Ok(Exit::Done)
        })
    }
}

/// Follows a job that merges points away to its end, and says what it did.
pub async fn follow(
    app: &App,
    client: &Client,
    what: String,
    starting: impl Future<Output = Result<JobView>>,
) -> Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    let job = starting.await?;
    let task = Task {
        vm: job.vm_name.as_ref().map(ToString::to_string),
        backup_id: job.backup_id.as_ref().map(ToString::to_string),
        job_id: job.id.to_string(),
        job: job.job_type,
    };
    let follow = Follow::new(client, &app.ui, OnStop::Cancel, Reporter::new(&app.ui));
    let note = format!("{}: merging started", task.label());
    let ended = follow.all(&mut interrupts, [follow.job(task, &note)]).await.pop();
    let job = follow.outcome(ended.unwrap_or(Ok(job))?, &what)?;
    match &job.result {
        Some(JobResult::Consolidate(deleted)) => summary::deleted(&app.ui, Some(&job), deleted),
        _ => return Err(Failure::new(Exit::Failed, "internal", what)),
    }
    Ok(Exit::Done)
}

/// `Delete backup-a and 2 built on it: backup-b, backup-c (3.0 GiB)?`
pub fn question(plan: &Deleted, show: &Show) -> String {
    let others: Vec<&str> =
        plan.deleted.iter().filter(|id| **id != plan.backup_id).map(|id| id.as_str()).collect();
    let mut text = match plan.deleted.contains(&plan.backup_id) {
        true if others.is_empty() => format!("Delete {}", plan.backup_id),
        true => format!("Delete {} and {} built on it: {}", plan.backup_id, others.len(), others.join(", ")),
        // A consolidation: the backup that it is named after stays.
        false => format!("Delete {} backup(s) up to {}: {}", others.len(), plan.backup_id, others.join(", ")),
    };
    if !plan.rewritten.is_empty() {
        let children: Vec<&str> = plan.rewritten.iter().map(|id| id.as_str()).collect();
        text.push_str(&format!(", and give the data to {}", children.join(", ")));
    }
    text.push_str(&format!(" ({})?", show.size(plan.freed_bytes)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::BackupId;

    #[test]
    fn the_question_names_everything_that_goes() {
        let id = |text: &str| BackupId::new(text).unwrap();
        let plan = Deleted {
            success: true,
            message: String::new(),
            backup_id: id("backup-a"),
            freed_bytes: 3 << 30,
            deleted: vec![id("backup-c"), id("backup-b"), id("backup-a")],
            rewritten: Vec::new(),
            dry_run: true,
        };
        let show = Show::new(false, true);
        assert_eq!(
            question(&plan, &show),
            "Delete backup-a and 2 built on it: backup-c, backup-b (3.0 GiB)?"
        );
        let merge = Deleted { deleted: vec![id("backup-a")], rewritten: vec![id("backup-b")], ..plan };
        assert_eq!(question(&merge, &show), "Delete backup-a, and give the data to backup-b (3.0 GiB)?");
    }
}
