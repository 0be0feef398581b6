//! A catalog that is damaged, locked, of another version, read-only, removed or in the wrong place: each says so.

use crate::children::Process;
use crate::samples::{Fixture, pending, point, repository};
use catalog::{Catalog, Error, Existing};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A connection of somebody else.
async fn stranger(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

async fn open_error(path: &Path) -> Error {
    Catalog::open(path).await.expect_err("it opened")
}

#[tokio::test]
async fn a_file_that_is_no_database_is_said_to_be_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    for content in [&b"x"[..], b"SQLite format 4\0", &[0; 4096], "not a database ".repeat(1000).as_bytes()] {
        fs::write(&path, content).unwrap();
        let error = open_error(&path).await;
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("catalog.db") && text.contains("is damaged"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn damage_within_is_found_wherever_it_is_and_never_a_panic() {
    let fixture = Fixture::new().await;
    let backups: Vec<_> = (0..200).map(|n| point("pg", n)).collect();
    fixture.catalog.import_backups(&backups, Existing::Keep).await.unwrap();
    fixture.catalog.close().await;
    let sound = fs::read(fixture.path()).unwrap();
    let pages = sound.len() / 4096;
    let mut found = 0;
    for page in 0..pages {
        let mut damaged = sound.clone();
        // Page 1 begins with the file's header, which is looked at before.
        let start = page * 4096 + if page == 0 { 100 } else { 0 };
        damaged[start..start + 64].fill(0xa5);
        fs::write(fixture.path(), &damaged).unwrap();
        match Catalog::open(&fixture.path()).await {
            Ok(catalog) => {
                let listed = catalog.backups(&Default::default()).await.map(drop);
                let checked = catalog.check().await;
                if matches!(checked, Err(Error::Corrupt { .. }))
                    || checked.is_ok_and(|found| !found.is_empty())
                {
                    found += 1;
                }
                if let Err(error) = listed {
                    assert!(matches!(error, Error::Corrupt { .. }), "page {page}: {error}");
                }
                catalog.close().await;
            }
            Err(error) => {
                assert!(matches!(error, Error::Corrupt { .. }), "page {page}: {error}");
                found += 1;
            }
        }
    }
    assert_eq!(found, pages, "the check overlooked damaged pages");
}

#[tokio::test]
async fn a_truncated_catalog_is_damaged() {
    let fixture = Fixture::new().await;
    let backups: Vec<_> = (0..200).map(|n| point("pg", n)).collect();
    fixture.catalog.import_backups(&backups, Existing::Keep).await.unwrap();
    fixture.catalog.close().await;
    let size = fs::metadata(fixture.path()).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(fixture.path()).unwrap();
    for length in [size - 1, size / 2, 4096 * 3, 4096, 1000, 100, 17] {
        file.set_len(length).unwrap();
        let found = async {
            let catalog = Catalog::open(&fixture.path()).await?;
            catalog.backups(&Default::default()).await?;
            let problems = catalog.check().await?;
            catalog.close().await;
            Ok::<_, Error>(problems)
        };
        match found.await {
            Ok(problems) => assert!(!problems.is_empty() || length == size - 1, "{length}"),
            Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{length}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_row_that_somebody_spoiled_is_damage_with_its_column() {
    let fixture = Fixture::new().await;
    fixture.catalog.insert_backup(&point("pg", 0), None).await.unwrap();
    let mut stranger = stranger(&fixture.path()).await;
    for (spoil, column) in [
        ("UPDATE backup_jobs SET status = 'done'", "status"),
        ("UPDATE backup_jobs SET status = 'completed', total_bytes = -1", "total_bytes"),
        ("UPDATE backup_jobs SET total_bytes = 1, created_at = 'yesterday'", "created_at"),
        ("UPDATE backup_jobs SET created_at = '2025-10-01T00:00:00.000000000Z', vm_name = '../x'", "vm_name"),
        ("UPDATE backup_jobs SET vm_name = 'pg', notes = x'ff00'", "notes"),
        ("UPDATE backup_jobs SET notes = NULL, verified_at = created_at", "verified_ok"),
    ] {
        stranger.execute(spoil).await.unwrap();
        let error = fixture.catalog.backups(&Default::default()).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(&format!("column {column}")), "{column}: {error}");
    }
}

#[tokio::test]
async fn while_another_holds_the_lock_reads_go_on_and_writes_say_locked() {
    let fixture = Fixture::new().await;
    let backup = point("pg", 0);
    fixture.catalog.insert_backup(&backup, None).await.unwrap();
    let busy = Duration::from_millis(300);
    let patient = Catalog::open_with(&fixture.path(), busy).await.unwrap();
    let mut stranger = stranger(&fixture.path()).await;
    stranger.execute("BEGIN EXCLUSIVE").await.unwrap();

    assert_eq!(patient.backups(&Default::default()).await.unwrap().total, 1);
    let opened_meanwhile = Catalog::open_with(&fixture.path(), busy).await.unwrap();
    assert_eq!(opened_meanwhile.backup(&backup.id).await.unwrap(), Some(backup.clone()));
    let start = Instant::now();
    let error = patient.insert_backup(&point("pg", 60), None).await.unwrap_err();
    assert!(start.elapsed() >= busy, "{:?}", start.elapsed());
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains("catalog.db"), "{error}");

    stranger.execute("ROLLBACK").await.unwrap();
    patient.insert_backup(&point("pg", 60), None).await.unwrap();
}

#[tokio::test]
async fn locked_from_its_first_moment_says_locked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let mut stranger = stranger(&path).await;
    // Not a WAL database yet, so nobody can even read.
    stranger.execute("BEGIN EXCLUSIVE").await.unwrap();
    stranger.execute("CREATE TABLE t (a BIGINT)").await.unwrap();
    let error = Catalog::open_with(&path, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_catalog_is_refused_by_name_and_left_alone() {
    let fixture = Fixture::new().await;
    fixture.catalog.close().await;
    let mut stranger = stranger(&fixture.path()).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (999, 'later', TRUE, x'00', 0)";
    stranger.execute(newer).await.unwrap();
    stranger.close().await.unwrap();
    let before = fs::read(fixture.path()).unwrap();
    let error = open_error(&fixture.path()).await;
    assert!(matches!(error, Error::Newer { found: 999, .. }), "{error}");
    assert!(error.to_string().contains("newer sendense-ctl"), "{error}");
    assert_eq!(fs::read(fixture.path()).unwrap(), before);
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_gets_no_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let mut other = stranger(&path).await;
    other.execute("CREATE TABLE bookmarks (url TEXT)").await.unwrap();
    let error = open_error(&path).await;
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let tables: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema").fetch_one(&mut other).await.unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn places_where_no_catalog_can_be_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no such folder/catalog.db");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [folder.path().to_path_buf(), missing, file.join("catalog.db"), "/dev/null".into()] {
        let error = open_error(&path).await;
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_catalog_that_is_removed_or_replaced_while_in_use_is_noticed_at_once() {
    let fixture = Fixture::new().await;
    let catalog = &fixture.catalog;
    catalog.insert_backup(&point("pg", 0), None).await.unwrap();
    fs::remove_file(fixture.path()).unwrap();
    for error in [
        catalog.insert_backup(&point("pg", 60), None).await.unwrap_err(),
        catalog.backups(&Default::default()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Replaced { .. }), "{error}");
    }
    // A new one in its place is another one, although the old one's WAL still lies there.
    assert!(fixture.folder().join("catalog.db-wal").exists());
    let new = Catalog::open(&fixture.path()).await.unwrap();
    assert!(new.created());
    assert_eq!(new.backups(&Default::default()).await.unwrap().total, 0);
    new.insert_repository(&repository("default")).await.unwrap();
    new.insert_backup(&point("pg", 60), None).await.unwrap();
    let error = catalog.backup(&point("pg", 60).id).await.unwrap_err();
    assert!(matches!(error, Error::Replaced { .. }), "{error}");
    catalog.close().await;
    assert!(new.check().await.unwrap().is_empty());
    assert_eq!(new.backups(&Default::default()).await.unwrap().items, [point("pg", 60)]);
}

/// What somebody else hears who may read the state folder but not change it.
fn listed_by_nobody(fixture: &Fixture) -> Option<String> {
    for (path, mode) in [(fixture.folder().to_path_buf(), 0o755), (fixture.path(), 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for beside in ["catalog.db-wal", "catalog.db-shm"] {
        let beside = fixture.folder().join(beside);
        if beside.exists() {
            fs::set_permissions(beside, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
    let setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if !setpriv || !rustix::process::geteuid().is_root() {
        assert_ne!(std::env::var("SENDENSE_REQUIRE_ALL").as_deref(), Ok("1"), "needs root and setpriv");
        eprintln!("SKIPPED: becoming another user needs root and setpriv");
        return None;
    }
    Process::start_as_nobody("list", fixture.location()).hear()
}

#[tokio::test]
async fn a_state_folder_that_can_not_be_written_is_still_listed() {
    let fixture = Fixture::new().await;
    fixture.catalog.insert_backup(&point("pg", 0), None).await.unwrap();

    // While another process has it open, its WAL holds what was written last.
    assert!(fs::metadata(fixture.folder().join("catalog.db-wal")).unwrap().len() > 0);
    if let Some(said) = listed_by_nobody(&fixture) {
        assert!(said.starts_with("1 listed, writable: false"), "{said}");
        assert!(said.contains("can't be written: Permission denied"), "{said}");
    }
    fixture.catalog.insert_backup(&pending("pg", 60), None).await.unwrap();
    if let Some(said) = listed_by_nobody(&fixture) {
        assert!(said.starts_with("2 listed"), "{said}");
    }
    fixture.catalog.close().await;
    assert!(!fixture.folder().join("catalog.db-wal").exists());
    if let Some(said) = listed_by_nobody(&fixture) {
        assert!(said.starts_with("2 listed, writable: false"), "{said}");
    }
}

#[tokio::test]
async fn what_a_killed_process_left_in_the_wal_is_listed_from_a_folder_that_can_not_be_written() {
    let fixture = Fixture::new().await;
    fixture.catalog.close().await;
    let mut writer = Process::start("insert", fixture.location());
    let ids: Vec<String> = (0..3).map(|_| writer.hear().unwrap()).collect();
    writer.kill();
    if let Some(said) = listed_by_nobody(&fixture) {
        let count: usize = said.split(' ').next().unwrap().parse().unwrap();
        assert!(count >= ids.len(), "{said}");
    }
}

#[tokio::test]
async fn one_that_may_not_even_be_read_says_so() {
    let fixture = Fixture::new().await;
    fixture.catalog.close().await;
    if listed_by_nobody(&fixture).is_none() {
        return;
    }
    fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let said = Process::start_as_nobody("list", fixture.location()).hear().unwrap();
    assert!(said.starts_with("error: open the catalog") && said.contains("Permission denied"), "{said}");
}

#[tokio::test]
async fn a_wal_with_damage_at_its_end_gives_what_is_before_it() {
    let fixture = Fixture::new().await;
    fixture.catalog.close().await;
    let mut writer = Process::start("insert", fixture.location());
    let ids: Vec<String> = (0..20).map(|_| writer.hear().unwrap()).collect();
    writer.kill();
    let wal = fixture.folder().join("catalog.db-wal");
    let file = fs::OpenOptions::new().write(true).open(&wal).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_at(&[0xa5; 16], length - 2_000).unwrap();
    let catalog = Catalog::open(&fixture.path()).await.unwrap();
    assert!(catalog.check().await.unwrap().is_empty());
    let total = catalog.backups(&Default::default()).await.unwrap().total;
    assert!(total + 1 >= ids.len() as u64, "{total}");
}

/// A small tmpfs, unmounted when dropped; `None` where this machine does not allow it.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Tmpfs> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(folder.path())
            .output();
        if mount.is_ok_and(|done| done.status.success()) {
            return Some(Tmpfs(folder));
        }
        assert_ne!(std::env::var("SENDENSE_REQUIRE_ALL").as_deref(), Ok("1"), "mounting a tmpfs needs root");
        eprintln!("SKIPPED: mounting a tmpfs needs root");
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_file_system_is_told_and_what_was_there_stays_and_it_goes_on_once_there_is_room() {
    let Some(tmpfs) = Tmpfs::new("1m") else { return };
    let path = tmpfs.0.path().join("catalog.db");
    let catalog = Catalog::open(&path).await.unwrap();
    catalog.insert_repository(&repository("default")).await.unwrap();
    let ballast = tmpfs.0.path().join("ballast");
    let _ = fs::write(&ballast, vec![1; 350 << 10]);
    let mut stored = Vec::new();
    let error = loop {
        let mut backup = point("pg", stored.len() as i64);
        backup.notes = Some("x".repeat(2_000));
        match catalog.insert_backup(&backup, None).await {
            Ok(()) => stored.push(backup),
            Err(error) => break error,
        }
        assert!(stored.len() < 1_000);
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let all = catalog::BackupFilter { limit: 1_000, ..Default::default() };
    assert_eq!(catalog.backups(&all).await.unwrap().total, stored.len() as u64);
    assert!(catalog.check().await.unwrap().is_empty());

    fs::remove_file(&ballast).unwrap();
    catalog.insert_backup(&point("pg", 9_999), None).await.unwrap();
    catalog.close().await;
    let again = Catalog::open(&path).await.unwrap();
    assert_eq!(again.backups(&all).await.unwrap().total, stored.len() as u64 + 1);
    assert!(again.check().await.unwrap().is_empty());
    again.close().await;
}

#[tokio::test]
async fn a_catalog_that_can_not_even_be_begun_for_lack_of_room_says_so() {
    let Some(tmpfs) = Tmpfs::new("64k") else { return };
    let ballast = fs::File::create(tmpfs.0.path().join("ballast")).unwrap();
    for left in [0u64, 4 << 10, 8 << 10, 16 << 10, 40 << 10] {
        let _ = fs::remove_file(tmpfs.0.path().join("catalog.db"));
        ballast.set_len(0).unwrap();
        ballast.write_at(&vec![1; (64 << 10) - left as usize], 0).unwrap();
        let error = open_error(&tmpfs.0.path().join("catalog.db")).await;
        assert!(matches!(error, Error::NoSpace { .. }), "{left} left: {error}");
    }
}
