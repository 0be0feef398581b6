//! VMs, repositories and logs: names, defaults and what may be removed.

use crate::samples::{context, pending, point, repository, second, vm, vm_name};
use catalog::{AuditEntry, AuditFilter, BackupFilter, Error, JobFilter, LogEntry, LogLevel};
use model::{RepositoryId, Space, Status, Vm};

#[tokio::test]
async fn a_vm_is_listed_changed_and_removed_unless_it_has_backups() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let made = |name: &str| {
        let at = if name == "a" { 2 } else { 1 };
        Vm { created_at: second(at), updated_at: second(at), ..vm(name) }
    };
    for name in ["c", "a", "b"] {
        catalog.insert_vm(&made(name)).await.unwrap();
    }
    let page = catalog.vms(2, 0, None).await.unwrap();
    assert_eq!((page.items, page.total), (vec![made("a"), made("c")], 3), "the newest come first");
    assert_eq!(catalog.vms(2, 2, None).await.unwrap().items, [made("b")]);
    let some = catalog.vms(1, 1, Some(&[vm_name("c"), vm_name("a"), vm_name("x")])).await.unwrap();
    assert_eq!((some.items, some.total), (vec![made("c")], 2));
    let none = catalog.vms(10, 0, Some(&[])).await.unwrap();
    assert_eq!((none.items, none.total), (Vec::new(), 0), "who may see no VM sees none");
    assert_eq!(catalog.vm_by_name(&vm_name("A")).await.unwrap(), None, "names are told apart by case");

    let mut same_name = vm("a");
    same_name.context_id = context("other");
    let error = catalog.insert_vm(&same_name).await.unwrap_err();
    assert!(matches!(&error, Error::AlreadyExists { what: "VM", id } if id == "a"), "{error}");
    assert!(matches!(catalog.insert_vm(&vm("a")).await.unwrap_err(), Error::AlreadyExists { .. }));

    let mut changed = made("a");
    changed.disks.pop();
    changed.disks[0].capacity_bytes = Some(1);
    catalog.update_vm(&changed).await.unwrap();
    assert_eq!(catalog.vm(&changed.context_id).await.unwrap(), Some(changed.clone()));
    changed.name = vm_name("b");
    assert!(matches!(catalog.update_vm(&changed).await.unwrap_err(), Error::AlreadyExists { .. }));
    assert!(matches!(catalog.update_vm(&vm("none")).await.unwrap_err(), Error::NotFound { .. }));

    catalog.insert_backup(&point("a", 0), None).await.unwrap();
    let of_none = BackupFilter { vm_names: Some(Vec::new()), ..BackupFilter::default() };
    assert_eq!(catalog.backups(&of_none).await.unwrap().total, 0);
    let of_none = JobFilter { vm_names: Some(Vec::new()), ..JobFilter::default() };
    assert_eq!(catalog.all_jobs(&of_none).await.unwrap().total, 0);
    let error = catalog.remove_vm(&context("a"), false).await.unwrap_err();
    assert!(matches!(&error, Error::InUse { what: "VM", id, backups: 1 } if id == "a"), "{error}");
    catalog.remove_vm(&context("a"), true).await.unwrap();
    assert!(catalog.backup(&point("a", 0).id).await.unwrap().is_some());
    catalog.remove_vm(&context("b"), false).await.unwrap();
    assert!(matches!(catalog.remove_vm(&context("b"), false).await.unwrap_err(), Error::NotFound { .. }));
    assert_eq!(catalog.vms(10, 0, None).await.unwrap().total, 1);
}

#[tokio::test]
async fn one_repository_is_the_default_and_names_are_unique() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let default = async || catalog.default_repository().await.unwrap().map(|r| r.id.to_string());
    assert_eq!(default().await.as_deref(), Some("default"));
    let mut second_one = repository("second");
    second_one.name = RepositoryId::new("nas").unwrap();
    second_one.default = true;
    catalog.insert_repository(&second_one).await.unwrap();
    assert_eq!(default().await.as_deref(), Some("second"));
    catalog.set_default_repository(&repository("default").id).await.unwrap();
    assert_eq!(default().await.as_deref(), Some("default"));
    catalog.update_repository(&second_one).await.unwrap();
    assert_eq!(default().await.as_deref(), Some("second"));
    let unknown = RepositoryId::new("none").unwrap();
    assert!(matches!(catalog.set_default_repository(&unknown).await.unwrap_err(), Error::NotFound { .. }));
    assert_eq!(default().await.as_deref(), Some("second"), "a failed change changes nothing");

    let mut third = repository("third");
    third.name = second_one.name.clone();
    assert!(matches!(catalog.insert_repository(&third).await.unwrap_err(), Error::AlreadyExists { .. }));
    third.name = second_one.id.clone();
    catalog.insert_repository(&third).await.unwrap();
    let found = catalog.repository(&second_one.id).await.unwrap().unwrap();
    assert_eq!(found.id, second_one.id, "an id goes before a name");
    let space = Space { total: 100, available: 50 };
    catalog.note_space(&third.id, space).await.unwrap();
    assert_eq!(catalog.repository(&third.id).await.unwrap(), Some(third));
    assert!(matches!(catalog.note_space(&unknown, space).await.unwrap_err(), Error::NotFound { .. }));
    let names: Vec<String> =
        catalog.repositories().await.unwrap().iter().map(|r| r.name.to_string()).collect();
    assert_eq!(names, ["default", "nas", "second"]);
}

