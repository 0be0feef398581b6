//! The registry of what keeps points open: rows go in and come out exactly, and a wish to stop reaches who serves.

use crate::samples::{backup_id, second, vm_name};
use catalog::{Error, MountBeat, Owner, OwnerState, RestoreMount, StopWish};
use jiff::Timestamp;
use model::MountKind;
use serde_json::json;

fn mount(id: &str, n: i64) -> RestoreMount {
    RestoreMount {
        id: id.to_owned(),
        kind: MountKind::Fuse,
        backup_id: Some(backup_id("backup-pg-20251001-000000")),
        vm_name: vm_name("pg"),
        path: Some("/mnt/ünï code".to_owned()),
        detail: json!({ "volumes": [], "made": true }),
        idle_seconds: 3600,
        created_at: second(n),
        used_at: second(n + 1),
        expires_at: second(n + 3601),
        stop: StopWish::None,
        owner: Owner::current().unwrap(),
        heartbeat_at: second(n),
    }
}

#[tokio::test]
async fn a_mount_comes_out_as_it_went_in_and_once_only() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let all = RestoreMount {
        kind: MountKind::Export,
        backup_id: None,
        path: None,
        stop: StopWish::Now,
        ..mount("export-1", 5)
    };
    for mount in [&all, &mount("mount-1", 1)] {
        catalog.insert_restore_mount(mount).await.unwrap();
    }
    assert!(matches!(catalog.insert_restore_mount(&all).await, Err(Error::AlreadyExists { .. })));
    assert_eq!(catalog.restore_mounts().await.unwrap(), [mount("mount-1", 1), all]);
    let changed =
        RestoreMount { path: Some("/elsewhere".to_owned()), detail: json!({}), ..mount("mount-1", 1) };
    catalog.request_restore_stop("mount-1", StopWish::IfUnused).await.unwrap();
    catalog.replace_restore_mount(&changed).await.unwrap();
    let stopping = RestoreMount { stop: StopWish::IfUnused, ..changed };
    assert_eq!(catalog.restore_mounts().await.unwrap()[0], stopping);
    catalog.replace_restore_mount(&mount("mount-9", 9)).await.unwrap();
    assert!(catalog.remove_restore_mount("export-1").await.unwrap());
    assert!(!catalog.remove_restore_mount("export-1").await.unwrap());
    assert_eq!(catalog.restore_mounts().await.unwrap(), [stopping]);
}

#[tokio::test]
async fn a_wish_to_stop_is_heard_and_can_be_taken_back() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    catalog.insert_restore_mount(&mount("mount-1", 1)).await.unwrap();
    catalog.insert_restore_mount(&mount("mount-2", 2)).await.unwrap();
    assert_eq!(catalog.restore_stops().await.unwrap(), []);
    for wish in [StopWish::IfUnused, StopWish::Now] {
        assert!(catalog.request_restore_stop("mount-2", wish).await.unwrap());
        assert_eq!(catalog.restore_stops().await.unwrap(), [("mount-2".to_owned(), wish)]);
    }
    assert!(catalog.request_restore_stop("mount-2", StopWish::None).await.unwrap());
    assert_eq!(catalog.restore_stops().await.unwrap(), []);
    assert!(!catalog.request_restore_stop("mount-3", StopWish::Now).await.unwrap());
}

#[tokio::test]
async fn a_beat_moves_the_times_and_tells_whose_row_is_gone() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    catalog.insert_restore_mount(&mount("mount-1", 1)).await.unwrap();
    let beat = |id: &str| MountBeat { id: id.to_owned(), used_at: second(50), expires_at: second(3650) };
    let before = Timestamp::now();
    let lost = catalog.beat_restore_mounts(&[beat("mount-1"), beat("mount-9")]).await.unwrap();
    assert_eq!(lost, ["mount-9"]);
    let now = catalog.restore_mounts().await.unwrap().remove(0);
    assert_eq!((now.used_at, now.expires_at), (second(50), second(3650)));
    assert!(now.heartbeat_at >= before);
    assert_eq!(now.state(Timestamp::now()), OwnerState::Alive);
    let gone = Owner { pid_start_ticks: now.owner.pid_start_ticks + 1, ..now.owner.clone() };
    assert_eq!(RestoreMount { owner: gone, ..now }.state(Timestamp::now()), OwnerState::Dead);
}
