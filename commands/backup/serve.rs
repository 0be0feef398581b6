//! `backup serve`: a restore point as NBD exports, for as long as the command runs.

use api::{ClientError, DEFAULT_IDLE_SECONDS, ErrorCode, ExportBackup, Exported, UnmountQuery};
use cli::detach::{self, Told};
use cli::{
    App, BackupArg, Connection, During, Exit, Failure, Interrupts, Manual, Result, SCHEMA_VERSION, Wish,
    Work, mounting, shell_word,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MANUAL: Manual = Manual {
    examples: &[
        ("the newest point, read-only, on a private socket", "sendense-ctl backup serve pgtest2@latest"),
        (
            "a VM that boots from the backup; what it writes is thrown away",
            "sendense-ctl backup serve pgtest2@latest --writable-overlay",
        ),
        (
            "one disk, on a socket with a name, for a script",
            "sendense-ctl backup serve latest --disk 1 --socket /run/point.sock --json",
        ),
        ("in the background, until `restore unmount`", "sendense-ctl backup serve latest --detach"),
        (
            "to other machines, over TLS",
            "sendense-ctl backup serve latest --listen 0.0.0.0:10809 --tls-certificates /etc/pki/nbd",
        ),
    ],
    exits: cli::exits![NotFound, Refused, Damaged, Unreachable, Locked, Denied, NoSpace],
};

/// How often is looked whether it has been ended from elsewhere.
const LOOK: Duration = Duration::from_secs(1);

/// Serve a backup over NBD: read it, copy it, or boot a VM from it
///
/// Each disk is an export (disk0, disk1 …) that nbdinfo, nbdcopy, qemu-img, qemu-system and nbd-client can use, without
/// restoring anything. Served until Ctrl-C or SIGTERM, which end it with exit code 0. The backup itself never changes, and
/// can't be deleted meanwhile: with --writable-overlay, what clients write is kept in a temporary file and thrown away at
/// the end.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    backup: BackupArg,
    /// Only this disk, from 0
    #[arg(long, value_name = "N")]
    disk: Option<u32>,
    /// Clients can't write; this is so unless --writable-overlay is given
    #[arg(long, conflicts_with = "writable_overlay")]
    read_only: bool,
    /// Let clients write; what they write is thrown away at the end
    #[arg(long)]
    writable_overlay: bool,
    /// Keep what clients write in this folder (without a name, so it is gone however this ends), not in the state folder
    #[arg(long, value_name = "DIR", requires = "writable_overlay", value_hint = clap::ValueHint::DirPath)]
    overlay_dir: Option<PathBuf>,
    /// Serve on this Unix socket, not on a private one
    #[arg(long, value_name = "PATH", conflicts_with = "listen", value_hint = clap::ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// Serve on TCP: an IP address and a port (0 for any that is free)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Require TLS; the folder has server-cert.pem and server-key.pem
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    tls_certificates: Option<PathBuf>,
    /// Clients must show a certificate signed by ca-cert.pem of that folder
    #[arg(long, requires = "tls_certificates")]
    tls_verify_peer: bool,
    /// Serve beyond this machine without TLS: whoever reaches the port can read the disks
    #[arg(long, requires = "listen", conflicts_with = "tls_certificates")]
    allow_plaintext: bool,
    /// End by itself when nobody has been connected for so long, such as 30m; with --detach 1h unless given
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    idle: Option<Duration>,
    /// Return when it is served, and go on serving in the background
    #[arg(long)]
    detach: bool,
    /// This is the process that goes on
    #[arg(long, hide = true, conflicts_with = "detach")]
    detached: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let attempt = || format!("{} can't be served", self.backup.address());
        if self.detach {
            for told in detach::spawn(&attempt(), None)? {
                match told {
                    Told::Accepted(line) => self.report(app, &line)?,
                    Told::Refused(failure) => return Err(failure),
                }
            }
            return Ok(Exit::Done);
        }
        if self.detached {
            detach::leave_terminal(&app.ui);
        }
        let hub = app.connect(Work::Jobs)?;
        let backup = hub.resolve(app, self.backup.address()).during(attempt)?;
        let idle = match self.idle {
            Some(idle) => idle.as_secs().max(1),
            None if self.detached => DEFAULT_IDLE_SECONDS,
            None => 0,
        };
        let request = ExportBackup {
            disk_id: self.disk,
            writable_overlay: self.writable_overlay,
            overlay_dir: self.overlay_dir.as_deref().map(absolute).transpose()?,
            socket: self.socket.as_deref().map(absolute).transpose()?,
            listen: self.listen.clone(),
            tls_certificates: self.tls_certificates.as_deref().map(absolute).transpose()?,
            tls_verify_peer: self.tls_verify_peer,
            allow_plaintext: self.allow_plaintext,
            idle_timeout_seconds: Some(idle),
            client_timeout_seconds: hub.client_timeout().filter(|_| !self.detached),
            ..ExportBackup::of(backup.id)
        };
        hub.wait(async {
            // A signal from now on is a wish and not the end.
            let mut interrupts = Interrupts::listen()?;
            let exported = hub.client().export_backup(&request).await.during(attempt)?;
            let line = status_line(&exported);
            if self.detached {
                app.ui.json_line(&line);
                detach::told_everything(&app.ui);
            } else {
                self.report(app, &line)?;
            }
            let last = until_the_end(app, &hub, &mut interrupts, exported).await?;
            tell_end(app, &last);
            Ok(Exit::Done)
        })
    }

    /// Says what is served where.
    fn report(&self, app: &App, line: &Value) -> Result<()> {
        if app.ui.json {
            app.ui.json_line(line);
            return Ok(());
        }
        let exported: Exported = serde_json::from_value(line["export"].clone()).map_err(|error| {
            Failure::new(Exit::Failed, "internal", "what is served can't be read").why(error.to_string())
        })?;
        let show = &app.ui.show;
        for disk in &exported.disks {
            app.ui.line(&format!("{}  {}  {}", disk.export_name, show.size(disk.size_bytes), disk.nbd_uri));
        }
        app.ui.line("");
        for line in self.commands(&exported) {
            app.ui.line(&line);
        }
        let how = if exported.writable_overlay { "writable until then" } else { "read-only" };
        let id = mounting::short_id(&exported.export_id);
        app.ui.note(&match self.detach {
            true => {
                format!(
                    "{} is served, {how}; `sendense-ctl restore unmount {id}` ends that",
                    exported.backup_id
                )
            }
            false => format!("{} is served until Ctrl-C, {how}", exported.backup_id),
        });
        Ok(())
    }

    /// What one may type next, ready to be copied.
    fn commands(&self, exported: &Exported) -> Vec<String> {
        let mut lines = Vec::new();
        let mut drives = String::new();
        for disk in &exported.disks {
            // Clients find the authority of the server's certificate in a folder of their own.
            let mut uri = disk.nbd_uri.clone();
            if self.tls_certificates.is_some() {
                uri += if uri.contains('?') { "&" } else { "?" };
                uri += "tls-certificates=DIR";
            }
            let uri = shell_word(&uri);
            lines.push(format!("nbdinfo {uri}"));
            lines.push(format!("nbdcopy {uri} {}.raw", disk.export_name));
            drives += &format!(" -drive format=raw,if=virtio,file={uri}");
        }
        // Without an overlay of the export the VM needs one of its own.
        let snapshot = if exported.writable_overlay { "" } else { " -snapshot" };
        lines.push(format!("qemu-system-x86_64 -accel kvm -m 2G{snapshot}{drives}"));
        lines
    }
}

