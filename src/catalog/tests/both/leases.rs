//! Leases: who gets one, who is told to wait, and what happens to those of the dead.

use crate::children::Process;
use crate::samples::{context, pending, point, point_on, request};
use catalog::{
    Acquired, AuditFilter, Catalog, Error, Lease, LeaseHolder, LeaseMode, Marked, Owner, OwnerState, Resource,
};
use jiff::Timestamp;
use model::{Backup, RepositoryId};

fn me() -> Owner {
    Owner::current().unwrap()
}

async fn acquire(catalog: &Catalog, resource: Resource, mode: LeaseMode) -> Acquired {
    catalog.acquire(&request(resource, mode, &me())).await.unwrap()
}

async fn take(catalog: &Catalog, resource: Resource, mode: LeaseMode) -> Lease {
    match acquire(catalog, resource, mode).await {
        Acquired::Yes(lease) => lease,
        Acquired::Held(holders) => panic!("held by {holders:?}"),
    }
}

async fn refused(catalog: &Catalog, resource: Resource, mode: LeaseMode) -> Vec<LeaseHolder> {
    match acquire(catalog, resource, mode).await {
        Acquired::Yes(lease) => panic!("{lease:?} was given"),
        Acquired::Held(holders) => holders,
    }
}

fn vm() -> Resource {
    Resource::Vm(context("pg"))
}

fn reading(point: &Backup) -> Resource {
    Resource::Point(point.id.clone())
}

#[tokio::test]
async fn one_exclusive_or_many_shared_never_both() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let first = take(catalog, vm(), LeaseMode::Exclusive).await;
    let holders = refused(catalog, vm(), LeaseMode::Exclusive).await;
    assert_eq!(holders.len(), 1);
    assert_eq!((&holders[0].lease, &holders[0].owner), (&first, &me()));
    assert_eq!(holders[0].state(Timestamp::now()), OwnerState::Alive);
    assert!(holders[0].to_string().contains(&format!("test (process {}", std::process::id())));
    refused(catalog, vm(), LeaseMode::Shared).await;
    let other = Resource::Vm(context("other"));
    take(catalog, other, LeaseMode::Exclusive).await;

    assert!(catalog.release(&first).await.unwrap());
    assert!(!catalog.release(&first).await.unwrap());
    let shared = [take(catalog, vm(), LeaseMode::Shared).await, take(catalog, vm(), LeaseMode::Shared).await];
    assert_eq!(refused(catalog, vm(), LeaseMode::Exclusive).await.len(), 2);
    assert_eq!(catalog.leases_on(&vm()).await.unwrap().len(), 2);
    assert_eq!(catalog.leases().await.unwrap().len(), 3);
    for lease in &shared {
        catalog.release(lease).await.unwrap();
    }
    take(catalog, vm(), LeaseMode::Exclusive).await;
}

#[test]
fn of_eight_processes_that_ask_at_once_exactly_one_gets_it_again_and_again() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(fixture) = runtime.block_on(super::fixture()) else { return };
    let mut children: Vec<Process> = (0..8).map(|_| Process::start("race", fixture.location())).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    for _ in 0..20 {
        children.iter_mut().for_each(Process::go);
        let said: Vec<String> = children.iter_mut().map(|child| child.hear().unwrap()).collect();
        let winners: Vec<usize> = (0..8).filter(|child| said[*child] == "acquired").collect();
        assert_eq!(winners.len(), 1, "{said:?}");
        let winner = &mut children[winners[0]];
        let held = format!("held by {}", winner.id());
        assert_eq!(said.iter().filter(|line| **line == held).count(), 7, "{said:?}");
        winner.go();
        winner.expect("released");
    }
}

#[tokio::test]
async fn a_point_is_read_or_deleted_never_both() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let full = point("pg", 0);
    let next = point_on("pg", 60, Some(&full));
    catalog.import_backups(&[full.clone(), next.clone()], catalog::Existing::Keep).await.unwrap();
    let ids = [full.id.clone(), next.id.clone()];
    let writer = take(catalog, vm(), LeaseMode::Exclusive).await;

    let reader = take(catalog, reading(&next), LeaseMode::Shared).await;
    let Marked::InUse(readers) = catalog.mark_deleting(&writer, &ids).await.unwrap() else {
        panic!("marked while it was read");
    };
    assert_eq!(readers.iter().map(|r| &r.lease).collect::<Vec<_>>(), [&reader]);
    assert!(!catalog.backup_state(&full.id).await.unwrap().unwrap().deleting, "all or none");
    catalog.release(&reader).await.unwrap();

    assert_eq!(catalog.mark_deleting(&writer, &ids).await.unwrap(), Marked::Yes);
    assert_eq!(catalog.mark_deleting(&writer, &ids).await.unwrap(), Marked::Yes, "again is fine");
    assert!(catalog.backup_state(&full.id).await.unwrap().unwrap().deleting);
    let holders = refused(catalog, reading(&full), LeaseMode::Shared).await;
    assert_eq!(holders[0].lease, writer);
    let other = take(catalog, Resource::Vm(context("x")), LeaseMode::Exclusive).await;
    let Marked::InUse(deleters) = catalog.mark_deleting(&other, &ids).await.unwrap() else {
        panic!("marked twice");
    };
    assert_eq!(deleters[0].lease, writer);

    catalog.unmark_deleting(&writer, &ids[..1]).await.unwrap();
    take(catalog, reading(&full), LeaseMode::Shared).await;
    refused(catalog, reading(&next), LeaseMode::Shared).await;
    catalog.release(&writer).await.unwrap();
    take(catalog, reading(&next), LeaseMode::Shared).await;
}

