//! `backup delete`: removes a restore point.

use api::{DeleteQuery, Deleted};
use cli::{App, BackupArg, During, Exit, Manual, Result, Show, Work};

const MANUAL: Manual = Manual {
    examples: &[
        ("one that nothing is built on", "sendense-ctl backup delete pgtest2@latest"),
        ("what would go", "sendense-ctl backup delete backup-pgtest2-20251004-120000 --cascade --dry-run"),
        (
            "keep what is built on it, without being asked",
            "sendense-ctl backup delete backup-pgtest2-20251004-120000 --merge --yes",
        ),
    ],
    exits: cli::exits![NotFound, Refused, Damaged, Unreachable, Locked, Denied, NoSpace, Interrupted],
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
        let hub = app.connect(Work::Requests)?;
        let client = hub.client();
        let id = hub.resolve(app, address).during(attempt)?.id;
        let how = |dry_run| DeleteQuery { cascade: self.cascade, merge: self.merge, dry_run };
        if self.dry_run || !app.ui.yes {
            let plan = hub.wait(client.delete_backup(&id, how(true))).during(attempt)?;
            if self.dry_run {
                return Ok(tell(app, &plan));
            }
            cli::confirm(&app.ui, &question(&plan, &app.ui.show)).during(attempt)?;
        }
        let deleted = hub.wait(client.delete_backup(&id, how(false))).during(attempt)?;
        Ok(tell(app, &deleted))
    }
}

/// `Delete backup-a and 2 built on it: backup-b, backup-c (3.0 GiB)?`
fn question(plan: &Deleted, show: &Show) -> String {
    let others: Vec<&str> =
        plan.deleted.iter().filter(|id| **id != plan.backup_id).map(|id| id.as_str()).collect();
    let mut text = format!("Delete {}", plan.backup_id);
    if !others.is_empty() {
        text.push_str(&format!(" and {} built on it: {}", others.len(), others.join(", ")));
    }
    if !plan.rewritten.is_empty() {
        let children: Vec<&str> = plan.rewritten.iter().map(|id| id.as_str()).collect();
        text.push_str(&format!(", and give its data to {}", children.join(", ")));
    }
    text.push_str(&format!(" ({})?", show.size(plan.freed_bytes)));
    text
}

fn tell(app: &App, deleted: &Deleted) -> Exit {
    if app.ui.json {
        app.ui.document(deleted);
        return Exit::Done;
    }
    if app.ui.quiet {
        return Exit::Done;
    }
    let would = if deleted.dry_run { "would be " } else { "" };
    for id in &deleted.deleted {
        app.ui.line(&format!("{id} {would}deleted"));
    }
    for id in &deleted.rewritten {
        app.ui.line(&format!("{id} {would}rewritten"));
    }
    app.ui.line(&format!("{} {would}freed", app.ui.show.size(deleted.freed_bytes)));
    Exit::Done
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
        assert_eq!(question(&merge, &show), "Delete backup-a, and give its data to backup-b (3.0 GiB)?");
    }
}
