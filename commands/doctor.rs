//! `doctor`: what is wrong with the installation, and putting it right.

use api::{DoctorFix, Finding, Severity};
use cli::{App, During, Exit, Manual, Result};

const MANUAL: Manual = Manual {
    examples: &[
        ("look, change nothing", "sendense-ctl doctor"),
        ("put right what can be", "sendense-ctl doctor --fix"),
    ],
    exits: cli::exits![Incomplete, Unreachable, Locked, Denied],
};

/// Look for what is wrong with catalog, repositories and jobs, and put it right
///
/// Ends with 3 where something is wrong that has not been put right.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Put right what can be: leases and rows of dead runs, partial files, unfinished transactions
    #[arg(long)]
    fix: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect_to_examine()?;
        let report = if self.fix {
            hub.wait(hub.client().doctor_fix(&DoctorFix::default()))
        } else {
            hub.wait(hub.client().doctor())
        };
        let report = report.during(|| "the state could not be looked at".to_owned())?;
        if app.ui.json {
            app.ui.document(&report);
        } else {
            for finding in &report.findings {
                show(app, finding);
            }
            let fixable = report.findings.iter().filter(|found| found.fixable && !found.fixed).count();
            if fixable > 0 && !self.fix {
                app.ui.note(&format!("{fixable} of these can be put right: sendense-ctl doctor --fix"));
            }
        }
        Ok(if report.healthy { Exit::Done } else { Exit::Incomplete })
    }
}

fn show(app: &App, finding: &Finding) {
    let paint = app.ui.stdout_paint();
    let state = match finding.severity {
        _ if finding.fixed => paint.good("fixed  "),
        Severity::Ok => paint.good("ok     "),
        Severity::Warning => paint.warning("warning"),
        Severity::Error => paint.error("error  "),
    };
    app.ui.line(&format!("{state}  {:<14}  {}", finding.check, cli::one_line(&finding.message)));
    if let (Some(hint), false) = (&finding.hint, finding.fixed) {
        app.ui.line(&format!("{:25}next: {}", "", cli::one_line(hint)));
    }
}
