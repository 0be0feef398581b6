//! The plans of the statements that lists are made of, on both databases: none reads a table from its beginning to its
//! end, and none sorts but what the page or the VM bounds.
//!
//! The statements are the real ones, those that the calls themselves make. They say by which index they are read, so
//! that the plan depends on them alone and not on what is in the tables: a few rows show what a million get.

use super::listing::{self, Kind, Span};
use super::query::{self, BackupFilter, TagFilter};
use crate::all_jobs::{self, JobFilter};
use crate::engine::Engine;
use crate::fields::inserts;
use crate::statement::Statement;
use crate::{AuditFilter, Catalog, audit, jobs, latest, repositories};
use model::{BackupId, BackupType, ContextId, JobType, RepositoryId, Status, VmName};

/// What a plan may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Nothing is sorted.
    AsRead,
    /// What was found is sorted: of one VM, of one page.
    Sorted,
}

struct Case {
    what: &'static str,
    index: &'static str,
    order: Order,
    statement: Statement,
}

/// A catalog in a file, and one on a server where there is one.
async fn catalogs() -> Vec<(Catalog, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let file = Catalog::open(&folder.path().join("catalog.db")).await.unwrap();
    let mut all = vec![(file, Some(folder))];
    if let Some(address) = testkit::mariadb::database() {
        all.push((Catalog::open_at(&address.parse().unwrap()).await.unwrap(), None));
    }
    for (catalog, _) in &all {
        some_rows(catalog).await;
    }
    all
}

/// MariaDB plans nothing where it sees that a table is empty.
async fn some_rows(catalog: &Catalog) {
    let mut session = catalog.engine.write().begin().await.unwrap();
    for n in 0..60i64 {
        let day = format!("2025-10-{:02}T12:00:00.000000000Z", n % 28 + 1);
        let (id, kind) = (format!("b{n}"), ["full", "incremental"][n as usize % 2]);
        let job = vec![
            ("id", id.as_str().into()),
            ("vm_context_id", format!("c{}", n % 7).into()),
            ("vm_name", format!("v{}", n % 7).into()),
            ("requested_type", "auto".into()),
            ("backup_type", kind.into()),
            ("status", ["completed", "failed", "running"][n as usize % 3].into()),
            ("repository_id", format!("r{}", n % 2).into()),
            ("repository_type", "local".into()),
            ("repository_path", "/r".into()),
            ("compression", "none".into()),
            ("compression_enabled", 0.into()),
            ("on_cbt_loss", "full".into()),
            ("timeout_seconds", 1.into()),
            ("created_at", day.as_str().into()),
        ];
        let tag = vec![
            ("backup_job_id", id.as_str().into()),
            ("tag_key", "k".into()),
            ("tag_value", "v".into()),
            ("value_start", "v".into()),
            ("created_at", day.as_str().into()),
        ];
        let other = vec![
            ("id", format!("j{n}").into()),
            ("job_type", ["verify", "restore"][n as usize % 2].into()),
            ("status", "completed".into()),
            ("vm_name", format!("v{}", n % 7).into()),
            ("created_at", day.as_str().into()),
        ];
        for (table, row) in [("backup_jobs", job), ("backup_tags", tag), ("jobs", other)] {
            for statement in inserts(table, vec![row]) {
                session.execute(statement).await.unwrap();
            }
        }
    }
    for statement in crate::schema::counting() {
        session.execute(Statement::new(statement)).await.unwrap();
    }
    let mut turn = catalog.engine.write();
    turn.settle(session, Ok(())).await.unwrap().unwrap();
}

fn case(what: &'static str, index: &'static str, order: Order, statement: Statement) -> Case {
    Case { what, index, order, statement }
}

/// The statement by which that page is read.
async fn page(catalog: &Catalog, filter: &BackupFilter) -> Statement {
    let mut session = catalog.engine.read().begin().await.unwrap();
    listing::list(&mut session, filter).await.unwrap().statement.expect("something is on the page")
}

