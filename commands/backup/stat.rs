//! `backup stat`: everything about files in a backup.

use api::FileInfo;
use cli::browse::{Browsing, PointArgs, ViewArgs};
use cli::{App, Exit, Failure, Manual, Result, Work, one_line};

const MANUAL: Manual = Manual {
    examples: &[
        (
            "a file, with its extended attributes",
            "sendense-ctl backup stat pgtest2@latest /var/www/index.php",
        ),
        ("what a link leads to", "sendense-ctl backup stat latest /etc/localtime --follow"),
    ],
    exits: cli::exits![NotFound, Refused, Damaged, Unreachable, Locked, Denied],
};

/// Show everything about files in a backup
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    point: PointArgs,
    /// What a link leads to, not the link
    #[arg(short = 'L', long)]
    follow: bool,
    #[command(flatten)]
    view: ViewArgs,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let paths = self.point.paths();
        if paths.is_empty() {
            return Err(Failure::usage("no file is named").next("sendense-ctl backup stat BACKUP PATH"));
        }
        let hub = app.connect(Work::Requests)?;
        let session = Browsing::open(&hub, app, &self.point.address(), &self.view)?;
        let mut all = Vec::new();
        for path in &paths {
            all.push(session.info(path, self.follow)?);
        }
        if app.ui.json {
            app.ui.document(&all);
            return Ok(Exit::Done);
        }
        for (number, info) in all.iter().enumerate() {
            if number > 0 {
                app.ui.line("");
            }
            app.ui.fields(&fields(info, app));
            if number == 0 {
                info.warnings.iter().for_each(|warning| app.ui.warn(&one_line(warning)));
            }
        }
        Ok(Exit::Done)
    }
}

fn fields(info: &FileInfo, app: &App) -> Vec<(&'static str, String)> {
    let file = &info.file;
    let show = &app.ui.show;
    let mut fields = vec![("path", one_line(&file.path))];
    if let Some(target) = &file.link_target {
        fields.push(("link to", one_line(target)));
    }
    match file.device {
        Some((major, minor)) => fields.push(("device", format!("{major}, {minor}"))),
        None => fields.push((
            "size",
            format!("{} ({} allocated)", show.size(file.size), show.size(file.allocated_bytes)),
        )),
    }
    fields.push(("mode", format!("{} ({})", file.permissions, file.mode)));
    fields.push(("owner", format!("uid {}, gid {}", file.uid, file.gid)));
    fields.push(("links", file.links.to_string()));
    fields.push(("modified", show.stamp(&file.modified_time)));
    fields.push(("changed", show.stamp(&file.changed_time)));
    fields.push(("accessed", show.stamp(&file.accessed_time)));
    if let Some(created) = &file.created_time {
        fields.push(("created", show.stamp(created)));
    }
    if let Some(volume) = &info.volume {
        fields.push(("volume", one_line(volume)));
    }
    for xattr in &file.xattrs {
        let value = api::from_base64(&xattr.value_b64).unwrap_or_default();
        let shown = match std::str::from_utf8(&value) {
            Ok(text) => one_line(text.trim_end_matches('\0')),
            Err(_) => format!("{} bytes", value.len()),
        };
        fields.push(("xattr", format!("{}={shown}", one_line(&xattr.name))));
    }
    fields
}
