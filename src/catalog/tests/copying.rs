//! Copying a catalog into another one, from either database to either.

use crate::samples::{
    Fixture, context, pending, point, point_on, repository, request, second, token, user, vm,
};
use catalog::{
    Acquired, AuditEntry, Catalog, Error, JobRecord, LeaseMode, Location, LogEntry, LogLevel, Owner,
    Resource, TokenKind,
};
use model::{JobId, JobType, Phase, Role, Status};
use tempfile::TempDir;

/// Something in every table that is copied, but for leases.
async fn fill(catalog: &Catalog) {
    catalog.insert_repository(&repository("second")).await.unwrap();
    catalog.insert_vm(&vm("pg")).await.unwrap();
    let mut backups: Vec<model::Backup> = Vec::new();
    for n in 0..2_500 {
        let parent = if n % 10 == 0 { None } else { backups.last() };
        let mut backup = point_on(["pg", "büro 🐘"][usize::from(n % 20 >= 10)], n, parent);
        if n % 7 == 0 {
            backup.tags.insert("A".into(), String::new());
            backup.tags.insert("a".into(), "x'; --".into());
            backup.notes = Some("line\nline\t\\".into());
        }
        backups.push(backup);
    }
    catalog.import_backups(&backups, catalog::Existing::Keep).await.unwrap();
    catalog.insert_backup(&point("late", 9), Some("{\"vm_name\":\"late\"}")).await.unwrap();
    let job = JobRecord {
        id: JobId::new("verify-1").unwrap(),
        job_type: JobType::Verify,
        status: Status::Completed,
        phase: Phase::Completed,
        backup_id: None,
        vm_name: None,
        repository_id: None,
        bytes_transferred: 1,
        bytes_processed: 2,
        total_bytes: i64::MAX as u64,
        transfer_speed_bps: 0,
        eta_seconds: None,
        last_telemetry_at: None,
        error_message: None,
        error_code: None,
        request: Some(serde_json::json!({"a": [1, null]})),
        result: None,
        cancel_requested: false,
        created_at: second(0),
        started_at: None,
        completed_at: Some(second(1)),
    };
    catalog.insert_job(&job).await.unwrap();
    let line = LogEntry { at: second(3), level: LogLevel::Warning, message: "slow".into() };
    catalog.log_job("verify-1", &line).await.unwrap();
    let entry = AuditEntry { at: second(2), ..AuditEntry::by_hub("test", "x") };
    catalog.audit(&entry).await.unwrap();
    catalog.insert_user(&user("admin", Role::Admin), true).await.unwrap();
    catalog.insert_token(&token("one", TokenKind::Api, Some("admin"))).await.unwrap();
}

/// A new catalog without a row, in a file.
async fn empty_file() -> (TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&folder.path().join("catalog.db")).await.unwrap();
    (folder, catalog)
}

async fn empty_on_server() -> Option<Catalog> {
    let location: Location = testkit::mariadb::database()?.parse().unwrap();
    Some(Catalog::open_at(&location).await.unwrap())
}

#[tokio::test]
async fn every_row_of_every_table_arrives_on_a_server_and_comes_back_the_same() {
    let Some(server) = empty_on_server().await else { return };
    let source = Fixture::new().await;
    fill(&source.catalog).await;
    let mut told = Vec::new();
    let contents = source.catalog.copy_into(&server, |table| told.push(table)).await.unwrap();
    let rows = |table: &str| contents.iter().find(|content| content.table == table).unwrap().rows;
    assert_eq!(told, contents.iter().map(|content| content.table).collect::<Vec<_>>());
    assert_eq!((rows("backup_jobs"), rows("backup_disks"), rows("jobs")), (2_501, 2_501, 1));
    for table in [
        "vm_contexts",
        "vm_disks",
        "backup_repositories",
        "backup_tags",
        "backup_chains",
        "job_log",
        "audit_log",
        "users",
        "api_tokens",
    ] {
        assert!(rows(table) > 0, "{table}");
    }
    assert_eq!(server.contents().await.unwrap(), contents);

    let id = point("late", 9).id;
    assert_eq!(server.backup(&id).await.unwrap(), source.catalog.backup(&id).await.unwrap());
    let request = server.backup_request(&id).await.unwrap();
    assert_eq!(request.as_deref(), Some("{\"vm_name\":\"late\"}"));
    let chains = server.chains(&context("pg")).await.unwrap();
    assert_eq!(chains, source.catalog.chains(&context("pg")).await.unwrap());
    assert!(server.check().await.unwrap().is_empty());

    let (_folder, back) = empty_file().await;
    assert_eq!(server.copy_into(&back, |_| {}).await.unwrap(), contents);
    assert!(back.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_target_that_holds_something_and_a_source_that_is_in_use_are_refused_and_left_alone() {
    let source = Fixture::new().await;
    let target = Fixture::new().await;
    let error = source.catalog.copy_into(&target.catalog, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Copy { .. }), "{error}");
    assert!(error.to_string().contains("backup_repositories has rows"), "{error}");

    let (_folder, empty) = empty_file().await;
    let running = pending("pg", 0);
    source.catalog.insert_backup(&running, None).await.unwrap();
    for error in [
        source.catalog.copy_into(&empty, |_| {}).await.unwrap_err(),
        source.catalog.contents().await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("1 backup(s) run"), "{error}");
    }
    source.catalog.delete_backups(&[running.id]).await.unwrap();
    let me = Owner::current().unwrap();
    let wanted = request(Resource::Vm(context("pg")), LeaseMode::Exclusive, &me);
    let Acquired::Yes(lease) = source.catalog.acquire(&wanted).await.unwrap() else { panic!("held") };
    let error = source.catalog.copy_into(&empty, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("1 lease(s) are held"), "{error}");
    source.catalog.release(&lease).await.unwrap();
    assert!(empty.is_empty().await.unwrap());

    source.catalog.copy_into(&empty, |_| {}).await.unwrap();
    assert!(!empty.is_empty().await.unwrap());
}
