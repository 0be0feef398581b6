//! Several hubs on one MariaDB server with one repository; the server that goes away; the catalog that moves there.

use crate::harness::{MIB, Random, Run, Running, Site, eventually, have, scribble};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::mariadb::{self, Server};

const LONG: Duration = Duration::from_secs(180);

/// A run of another hub: the same catalog and repository, a state folder of its own.
fn elsewhere(site: &Site, hub: u64, arguments: &[&str]) -> Running {
    let mut command = site.command(arguments);
    command.env("SENDENSE_HOME", site.path(&format!("hub-{hub}")));
    Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

fn ids(site: &Site) -> Vec<String> {
    site.points().iter().map(|point| point["id"].as_str().unwrap().to_owned()).collect()
}

/// Nothing unfinished in the repository, nothing that runs in the catalog.
pub fn assert_tidy(site: &Site) {
    let doctor = site.run("doctor --json");
    assert_eq!(doctor.code, 0, "{doctor:#?}");
    for ending in [".partial", ".tmp"] {
        assert!(site.files_ending(ending).is_empty(), "{:?}", site.files_ending(ending));
    }
    for status in ["pending", "running", "stalled"] {
        assert_eq!(site.json(&format!("backup list --status {status}"))["total"], 0, "{status}");
    }
}

#[test]
fn five_hubs_on_one_server_back_up_one_vm_one_after_the_other() {
    let Some(address) = mariadb::database() else { return };
    if !have(&["qemu-img"]) {
        return;
    }
    let site = Site::new().with_catalog(&address);
    let disk = site.disk("a.raw", 32 * MIB, 12, 1);
    site.ok(&format!("vm add pg --disk {}", disk.display()));
    site.ok("backup start --vm pg");
    // None waits: whoever comes while another runs is told so, and by whom.
    let runs: Vec<Running> =
        (0..5).map(|hub| elsewhere(&site, hub, &["backup", "start", "--vm", "pg"])).collect();
    let runs: Vec<Run> = runs.into_iter().map(|run| run.wait(LONG)).collect();
    let done = runs.iter().filter(|run| run.code == 0).count();
    assert!(done >= 1, "{runs:#?}");
    for run in runs.iter().filter(|run| run.code != 0) {
        run.failed_with(11, &["process "]);
    }
    // All wait: all come to their turn, each on what the one before has made.
    let wait = ["backup", "start", "--vm", "pg", "--retry-lock", "2m"];
    let runs: Vec<Running> = (0..5).map(|hub| elsewhere(&site, hub, &wait)).collect();
    for run in runs {
        let run = run.wait(LONG);
        assert_eq!(run.code, 0, "{run:#?}");
    }
    let chain = site.json("backup chain --vm pg");
    let points = chain["chain"].as_array().unwrap();
    assert_eq!(points.len(), 1 + done + 5);
    for pair in points.windows(2) {
        assert_eq!(pair[1]["parent_backup_id"], pair[0]["backup_id"], "the chain has two ends");
    }
    site.ok("backup verify --all");
    site.assert_point_equals(points.last().unwrap()["backup_id"].as_str().unwrap(), 0, &disk);
    assert_tidy(&site);
}

#[test]
fn hubs_killed_at_any_moment_leave_what_another_hub_puts_right() {
    let Some(address) = mariadb::database() else { return };
    if !have(&["qemu-img"]) {
        return;
    }
    let site = Site::in_memory().with_catalog(&address);
    let disks: Vec<PathBuf> = (0..5).map(|n| site.disk(&format!("{n}.raw"), 16 * MIB, 5, n)).collect();
    for (n, disk) in disks.iter().enumerate() {
        site.ok(&format!("vm add vm{n} --disk {}", disk.display()));
        site.ok(&format!("backup start --vm vm{n}"));
    }
    let mut random = Random(41);
    let mut completed = ids(&site);
    for round in 0..8 {
        let started = Instant::now();
        for disk in &disks {
            scribble(disk, 1, round);
        }
        // Two hubs want each of two VMs, a fifth another one; all are killed at moments of their own.
        let runs: Vec<(Running, Duration)> = (0..5u64)
            .map(|hub| {
                let vm = format!("vm{}", hub / 2);
                let moment = Duration::from_millis(random.below(900));
                (elsewhere(&site, hub, &["backup", "start", "--vm", &vm, "--retry-lock", "1m"]), moment)
            })
            .collect();
        for (mut run, moment) in runs {
            // The moment is the point of this test, nothing is waited for.
            while started.elapsed() < moment && run.0.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(run);
        }
        // The next run of any hub recovers.
        let run = elsewhere(&site, 9, &["backup", "list", "--limit", "1"]).wait(LONG);
        assert_eq!(run.code, 0, "round {round}: {run:#?}");
        let now = ids(&site);
        assert!(completed.iter().all(|id| now.contains(id)), "round {round}: a completed point is gone");
        assert_eq!(site.files_ending(".qcow2").len(), now.len(), "round {round}: files of no point");
        assert_tidy(&site);
        completed = now;
    }
    site.ok("backup start --all");
    site.ok("backup verify --all");
    for (n, disk) in disks.iter().enumerate() {
        let latest = site.json(&format!("backup list --vm vm{n} --limit 1"));
        site.assert_point_equals(latest["backups"][0]["id"].as_str().unwrap(), 0, disk);
    }
}

#[test]
fn a_server_that_goes_away_under_a_backup_and_comes_back_costs_nothing() {
    let Some(mut server) = Server::start() else { return };
    if !have(&["qemu-img"]) {
        return;
    }
    let site = Site::new().with_catalog(&server.database());
    let disk = site.disk("a.raw", 48 * MIB, 24, 1);
    site.ok(&format!("vm add pg --disk {}", disk.display()));
    for (round, stop) in [Server::stop, Server::kill].into_iter().enumerate() {
        let mut command =
            site.command(["backup", "start", "--vm", "pg", "--type", "full", "--bandwidth", "8M"]);
        let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        eventually("the backup transfers", LONG, || !site.files_ending(".qcow2.partial").is_empty());
        stop(&mut server);
        // Who begins now is told at once.
        site.run("backup list").failed_with(10, &["can't be reached"]);
        if round == 1 {
            // It even ends while the server is away: its row waits.
            eventually("its files are complete", LONG, || site.files_ending(".partial").is_empty());
        }
        server.start_again();
        let run = running.wait(LONG);
        assert_eq!(run.code, 0, "round {round}: {run:#?}");
        let id = run.summary()["backup_id"].as_str().unwrap().to_owned();
        assert_eq!(site.json(&format!("backup show {id}"))["backup"]["status"], "completed");
        site.assert_point_equals(&id, 0, &disk);
        assert_eq!(ids(&site).len(), round + 1);
        assert_tidy(&site);
    }
}

#[test]
fn who_looks_after_a_hub_whose_server_is_gone_is_told_soon() {
    let Some(mut server) = Server::start() else { return };
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let catalog = server.database();
    let hub = site.serve_with(&["--listen", "http://127.0.0.1:0"], |hub| {
        hub.env("SENDENSE_CATALOG", &catalog);
    });
    let token = site.bare_ok("hub tokens create prometheus --role viewer --hub local").stdout;
    let address = hub.address("http").to_owned();
    // Over the network with a token, which stands in the catalog.
    let scraped = || {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "%{http_code}", "-H", &format!("Authorization: Bearer {}", token.trim())]);
        curl.arg(format!("{address}/api/v1/metrics"));
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    assert!(scraped().ends_with("200"));
    assert_eq!(site.bare_json("hub status --hub local")["health"]["status"], "healthy");
    let metrics = || {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--unix-socket"]).arg(site.state().join("hub.sock"));
        curl.arg("http://localhost/api/v1/metrics");
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    assert!(metrics().contains("sendense_catalog_up 1"));
    server.stop();
    let begun = Instant::now();
    let status = site.bare_run("hub status --hub local");
    assert_eq!(status.code, 3, "{status:#?}");
    assert!(status.stdout.contains("does not work") && !status.stdout.contains("none yet"), "{status:#?}");
    assert!(status.stderr.contains("the catalog does not answer"), "{status:#?}");
    assert!(metrics().contains("sendense_catalog_up 0"));
    let refused = scraped();
    assert!(refused.contains("catalog_unavailable") && refused.ends_with("503"), "{refused}");
    let doctor = site.bare_run("doctor --hub local");
    assert_ne!(doctor.code, 0, "{doctor:#?}");
    assert!(
        doctor.stdout.contains("does not answer") && !doctor.stdout.contains("nothing is wrong"),
        "{doctor:#?}"
    );
    let bundle = site.bare_run("support-bundle --hub local --output {}/bundle.tar.gz");
    assert_eq!(bundle.code, 3, "{bundle:#?}");
    assert!(bundle.stderr.contains("what is in the catalog: it does not answer"), "{bundle:#?}");
    site.bare_run("support-bundle --hub local --output {}/bundle.tar.gz").failed_with(5, &["exists already"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "it takes {:?}", begun.elapsed());
    server.start_again();
    eventually("it works again", LONG, || site.bare_run("hub status --hub local --quiet").code == 0);
}

#[test]
fn a_server_that_is_killed_again_and_again_under_deletions_leaves_whole_chains() {
    let Some(mut server) = Server::start() else { return };
    if !have(&["qemu-img"]) {
        return;
    }
    let site = Site::in_memory().with_catalog(&server.database());
    let disk = site.disk("a.raw", 8 * MIB, 4, 1);
    site.ok(&format!("vm add pg --disk {}", disk.display()));
    for n in 0..8 {
        scribble(&disk, 1, n);
        site.ok(&format!("backup start --vm pg --type {}", if n == 4 { "full" } else { "auto" }));
    }
    let mut random = Random(7);
    let mut kept = ids(&site);
    // The oldest points one after the other, merged into what is built on them, or simply gone.
    while kept.len() > 2 {
        let victim = kept.last().unwrap().clone();
        let verb = if random.below(2) == 0 { "--merge" } else { "--cascade" };
        let mut command = site.command(["backup", "delete", &victim, verb, "--yes"]);
        let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let moment = Instant::now() + Duration::from_millis(random.below(250));
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        server.kill();
        server.start_again();
        let run = running.wait(LONG);
        // 10: it began while the server was away.
        assert!([0, 10].contains(&run.code), "{run:#?}");
        let now = ids(&site);
        assert_eq!(run.code == 0, !now.contains(&victim), "{run:#?}");
        site.ok("backup verify --all");
        assert_tidy(&site);
        kept = now;
    }
    if let Some(newest) = kept.first() {
        site.assert_point_equals(newest, 0, &disk);
    }
}

#[test]
fn the_catalog_moves_to_a_server_and_back_with_everything_that_it_knows() {
    let Some(address) = mariadb::database() else { return };
    let site = Site::new();
    let disk = site.disk("a.raw", 8 * MIB, 4, 1);
    site.ok(&format!("vm add pg --disk {}", disk.display()));
    site.ok("backup start --vm pg --tag env=test");
    site.ok("backup start --vm pg");
    let before = site.json("backup list");

    let dry = site.json(&format!("catalog migrate --to {address} --dry-run"));
    assert_eq!(dry["dry_run"], true);
    let copied = site.json(&format!("catalog migrate --to {address}"));
    assert_eq!(copied["tables"], dry["tables"], "the same was counted and copied");
    assert_eq!((&dry["rows"], dry["rows"].as_u64() > Some(5)), (&copied["rows"], true));
    site.run(&format!("catalog migrate --to {address}")).failed_with(5, &["is not empty"]);

    let moved = Site::with_catalog(site, &address);
    assert_eq!(moved.json("backup list"), before);
    moved.ok("backup start --vm pg");
    let back = moved.path("back.db");
    let run = moved.ok(&format!("catalog migrate --from {address} --to {}", back.display()));
    assert!(run.stdout.contains("backup_jobs"), "{run:#?}");
    let listed = moved.json(&format!("backup list --catalog {}", back.display()));
    assert_eq!(listed, moved.json("backup list"));
    assert_eq!(listed["total"], 3);
    let missing = moved.run("catalog migrate --from {}/none.db --to {}/other.db");
    missing.failed_with(10, &["there is no catalog at"]);
    assert!(!moved.path("none.db").exists() && !moved.path("other.db").exists());
}

#[test]
fn passwords_stay_out_of_addresses_messages_and_process_lists() {
    let site = Site::new().with_catalog("mysql://hub:s3cret@localhost/hub");
    let run = site.run("backup list");
    run.failed_with(2, &["must not hold its password", "SENDENSE_CATALOG_PASSWORD_FILE"]);
    assert!(!run.stderr.contains("s3cret"), "{run:#?}");

    let Some(address) = mariadb::database() else { return };
    let database = address.split(['/', '?']).nth(3).unwrap().to_owned();
    mariadb::shared_sql(&format!(
        "CREATE USER p{database}@localhost IDENTIFIED BY 's3cret'; GRANT ALL ON {database}.* TO p{database}@localhost"
    ));
    let address = address.replace("root@", &format!("p{database}@"));
    let file = site.path("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    let site = site.with_catalog(&address);
    let run = site.run("backup list");
    run.failed_with(12, &["refuses this user", "SENDENSE_CATALOG_PASSWORD_FILE"]);
    let mut command = site.command(["vm", "list", "--verbose"]);
    let output = command.env("SENDENSE_CATALOG_PASSWORD_FILE", &file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"));
}

#[test]
fn the_catalog_in_a_hubs_configuration_is_its_own_and_that_of_commands_without_it() {
    let Some(address) = mariadb::database() else { return };
    let database = address.split(['/', '?']).nth(3).unwrap().to_owned();
    mariadb::shared_sql(&format!(
        "CREATE USER c{database}@localhost IDENTIFIED BY 's3cret'; GRANT ALL ON {database}.* TO c{database}@localhost"
    ));
    let address = address.replace("root@", &format!("c{database}@"));
    let site = Site::new();
    let [file, password] = ["hub.toml", "password"].map(|name| site.path(name).display().to_string());
    let write = |catalog: &str, password_file: &str| {
        let text = format!("listen = []\ncatalog = '{catalog}'\ncatalog_password_file = '{password_file}'\n");
        std::fs::write(&file, text).unwrap();
    };
    let without_secret = |run: Run| {
        assert!(!format!("{run:?}").contains("s3cret"), "{run:#?}");
        run
    };
    let run = |line: &str| without_secret(site.bare_run(&format!("{line} --config {file}")));

    // What is wrong is told by the check, and no password is repeated.
    write(&address.replace('@', ":s3cret@"), &password);
    for line in ["hub config check", "hub config show", "hub serve"] {
        run(line).failed_with(2, &["catalog (", "must not hold its password", "catalog_password_file"]);
    }
    write(&address, &password);
    run("hub config check").failed_with(1, &["/password"]);
    std::fs::write(&password, "not s3cret\n").unwrap();
    assert_eq!(run("hub config check").code, 0);
    run("hub serve").failed_with(12, &["refuses this user"]);
    std::fs::write(&password, "s3cret\nsecond line\n").unwrap();

    // What wins, and that what is shown is the address whole, as it would be given.
    let shown = |line: &str, variables: &[(&str, &str)]| {
        let mut command = site.bare_command(line.split(' '));
        command.args(["--json", "--config", &file]).envs(variables.iter().copied());
        let run = without_secret(Run::finished(command));
        let shown: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let catalog = &shown["settings"]["catalog"];
        (catalog["value"].as_str().unwrap().to_owned(), catalog["origin"].as_str().unwrap().to_owned())
    };
    let other = [("SENDENSE_CATALOG", "/srv/other.db")];
    assert_eq!(shown("hub config show", &[]), (address.clone(), file.clone()));
    assert_eq!(shown("hub config show", &other), ("/srv/other.db".into(), "SENDENSE_CATALOG".into()));
    let flag = ("mysql://flag@db/hub?ssl-mode=REQUIRED".to_owned(), "command line".to_owned());
    assert_eq!(shown(&format!("hub config show --catalog {}", flag.0), &other), flag);
    assert_eq!(shown(&format!("hub config show --set catalog={}", flag.0), &other), flag);
    let whole = site.path("flag.db").display().to_string();
    assert_eq!(shown("hub config show --catalog flag.db", &[]), (whole, "command line".into()));

    // The service, and commands that find it.
    let hub = site.serve(&["--config", &file, "--log-level", "debug"]);
    let disk = site.disk("a.raw", MIB, 0, 1);
    site.bare_ok(&format!("vm add pg --disk {}", disk.display()));
    let known = mariadb::shared_sql(&format!("SELECT vm_name FROM {database}.vm_contexts"));
    assert!(known.contains("pg"), "{known}");
    hub.running.signal("TERM");
    assert_eq!(hub.running.wait(LONG).code, 0);
    let log = std::fs::read_to_string(site.path("hub.log")).unwrap();
    assert!(!log.contains("s3cret"), "{log}");

    // Commands with an engine of their own work on the same one; who names another means that.
    let listed = |arguments: &[&str], state: &str| {
        let mut command = site.bare_command(["vm", "list", "--json"].iter().chain(arguments));
        command.env("SENDENSE_CONFIG", &file).env("SENDENSE_HOME", site.path(state));
        let run = without_secret(Run::finished(command));
        let listed: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        listed["vms"].as_array().unwrap().len()
    };
    assert_eq!(listed(&[], "state"), 1);
    assert!(!site.state().join("catalog.db").exists());
    assert_eq!(listed(&["--catalog", "other.db"], "state"), 0);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("state_dir = '{}'\n{text}", site.state().display())).unwrap();
    assert_eq!((listed(&[], "state"), listed(&[], "another")), (1, 0), "another state folder is another hub");
}