/// Waits until a signal comes or the export is gone; what it came to.
async fn until_the_end(
    app: &App,
    hub: &Connection,
    interrupts: &mut Interrupts,
    mut known: Exported,
) -> Result<Exported> {
    let client = hub.client();
    let id = known.export_id.clone();
    loop {
        match interrupts.next_within(LOOK).await {
            Some(Wish::Stop(_)) => {
                if let Ok(now) = client.exported(&id).await {
                    known = now;
                }
                let force = UnmountQuery { force: Some(true), ..UnmountQuery::default() };
                return match client.unmount_as(&id, force).await {
                    Err(error) if !is_gone(&error) => {
                        Err(Failure::from(error).during("the export did not end well"))
                    }
                    _ => Ok(known),
                };
            }
            Some(Wish::Status) => tell_use(app, &known),
            None => match client.exported(&id).await {
                Ok(now) => known = now,
                Err(error) if is_gone(&error) => return Ok(known),
                Err(error) => return Err(Failure::from(error).during("the hub does not answer any more")),
            },
        }
    }
}

/// One line for a program: this process's to its caller, and a detached one's to the process that made it.
fn status_line(exported: &Exported) -> Value {
    json!({ "message_type": "status", "schema_version": SCHEMA_VERSION, "status": "serving", "export": exported })
}

fn absolute(path: &Path) -> Result<String> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Failure::local(format!("{} can't be used", path.display()), &error))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::usage(format!("{} is not UTF-8: choose another path", path.display())))
}

fn is_gone(error: &ClientError) -> bool {
    error.code() == ErrorCode::MountNotFound
}

fn tell_use(app: &App, exported: &Exported) {
    for disk in &exported.disks {
        app.ui.note(&format!(
            "{}: {} connected, {} read, {} written",
            disk.export_name,
            disk.connections,
            app.ui.show.size(disk.bytes_read),
            app.ui.show.size(disk.bytes_written),
        ));
    }
}

fn tell_end(app: &App, exported: &Exported) {
    let sum = |field: fn(&api::ExportedDisk) -> u64| exported.disks.iter().map(field).sum::<u64>();
    let (read, written) = (sum(|disk| disk.bytes_read), sum(|disk| disk.bytes_written));
    let connections = sum(|disk| disk.connections_total);
    if app.ui.json {
        app.ui.json_line(&json!({
            "message_type": "summary", "schema_version": SCHEMA_VERSION, "status": "closed",
            "export_id": exported.export_id, "backup_id": exported.backup_id, "connections_total": connections,
            "bytes_read": read, "bytes_written": written,
        }));
        return;
    }
    let thrown = match exported.writable_overlay {
        true => format!(", {} written and thrown away", app.ui.show.size(written)),
        false => String::new(),
    };
    app.ui.note(&format!(
        "{} is not served any more: {connections} connections, {} read{thrown}",
        exported.backup_id,
        app.ui.show.size(read),
    ));
}