async fn lists(catalog: &Catalog) -> Vec<Case> {
    let all = BackupFilter::default();
    let vm = BackupFilter { vm_name: Some(VmName::new("v1").unwrap()), ..all.clone() };
    let names = Some(vec![VmName::new("v1").unwrap(), VmName::new("v2").unwrap()]);
    let context = BackupFilter { vm_context_id: Some(ContextId::new("c1").unwrap()), ..all.clone() };
    let repository = BackupFilter { repository_id: Some(RepositoryId::new("r1").unwrap()), ..all.clone() };
    let status = BackupFilter { status: Some(Status::Completed), ..all.clone() };
    let noon = Some("2025-10-06T12:00:00Z".parse().unwrap());
    let later = Some("2025-10-20T12:00:00Z".parse().unwrap());
    let key = TagFilter { key: "k".into(), value: None };
    let tag = TagFilter { key: "k".into(), value: Some("v".into()) };
    let tagged = BackupFilter { tag: Some(tag.clone()), ..all.clone() };
    let pages = [
        ("all", "idx_created_at", Order::AsRead, all.clone()),
        (
            "since, until",
            "idx_created_at",
            Order::AsRead,
            BackupFilter { since: noon, until: later, ..all.clone() },
        ),
        ("status", "idx_listing", Order::Sorted, status.clone()),
        ("status, until", "idx_listing", Order::Sorted, BackupFilter { until: later, ..status.clone() }),
        ("repository", "idx_listing", Order::Sorted, repository.clone()),
        (
            "type",
            "idx_listing",
            Order::Sorted,
            BackupFilter { backup_type: Some(BackupType::Full), ..all.clone() },
        ),
        (
            "status, repository",
            "idx_listing",
            Order::Sorted,
            BackupFilter { status: status.status, ..repository.clone() },
        ),
        ("VM", "idx_vm_name", Order::AsRead, vm.clone()),
        ("VM, status", "idx_vm_name", Order::AsRead, BackupFilter { status: status.status, ..vm.clone() }),
        ("VM, tag", "idx_vm_name", Order::AsRead, BackupFilter { tag: Some(tag.clone()), ..vm.clone() }),
        ("VMs", "idx_vm_name", Order::Sorted, BackupFilter { vm_names: names.clone(), ..all.clone() }),
        (
            "context, status",
            "idx_vm_context_id",
            Order::AsRead,
            BackupFilter { status: status.status, ..context.clone() },
        ),
        ("tag", "idx_tag_value_time", Order::AsRead, tagged.clone()),
        ("tag, since", "idx_tag_value_time", Order::AsRead, BackupFilter { since: noon, ..tagged.clone() }),
        ("key", "idx_tag_key_time", Order::AsRead, BackupFilter { tag: Some(key.clone()), ..all.clone() }),
        (
            "tag, status",
            "idx_listing",
            Order::Sorted,
            BackupFilter { status: status.status, ..tagged.clone() },
        ),
    ];
    let mut cases = Vec::new();
    for (what, index, order, filter) in pages {
        cases.push(case(what, index, order, page(catalog, &filter).await));
    }
    let span = Span { since: Some("2025-10-06T12:00:00.000000000Z".into()), until: None };
    let primary = match *catalog.engine {
        Engine::Sqlite(_) => "sqlite_autoindex_list_counts_1",
        Engine::MariaDb(_) => "PRIMARY",
    };
    let tag_primary = primary.replace("list", "tag");
    let tag_primary: &'static str = Box::leak(tag_primary.into_boxed_str());
    let jobs_of = |job_type: Option<JobType>| JobFilter { job_type, ..JobFilter::default() };
    let of_point = JobFilter { backup_id: Some(BackupId::new("b1").unwrap()), ..JobFilter::default() };
    let of_vms = JobFilter { vm_names: names, ..JobFilter::default() };
    let kinds =
        [("verify".to_owned(), "completed".to_owned()), ("restore".to_owned(), "completed".to_owned())];
    let newest = |filter: &JobFilter| all_jobs::newest_others(filter, &kinds, &span, 100).unwrap();
    let audit = |actor: Option<&str>, what| {
        let filter = AuditFilter { actor: actor.map(str::to_owned), ..AuditFilter::default() };
        audit::listing(&filter, what).unwrap()
    };
    let mut late = audit(None, "id");
    late.push(" ORDER BY logged_at DESC, id DESC LIMIT 10 OFFSET 1000");
    cases.extend([
        case("audit log", "idx_audit_time", Order::AsRead, late),
        case(
            "count of an actor's entries",
            "idx_audit_actor",
            Order::AsRead,
            audit(Some("a"), "COUNT(*) AS n"),
        ),
        case("count of a VM", "idx_vm_name", Order::AsRead, listing::counting(&vm).unwrap()),
        case("count of a tag", "idx_tag_value_time", Order::AsRead, listing::count_by_tag(&all, &tag, &span)),
        case(
            "count of a tag and a status",
            "idx_tag_value_time",
            Order::AsRead,
            listing::count_by_tag(&status, &tag, &span),
        ),
        case(
            "count of a day",
            "idx_created_at",
            Order::AsRead,
            listing::count_day(&status, "2025-10-06", &span),
        ),
        case("kinds", primary, Order::AsRead, listing::kinds_query(&all)),
        case("days", primary, Order::AsRead, listing::days_query(&status, &span)),
        case("tag numbers", tag_primary, Order::AsRead, listing::tag_numbers(&tag)),
        case("usage", primary, Order::Sorted, Statement::new(repositories::USAGE)),
        case("points of a VM", "idx_vm_context_id", Order::AsRead, {
            query::points_query(&ContextId::new("c1").unwrap(), None, Some("2025"))
        }),
        case("unfinished backups", "idx_status", Order::Sorted, Statement::new(query::UNFINISHED)),
        case("unfinished jobs", "idx_jobs_status", Order::Sorted, Statement::new(jobs::UNFINISHED)),
        case("kinds of jobs", primary, Order::Sorted, all_jobs::kinds_query(&jobs_of(None))),
        case("days of jobs", primary, Order::AsRead, all_jobs::days_query(&jobs_of(None))),
        case("jobs", "idx_jobs_created_at", Order::Sorted, newest(&jobs_of(None))),
        case("jobs of a type", "idx_jobs_listing", Order::Sorted, newest(&jobs_of(Some(JobType::Verify)))),
        case("jobs of a point", "idx_jobs_backup_id", Order::AsRead, all_jobs::some_others(&of_point, "id")),
        case("jobs of VMs", "idx_jobs_vm_name", Order::AsRead, all_jobs::some_others(&of_vms, "id")),
    ]);
    cases
}