#[tokio::test]
async fn a_point_that_is_not_there_or_not_complete_can_not_be_read_or_marked() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let unfinished = pending("pg", 0);
    catalog.insert_backup(&unfinished, None).await.unwrap();
    for id in [unfinished.id.clone(), point("pg", 60).id] {
        let owner = me();
        let wanted = request(Resource::Point(id), LeaseMode::Shared, &owner);
        let error = catalog.acquire(&wanted).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
    let writer = take(catalog, vm(), LeaseMode::Exclusive).await;
    let missing = [point("pg", 60).id];
    let error = catalog.mark_deleting(&writer, &missing).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    catalog.release(&writer).await.unwrap();
    let error = catalog.mark_deleting(&writer, &missing).await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
}

#[tokio::test]
async fn the_lease_of_a_killed_process_is_told_dead_and_of_two_finders_one_breaks_it() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let full = point("pg", 0);
    catalog.insert_backup(&full, None).await.unwrap();
    let mut reader = Process::start("hold a point", fixture.location());
    reader.expect("reading");
    let seen = catalog.leases_on(&reading(&full)).await.unwrap().remove(0);
    assert_eq!(seen.owner.pid, reader.id());
    assert_eq!(seen.state(Timestamp::now()), OwnerState::Alive);
    reader.kill();
    assert_eq!(seen.state(Timestamp::now()), OwnerState::Dead);

    assert!(catalog.break_lease(&seen, "its process was killed").await.unwrap());
    assert!(!catalog.break_lease(&seen, "its process was killed").await.unwrap());
    assert!(catalog.leases().await.unwrap().is_empty());
    let log = catalog.audit_log(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    assert_eq!(log.total, 1);
    assert_eq!(
        (log.items[0].action.as_str(), log.items[0].object.as_str()),
        ("lease_break", format!("point:{}", full.id).as_str())
    );
    assert!(log.items[0].detail.as_ref().unwrap().ends_with("its process was killed"));
}

#[tokio::test]
async fn a_lease_that_showed_life_since_is_neither_broken_nor_taken_over() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let lease = take(catalog, vm(), LeaseMode::Exclusive).await;
    let seen = catalog.leases().await.unwrap().remove(0);
    assert!(catalog.heartbeat(std::slice::from_ref(&lease)).await.unwrap().is_empty());
    assert!(!catalog.break_lease(&seen, "old").await.unwrap());
    assert_eq!(catalog.take_over(&seen, &me(), "old").await.unwrap(), None);
    let now = catalog.leases().await.unwrap().remove(0);
    assert!(now.heartbeat_at > seen.heartbeat_at);

    let heir = Owner { pid: me().pid + 1, ..me() };
    assert_eq!(catalog.take_over(&now, &heir, "gone").await.unwrap(), Some(lease.clone()));
    assert_eq!(catalog.take_over(&now, &heir, "gone").await.unwrap(), None);
    let after = catalog.leases().await.unwrap().remove(0);
    assert_eq!((&after.owner, &after.lease), (&heir, &lease));
    assert!(catalog.break_lease(&after, "done").await.unwrap());
    assert_eq!(catalog.heartbeat(std::slice::from_ref(&lease)).await.unwrap(), [lease]);
}

#[tokio::test]
async fn marks_of_a_dead_deleter_go_over_with_its_lease_and_end_with_it() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let full = point("pg", 0);
    catalog.insert_backup(&full, None).await.unwrap();
    let writer = take(catalog, vm(), LeaseMode::Exclusive).await;
    catalog.mark_deleting(&writer, std::slice::from_ref(&full.id)).await.unwrap();
    let seen = catalog.leases().await.unwrap().remove(0);
    let heir = Owner { pid: me().pid + 1, ..me() };
    let lease = catalog.take_over(&seen, &heir, "gone").await.unwrap().unwrap();
    refused(catalog, reading(&full), LeaseMode::Shared).await;
    catalog.release(&lease).await.unwrap();
    assert!(!catalog.backup_state(&full.id).await.unwrap().unwrap().deleting);
    take(catalog, reading(&full), LeaseMode::Shared).await;
}

#[tokio::test]
async fn a_repository_is_leased_like_a_vm() {
    let Some(fixture) = super::fixture().await else { return };
    let repository = Resource::Repository(RepositoryId::new("default").unwrap());
    take(&fixture.catalog, repository.clone(), LeaseMode::Exclusive).await;
    assert_eq!(
        refused(&fixture.catalog, repository.clone(), LeaseMode::Shared).await[0].lease.resource,
        repository
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_a_deleter_in_threads_never_meet() {
    let Some(fixture) = super::fixture().await else { return };
    let full = point("pg", 0);
    fixture.catalog.insert_backup(&full, None).await.unwrap();
    let deleter = tokio::spawn({
        let (catalog, full) = (fixture.catalog.clone(), full.clone());
        async move {
            let mut marked = 0;
            for _ in 0..100 {
                let writer = take(&catalog, vm(), LeaseMode::Exclusive).await;
                if catalog.mark_deleting(&writer, std::slice::from_ref(&full.id)).await.unwrap()
                    == Marked::Yes
                {
                    marked += 1;
                    assert!(catalog.leases_on(&reading(&full)).await.unwrap().is_empty());
                }
                catalog.release(&writer).await.unwrap();
            }
            marked
        }
    });
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (catalog, full) = (fixture.catalog.clone(), full.clone());
            tokio::spawn(async move {
                for _ in 0..60 {
                    if let Acquired::Yes(lease) = acquire(&catalog, reading(&full), LeaseMode::Shared).await {
                        assert!(!catalog.backup_state(&full.id).await.unwrap().unwrap().deleting);
                        catalog.release(&lease).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    deleter.await.unwrap();
}
