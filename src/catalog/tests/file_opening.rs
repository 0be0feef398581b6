//! Opening: the first time, by many at once, and what it leaves.

use crate::children::Process;
use crate::samples::{Fixture, repository};
use catalog::{Catalog, Location};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_missing_catalog_is_made_for_its_owner_only_and_said_to_be_new_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a catalog? #1%20.db");
    let first = Catalog::open(&path).await.unwrap();
    assert!(first.created() && first.is_writable());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Catalog::open(&path).await.unwrap();
    assert!(!second.created());
    assert!(second.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_written_is_there_after_closing_and_one_file_is_left() {
    let fixture = Fixture::new().await;
    fixture.catalog.close().await;
    let names: Vec<_> = std::fs::read_dir(fixture.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["catalog.db"]);
    let again = Catalog::open(&fixture.path()).await.unwrap();
    assert_eq!(again.repositories().await.unwrap(), [repository("default")]);
}

#[test]
fn eight_processes_that_open_a_missing_catalog_at_once_all_get_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let mut children: Vec<Process> =
        (0..8).map(|_| Process::start("open", &Location::File(path.clone()))).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(Process::go);
    let said: Vec<String> = children.iter_mut().map(|child| child.hear().unwrap()).collect();
    assert!(said.iter().all(|line| line.starts_with("opened")), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.ends_with("new: true")).count(), 1, "{said:?}");
}
