//! `backup mount`: the files of a backup, or of all backups of a VM, as a folder.

use api::{Mount, MountBackup};
use clap_complete::engine::ArgValueCompleter;
use cli::browse::ViewArgs;
use cli::detach::{self, Told};
use cli::{App, During, Exit, Failure, Interrupts, Manual, Result, Work, complete, mounting, one_line};
use model::VmName;
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const MANUAL: Manual = Manual {
    examples: &[
        ("look around in the newest backup", "sendense-ctl backup mount pgtest2@latest /tmp/restore"),
        (
            "every backup of a VM as a folder of its time",
            "sendense-ctl backup mount --all --vm pgtest2 /tmp/history",
        ),
        ("only while this command runs", "sendense-ctl backup mount latest /tmp/restore --foreground"),
    ],
    exits: cli::exits![NotFound, Refused, Damaged, Unreachable, Locked, Denied],
};

/// Show the files of a backup as a folder
///
/// The folder is read-only, needs no root, and is there when the command returns. It closes itself when nobody has used
/// it for an hour (--idle); `restore unmount` ends it at once. A backup can't be deleted while it is mounted. Where the
/// hub is another machine, the folder is there.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// The backup (an id, the beginning of one, latest, VM@latest, VM@2025-10-06), then the folder: an empty one, or one to be made
    #[arg(value_name = "BACKUP] [DIR", num_args = 0..=2, add = ArgValueCompleter::new(complete::backup_then_folder))]
    words: Vec<OsString>,
    /// The backup as an option
    #[arg(long, value_name = "BACKUP", add = ArgValueCompleter::new(complete::backups))]
    backup_id: Option<String>,
    /// The folder as an option
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    path: Option<PathBuf>,
    /// All backups of a VM (--vm), each in a folder of its time, opened when somebody goes into it
    #[arg(long, requires = "vm", conflicts_with = "backup_id")]
    all: bool,
    /// The VM whose backups are shown, with --all
    #[arg(long, value_name = "NAME", requires = "all", add = ArgValueCompleter::new(complete::vms))]
    vm: Option<VmName>,
    /// Stay, and unmount at the end (Ctrl-C)
    #[arg(long)]
    foreground: bool,
    /// Unmount it when nobody has used it for so long
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = cli::duration)]
    idle: Duration,
    /// Let other users in, as far as the guest's permissions let them
    #[arg(long)]
    allow_other: bool,
    /// Let the kernel's own file system serve it (root; needs network block devices and qemu-nbd)
    #[arg(long, conflicts_with = "all")]
    kernel: bool,
    #[command(flatten)]
    view: ViewArgs,
    /// This is the process that a mount was given to
    #[arg(long, hide = true)]
    detached: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        if self.detached {
            return self.serve(app, &detach::secret::<Vec<String>>()?);
        }
        // Asked here: the other process has no terminal.
        let keys = self.view.keys()?;
        let (address, _) = self.names()?;
        if self.foreground {
            return self.serve(app, &keys);
        }
        let what = address.or_else(|| self.vm.as_ref().map(ToString::to_string)).unwrap_or_default();
        let told = detach::spawn(&format!("{what} could not be mounted"), Some(&json!(keys)))?;
        for told in told {
            match told {
                Told::Accepted(line) => {
                    let mount: Mount = serde_json::from_value(line["mount"].clone()).map_err(|error| {
                        Failure::new(Exit::Failed, "internal", "the mount's description can't be read")
                            .why(error.to_string())
                    })?;
                    report(app, &mount);
                }
                Told::Refused(failure) => return Err(failure),
            }
        }
        Ok(Exit::Done)
    }

    /// The backup's address, where it is one backup, and the folder.
    fn names(&self) -> Result<(Option<String>, PathBuf)> {
        let mut words = self.words.iter();
        let address = match &self.backup_id {
            _ if self.all => None,
            Some(id) => Some(id.clone()),
            None => Some(words.next().map(|word| word.to_string_lossy().into_owned()).ok_or_else(|| {
                Failure::usage("no backup is named").next("sendense-ctl backup mount BACKUP DIR")
            })?),
        };
        let folder = match (&self.path, words.next()) {
            (Some(path), None) => path.clone(),
            (None, Some(word)) => PathBuf::from(word),
            (Some(path), Some(word)) => {
                let given = format!("two folders are named: {} and {}", path.display(), word.display());
                return Err(Failure::usage(given));
            }
            (None, None) => {
                return Err(Failure::usage("no folder is named").next("sendense-ctl backup mount BACKUP DIR"));
            }
        };
        if let Some(more) = words.next() {
            return Err(Failure::usage(format!("{} is one word too many", more.display())));
        }
        let folder = std::path::absolute(&folder)
            .map_err(|error| Failure::local(format!("{} is no folder", folder.display()), &error))?;
        Ok((address, folder))
    }

    /// Mounts it, and stays as long as it is this process that serves it.
    fn serve(&self, app: &App, keys: &[String]) -> Result<Exit> {
        let (address, folder) = self.names()?;
        let Some(folder) = folder.to_str().map(str::to_owned) else {
            return Err(Failure::usage("the folder's path has to be UTF-8"));
        };
        if self.detached {
            detach::leave_terminal(&app.ui);
        }
        let hub = app.connect(Work::Jobs)?;
        let what = address.clone().or_else(|| self.vm.as_ref().map(ToString::to_string)).unwrap_or_default();
        let attempt = || format!("{what} could not be mounted");
        let request = match (&address, &self.vm) {
            (Some(address), _) => MountBackup {
                path: Some(folder),
                ..MountBackup::of(hub.resolve(app, address).during(attempt)?.id)
            },
            (None, Some(vm)) => MountBackup::all(vm.clone(), folder),
            (None, None) => return Err(Failure::usage("no backup is named")),
        };
        let request = MountBackup {
            disk_id: self.view.disk,
            volume: self.view.volume.clone(),
            ignore_journal: self.view.ignore_journal,
            keys_b64: keys.to_vec(),
            idle_timeout_seconds: Some(self.idle.as_secs().max(1)),
            client_timeout_seconds: hub.client_timeout().filter(|_| !self.detached),
            allow_other: self.allow_other,
            kernel: self.kernel,
            ..request
        };
        hub.wait(async {
            // Before there is a mount: a signal from now on is a wish and not the end.
            let mut interrupts = Interrupts::listen()?;
            let mount = hub.client().mount(&request).await.during(attempt)?;
            if self.detached {
                app.ui.json_line(&json!({ "message_type": "status", "schema_version": cli::SCHEMA_VERSION, "mount": mount }));
                detach::told_everything(&app.ui);
                if !mounting::is_ours(&mount) {
                    return Ok(Exit::Done);
                }
                // So that the folder in which the command was run can be unmounted itself.
                drop(std::env::set_current_dir("/"));
            } else {
                report(app, &mount);
                app.ui.note("Ctrl-C unmounts it");
            }
            mounting::stay(&hub, &mut interrupts, &mount.mount_id).await
        })
    }
}

/// Says what is mounted where: the id for a script, the rest for a person.
fn report(app: &App, mount: &Mount) {
    if app.ui.json {
        app.ui.document(mount);
        return;
    }
    app.ui.line(mounting::short_id(&mount.mount_id));
    let path = mount.mount_path.as_deref().unwrap_or_default();
    let what = match &mount.backup_id {
        Some(id) => id.to_string(),
        None => format!("all backups of {}", mount.vm_name),
    };
    let system = mount.system.as_ref().map(|system| format!(" ({system})")).unwrap_or_default();
    app.ui.note(&format!(
        "{what}{system} is at {path}; `sendense-ctl restore unmount {}` ends that",
        cli::shell_word(path)
    ));
    mount.notes.iter().filter(|_| mount.backup_id.is_some()).for_each(|note| app.ui.note(&one_line(note)));
    mount.warnings.iter().for_each(|warning| app.ui.warn(&one_line(warning)));
}