/// A line a step: the table, how it is read, and what is done with that.
async fn plan(catalog: &Catalog, statement: Statement) -> Vec<String> {
    let sqlite = matches!(*catalog.engine, Engine::Sqlite(_));
    let mut session = catalog.engine.read().begin().await.unwrap();
    let explain = if sqlite { "EXPLAIN QUERY PLAN " } else { "EXPLAIN " };
    let rows = session.all(statement.behind(explain)).await.unwrap();
    rows.iter()
        .map(|row| match sqlite {
            true => row.text("detail").unwrap(),
            false => {
                let column = |name| row.maybe_text(name).unwrap().unwrap_or_default();
                format!(
                    "table={} type={} key={} extra={}",
                    column("table"),
                    column("type"),
                    column("key"),
                    column("Extra")
                )
            }
        })
        .collect()
}

/// Reads a table as a whole. What a statement has found itself (a derived table, ranges side by side) is bounded by it.
fn scans(step: &str) -> bool {
    let in_time = ["idx_created_at", "idx_jobs_created_at", "idx_audit_time"];
    let in_time = in_time.iter().any(|index| step.contains(index));
    if step.starts_with("table=") {
        let derived = step.contains("table=<");
        return step.contains("type=ALL") && !derived || step.contains("type=index ") && !in_time;
    }
    // In the order of time and cut off by the page's limit: the newest come first.
    let names_a_part = |part: &str| step == format!("SCAN {part}");
    let part = (0..64).any(|n| names_a_part(&format!("r{n}"))) || names_a_part("ranges");
    step.starts_with("SCAN ") && !part && !in_time
}

fn sorts(step: &str) -> bool {
    step.contains("FOR ORDER BY") && !step.contains("LAST TERM") || step.contains("filesort")
}

#[tokio::test]
async fn no_list_reads_a_whole_table_or_sorts_more_than_its_page() {
    for (catalog, _folder) in catalogs().await {
        for Case { what, index, order, statement } in lists(&catalog).await {
            let text = statement.text().to_owned();
            let plan = plan(&catalog, statement).await;
            let told = format!("{what} on {}: {text}\n{plan:#?}", catalog.place());
            assert!(plan.iter().any(|step| step.contains(index)), "{index} is not used: {told}");
            assert!(!plan.iter().any(|step| scans(step)), "a whole table is read: {told}");
            if order == Order::AsRead {
                assert!(!plan.iter().any(|step| sorts(step)), "all rows are sorted: {told}");
            }
        }
        let ids: Vec<String> = (0..super::row::IDS_PER_QUERY).map(|n| format!("b{n}")).collect();
        let (disks, tags) =
            (super::row::of_ids("backup_disks", &ids), super::row::of_ids("backup_tags", &ids));
        for statement in [query::prefix_query("a", 20), query::rows_query(&ids), disks, tags] {
            let plan = plan(&catalog, statement).await;
            let by_key = |step: &String| step.contains("sqlite_autoindex_") || step.contains("key=PRIMARY");
            assert!(plan.iter().all(|step| by_key(step) && !scans(step)), "{plan:#?}");
        }
    }
}

#[tokio::test]
async fn the_last_backup_of_each_vm_is_one_step_into_an_index() {
    for (catalog, _folder) in catalogs().await {
        let plan = plan(&catalog, Statement::new(latest::LATEST)).await;
        let step = |part: &str| plan.iter().any(|step| step.contains(part) && !sorts(step));
        let into = step("SEARCH j USING INDEX idx_vm_context_id (vm_context_id=?)")
            || step("table=j type=ref key=idx_vm_context_id");
        assert!(into && step("idx_vm_contexts_name"), "{plan:#?}");
    }
}

/// So that the test above can fail: without its index a list is a scan and a sort.
#[tokio::test]
async fn a_list_without_an_index_would_be_found_out() {
    for (catalog, _folder) in catalogs().await {
        let bad = Statement::new(
            "SELECT id FROM backup_jobs WHERE notes IS NULL ORDER BY size_bytes DESC LIMIT 10",
        );
        let plan = plan(&catalog, bad).await;
        assert!(plan.iter().any(|step| scans(step)) && plan.iter().any(|step| sorts(step)), "{plan:?}");
    }
    // More kinds than ranges are read side by side for: by the index of what leaves the least.
    let kind = |n: usize| Kind {
        status: "completed".into(),
        backup_type: "full".into(),
        repository_id: format!("r{n}"),
        entries: 1,
    };
    let kinds: Vec<Kind> = (0..100).map(kind).collect();
    let filter = BackupFilter { status: Some(Status::Completed), ..BackupFilter::default() };
    let statement = listing::by_kinds_of(&filter, &kinds).unwrap();
    assert!(statement.text().contains("idx_status"), "{}", statement.text());
}