#[tokio::test]
async fn a_repository_with_backups_is_removed_only_by_force_and_its_rows_with_it() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    catalog.insert_repository(&repository("second")).await.unwrap();
    let (kept, mut gone, mut failed) = (point("pg", 0), point("pg", 60), pending("pg", 120));
    gone.repository_id = repository("second").id;
    gone.tags.insert("a".into(), "b".into());
    failed.status = Status::Failed;
    failed.repository_id = repository("second").id;
    for backup in [&kept, &gone, &failed] {
        catalog.insert_backup(backup, None).await.unwrap();
    }
    let usage = catalog.usage().await.unwrap();
    let of = |id: &str| usage.get(&RepositoryId::new(id).unwrap()).copied().unwrap();
    assert_eq!((of("second").backup_count, of("second").size_bytes), (1, gone.size_bytes()));

    let id = repository("second").id;
    let error = catalog.remove_repository(&id, false).await.unwrap_err();
    assert!(matches!(error, Error::InUse { backups: 1, .. }), "{error}");
    catalog.remove_repository(&id, true).await.unwrap();
    assert_eq!(catalog.backups(&Default::default()).await.unwrap().items, std::slice::from_ref(&kept));
    assert_eq!(catalog.chains(&kept.vm_context_id).await.unwrap().len(), 1);
    assert!(catalog.check().await.unwrap().is_empty());
    assert!(matches!(catalog.remove_repository(&id, true).await.unwrap_err(), Error::NotFound { .. }));
}

#[tokio::test]
async fn logs_are_read_as_they_were_written() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let levels = [LogLevel::Info, LogLevel::Warning, LogLevel::Error];
    let entries: Vec<LogEntry> = levels
        .into_iter()
        .enumerate()
        .map(|(n, level)| LogEntry { at: second(n as i64), level, message: format!("step {n}") })
        .collect();
    for entry in &entries {
        catalog.log_job("verify-1", entry).await.unwrap();
        catalog.log_job("verify-2", entry).await.unwrap();
    }
    assert_eq!(catalog.job_log("verify-1", 100).await.unwrap(), entries);
    assert_eq!(catalog.job_log("verify-1", 2).await.unwrap(), entries[1..], "the latest of them");

    for n in 0..3 {
        let entry = AuditEntry {
            at: second(n),
            actor: if n == 0 { "root" } else { "admin" }.into(),
            detail: (n == 1).then(|| "two points".into()),
            origin: Some("192.0.2.7".into()),
            outcome: Some("ok".into()),
            request_id: (n == 1).then(|| "id-1".into()),
            ..AuditEntry::by_hub("backup_delete", format!("backup-{n}"))
        };
        if n == 1 { catalog.audit_light(&entry).await } else { catalog.audit(&entry).await }.unwrap();
    }
    let all = AuditFilter { limit: 2, ..AuditFilter::default() };
    let log = catalog.audit_log(&all).await.unwrap();
    assert_eq!(log.total, 3);
    assert_eq!(log.items.iter().map(|e| e.object.as_str()).collect::<Vec<_>>(), ["backup-2", "backup-1"]);
    let shown = &log.items[1];
    assert_eq!(
        [&shown.detail, &shown.origin, &shown.outcome, &shown.request_id].map(|text| text.as_deref()),
        [Some("two points"), Some("192.0.2.7"), Some("ok"), Some("id-1")]
    );
    for (filter, expected) in [
        (AuditFilter { offset: 2, ..all.clone() }, &["backup-0"][..]),
        (AuditFilter { actor: Some("root".into()), ..all.clone() }, &["backup-0"]),
        (AuditFilter { object: Some("backup-1".into()), ..all.clone() }, &["backup-1"]),
        (AuditFilter { action: Some("other".into()), ..all.clone() }, &[]),
        (AuditFilter { since: Some(second(1)), until: Some(second(1)), ..all.clone() }, &["backup-1"]),
    ] {
        let found = catalog.audit_log(&filter).await.unwrap();
        let objects: Vec<_> = found.items.iter().map(|entry| entry.object.as_str()).collect();
        assert_eq!(objects, expected, "{filter:?}");
    }
    let long = AuditEntry { request_id: Some("x".repeat(300)), ..AuditEntry::by_hub("a", "ü".repeat(300)) };
    catalog.audit(&long).await.unwrap();
    let kept = catalog.audit_log(&all).await.unwrap().items.remove(0);
    assert_eq!((kept.object.chars().count(), kept.request_id.unwrap().len()), (255, 64));
}
