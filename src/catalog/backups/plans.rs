//! The plans of the statements that lists are made of: each must walk an index in the order that is wanted.
//!
//! The tables hold no statistics (nothing runs `ANALYZE`), so the plans depend on the statements and the
//! indexes only and an empty catalog shows them.

use super::query::{self, BackupFilter, TagFilter, counting, listing};
use crate::statement::Statement;
use crate::{Catalog, jobs, repositories};
use model::{BackupType, ContextId, RepositoryId, Status, VmName};

/// Statements with the plan they must have: the index, and whether all rows are sorted.
#[tokio::test]
async fn lists_walk_the_index_of_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&folder.path().join("catalog.db")).await.unwrap();
    let all = BackupFilter::default();
    let vm = BackupFilter { vm_name: Some(VmName::new("pg").unwrap()), ..all.clone() };
    let context = BackupFilter { vm_context_id: Some(ContextId::new("ctx").unwrap()), ..all.clone() };
    let repository = BackupFilter { repository_id: Some(RepositoryId::new("r").unwrap()), ..all.clone() };
    let completed = Some(Status::Completed);
    let noon = Some("2025-10-06T12:00:00Z".parse().unwrap());
    let tag = TagFilter { key: "k".into(), value: Some("v".into()) };
    let cases = [
        ("idx_created_at", listing(&all)),
        (
            "idx_created_at (created_at>? AND created_at<?)",
            listing(&BackupFilter { since: noon, until: noon, ..all.clone() }),
        ),
        ("idx_created_at", listing(&BackupFilter { backup_type: Some(BackupType::Full), ..all.clone() })),
        ("idx_status (status=?)", listing(&BackupFilter { status: completed, ..all.clone() })),
        (
            "idx_status (status=? AND created_at<?)",
            listing(&BackupFilter { status: completed, until: noon, ..all.clone() }),
        ),
        ("idx_vm_name (vm_name=?)", listing(&vm)),
        ("idx_vm_name (vm_name=?)", listing(&BackupFilter { status: completed, ..vm.clone() })),
        (
            "idx_vm_name (vm_name=?)",
            listing(&BackupFilter { repository_id: repository.repository_id.clone(), ..vm.clone() }),
        ),
        (
            "idx_vm_context_id (vm_context_id=?)",
            listing(&BackupFilter { status: completed, ..context.clone() }),
        ),
        (
            "idx_repository_id (repository_id=?)",
            listing(&BackupFilter { status: completed, ..repository.clone() }),
        ),
        ("idx_vm_name (vm_name=?)", counting(&vm)),
        ("idx_tag_key (tag_key=?)", listing(&BackupFilter { tag: Some(tag), ..all.clone() })),
    ];
    for (index, statement) in cases {
        let plan = plan(&catalog, statement.unwrap()).await;
        assert!(plan.iter().any(|step| step.contains(index)), "{index}: {plan:?}");
        if !index.contains("tag") {
            assert!(!plan.iter().any(|step| step.contains("FOR ORDER BY")), "all rows are sorted: {plan:?}");
        }
    }
    for (index, sql) in [
        ("COVERING INDEX", "SELECT COUNT(*) AS n FROM backup_jobs b"),
        (
            "sqlite_autoindex_backup_jobs_1 (id>? AND id<?)",
            "SELECT * FROM backup_jobs WHERE id >= 'a' AND id < 'b' ORDER BY id DESC LIMIT 20",
        ),
        ("idx_usage (status=?)", repositories::USAGE),
        ("idx_status (status=?)", query::UNFINISHED),
        ("idx_jobs_status (status=?)", jobs::UNFINISHED),
    ] {
        let plan = plan(&catalog, Statement::new(sql)).await;
        assert!(plan.iter().any(|step| step.contains(index)), "{index}: {plan:?}");
    }
}

async fn plan(catalog: &Catalog, statement: Statement) -> Vec<String> {
    let explain = Statement::new(format!("EXPLAIN QUERY PLAN {}", statement.text()));
    let mut session = catalog.engine.read().begin().await.unwrap();
    session.all(explain).await.unwrap().iter().map(|row| row.text("detail").unwrap()).collect()
}
