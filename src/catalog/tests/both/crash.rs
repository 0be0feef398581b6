//! Processes that are killed in the middle of writing.

use crate::children::Process;
use crate::samples::backup_id;
use catalog::{BackupFilter, Catalog};
use std::time::{Duration, Instant};

#[tokio::test]
async fn whatever_a_killed_process_had_said_is_there_and_nothing_is_half_there() {
    let Some(fixture) = super::fixture().await else { return };
    let mut said = Vec::new();
    for round in 1..=6u32 {
        let mut writer = Process::start("insert", fixture.location());
        for _ in 0..round * 7 {
            said.push(writer.hear().unwrap());
        }
        writer.kill();
        // What it said between our last look and its death.
        while let Some(id) = writer.hear() {
            said.push(id);
        }
        if let Some(folder) = &fixture.folder {
            assert!(folder.path().join("catalog.db-wal").exists());
        }

        let catalog = Catalog::open_at(fixture.location()).await.unwrap();
        assert!(catalog.check().await.unwrap().is_empty());
        let all = BackupFilter { limit: 10_000, ..BackupFilter::default() };
        let page = catalog.backups(&all).await.unwrap();
        assert!(page.items.iter().all(|backup| backup.disks.len() == 1));
        // The last one may have been committed without being said.
        assert!(page.total - said.len() as u64 <= u64::from(round), "{} of {}", page.total, said.len());
        for id in &said {
            assert!(catalog.backup(&backup_id(id)).await.unwrap().is_some(), "{id}");
        }
        for vm in page.items.iter().map(|backup| &backup.vm_context_id) {
            let chains = catalog.chains(vm).await.unwrap();
            let points = catalog.points_of_vm(vm, None).await.unwrap();
            assert_eq!(chains.len(), points.len());
        }
    }
}

#[tokio::test]
async fn killed_at_random_moments_it_is_readable_and_takes_more() {
    let Some(fixture) = super::fixture().await else { return };
    let moments = [0u64, 1, 3, 7, 12, 20, 33, 50];
    for milliseconds in moments {
        let mut writer = Process::start("insert", fixture.location());
        let first = writer.hear().unwrap();
        // The moment is the point of this test, nothing is waited for.
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        writer.kill();
        let catalog = Catalog::open_at(fixture.location()).await.unwrap();
        assert!(catalog.check().await.unwrap().is_empty());
        let found = catalog.backup(&backup_id(&first)).await.unwrap().unwrap();
        catalog.delete_backups(&[found.id]).await.unwrap();
    }
}
