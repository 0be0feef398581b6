//! What only a server does: it refuses users, goes away and comes back, is made at once by many hubs.

use crate::children::Process;
use crate::samples::{backup_id, context, pending, point, progress, repository, request};
use catalog::{
    Acquired, AuditFilter, BackupFilter, Catalog, Error, LeaseMode, Location, Owner, Resource, Server,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testkit::mariadb;

fn location(address: &str) -> Location {
    address.parse().unwrap()
}

fn server_of(location: &Location) -> &Server {
    match location {
        Location::Server(server) => server,
        Location::File(_) => panic!("not on a server"),
    }
}

async fn open_error(location: &Location) -> Error {
    Catalog::open_at(location).await.expect_err("it opened")
}

#[test]
fn eight_hubs_that_open_an_empty_database_at_once_all_get_the_same() {
    let Some(address) = mariadb::database() else { return };
    let location = location(&address);
    let mut children: Vec<Process> = (0..8).map(|_| Process::start("open", &location)).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(Process::go);
    let said: Vec<String> = children.iter_mut().map(|child| child.hear().unwrap()).collect();
    assert!(said.iter().all(|line| line.starts_with("opened")), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.ends_with("new: true")).count(), 1, "{said:?}");
}

#[tokio::test]
async fn tables_whose_making_was_interrupted_anywhere_are_completed() {
    let Some(address) = mariadb::database() else { return };
    let location = location(&address);
    let catalog = Catalog::open_at(&location).await.unwrap();
    let database = name_of(&address);
    catalog.insert_repository(&repository("default")).await.unwrap();
    catalog.close().await;
    // As a hub leaves it that dies after some of the statements: the history says nothing of them.
    for gone in ["users", "api_tokens", "job_log", "audit_log", "leases", "jobs"] {
        mariadb::shared_sql(&format!(
            "USE {database}; DELETE FROM _sqlx_migrations; DROP TABLE {gone}; DROP INDEX idx_status ON backup_jobs"
        ));
        let catalog = Catalog::open_at(&location).await.unwrap();
        catalog.insert_backup(&point("pg", 0), None).await.unwrap();
        assert_eq!(catalog.delete_backups(&[point("pg", 0).id]).await.unwrap(), 1);
        assert!(catalog.leases().await.unwrap().is_empty());
        assert_eq!(
            catalog.audit_log(&AuditFilter { limit: 1, ..AuditFilter::default() }).await.unwrap().total,
            0
        );
        assert!(catalog.check().await.unwrap().is_empty());
        catalog.close().await;
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name_and_left_alone() {
    let Some(address) = mariadb::database() else { return };
    let database = name_of(&address);
    let newer = "CREATE TABLE _sqlx_migrations (version BIGINT); INSERT INTO _sqlx_migrations VALUES (999)";
    mariadb::shared_sql(&format!("USE {database}; {newer}"));
    let error = open_error(&location(&address)).await;
    assert!(matches!(error, Error::Newer { found: 999, .. }), "{error}");

    let address = mariadb::database().unwrap();
    let database = name_of(&address);
    mariadb::shared_sql(&format!("USE {database}; CREATE TABLE bookmarks (url TEXT)"));
    let error = open_error(&location(&address)).await;
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("tables of another program"), "{error}");
    assert_eq!(mariadb::shared_sql(&format!("USE {database}; SHOW TABLES")), "bookmarks\n");
}

#[tokio::test]
async fn who_may_not_get_in_is_told_so_at_once_and_never_with_the_password() {
    let Some(address) = mariadb::database() else { return };
    let database = name_of(&address);
    let user = format!("u{database}");
    mariadb::shared_sql(&format!(
        "CREATE USER {user}@localhost IDENTIFIED BY 'c0rrect'; GRANT ALL ON {database}.* TO {user}@localhost"
    ));
    let address = address.replace("root@", &format!("{user}@"));
    for (password, works) in [("wr0ng%s", false), ("", false), ("c0rrect", true)] {
        let opened = Catalog::open_at(&location(&address).with_password(password)).await;
        match opened {
            Ok(catalog) => {
                assert!(works);
                // What the documents grant is enough for everything.
                catalog.insert_repository(&repository("default")).await.unwrap();
                catalog.insert_backup(&point("pg", 0), None).await.unwrap();
                assert!(catalog.check().await.unwrap().is_empty());
            }
            Err(error) => {
                assert!(!works, "{error}");
                assert!(matches!(error, Error::Denied { .. }), "{error}");
                assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error:?}");
                assert!(error.to_string().contains(&user), "{error}");
            }
        }
    }
    let missing = address.replace(&database, "no_such_database");
    let error = open_error(&location(&missing).with_password("c0rrect")).await;
    assert!(matches!(error, Error::Denied { .. } | Error::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let start = Instant::now();
    for address in [
        "mysql://s@localhost/hub?socket=/nonexistent/mysqld.sock",
        // Nothing listens on the port of the discard service here.
        "mysql://s@127.0.0.1:9/hub",
    ] {
        let error = open_error(&location(address)).await;
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("can't be reached"), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn texts_of_any_length_and_names_that_differ_by_little_are_kept_apart() {
    let Some(address) = mariadb::database() else { return };
    let catalog = Catalog::open_at(&location(&address)).await.unwrap();
    catalog.insert_repository(&repository("default")).await.unwrap();
    let mut backup = point("pg", 0);
    backup.error_message = Some("🐘".repeat(100_000));
    backup.notes = Some("x".repeat(65_536));
    catalog.insert_backup(&backup, None).await.unwrap();
    assert_eq!(catalog.backup(&backup.id).await.unwrap(), Some(backup.clone()));
    let mut tags = backup.clone();
    for key in ["a", "A", "ä", "a ", "á"] {
        tags.tags.insert(key.to_owned(), key.to_owned());
    }
    catalog.update_backup(&tags).await.unwrap();
    assert_eq!(catalog.backup(&backup.id).await.unwrap(), Some(tags));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_killed_and_started_again_loses_nothing_and_doubles_nothing() {
    let Some(mut server) = mariadb::Server::start() else { return };
    let location = location(&server.database());
    let catalog = Catalog::open_at(&location).await.unwrap();
    catalog.insert_repository(&repository("default")).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (catalog, stop) = (catalog.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let vm = format!("vm-{writer}");
                let me = Owner::current().unwrap();
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Each of these says something else when it is done twice.
                    let backup = pending(&vm, done);
                    catalog.insert_backup(&backup, None).await.unwrap();
                    let wanted = request(Resource::Vm(context(&vm)), LeaseMode::Exclusive, &me);
                    let lease = loop {
                        match catalog.acquire(&wanted).await {
                            Ok(Acquired::Yes(lease)) => break lease,
                            Ok(Acquired::Held(holders)) => panic!("held by {holders:?}"),
                            // Who asks for a lease is not as patient as who writes.
                            Err(error) => assert!(error.is_passing(), "{error}"),
                        }
                    };
                    let (_, was) = catalog
                        .modify_backup(&backup.id, |b| {
                            std::mem::replace(&mut b.status, model::Status::Completed)
                        })
                        .await
                        .unwrap();
                    assert_eq!(was, model::Status::Pending);
                    assert!(catalog.release(&lease).await.unwrap(), "given back twice");
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut seen = 0;
    for round in 0..6 {
        // Some more work first, so that the moment lies somewhere within it.
        let deadline = Instant::now() + Duration::from_secs(60);
        while catalog.count_backups(&BackupFilter::default()).await.unwrap() < seen + 20 {
            assert!(Instant::now() < deadline, "nothing goes on");
            tokio::task::yield_now().await;
        }
        if round % 3 == 0 {
            server.stop();
        } else {
            server.kill();
        }
        server.start_again();
        seen = catalog.count_backups(&BackupFilter::default()).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut all = 0;
    for (writer, handle) in writers.into_iter().enumerate() {
        let done: i64 = handle.await.unwrap();
        all += done as u64;
        for n in 0..done {
            let id = pending(&format!("vm-{writer}"), n).id;
            let found = catalog.backup(&backup_id(id.as_str())).await.unwrap().unwrap();
            assert_eq!(found.status, model::Status::Completed);
        }
    }
    assert_eq!(catalog.count_backups(&BackupFilter::default()).await.unwrap(), all);
    assert!(catalog.leases().await.unwrap().is_empty());
    assert!(catalog.check().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_stays_away_is_told_with_the_time_that_was_tried() {
    let Some(mut server) = mariadb::Server::start() else { return };
    let location = location(&server.database());
    let patience = Duration::from_secs(2);
    let catalog = Catalog::connect(server_of(&location), patience).await.unwrap();
    catalog.insert_repository(&repository("default")).await.unwrap();
    let backup = pending("pg", 0);
    catalog.insert_backup(&backup, None).await.unwrap();
    server.stop();
    let start = Instant::now();
    let error = catalog.insert_backup(&point("pg", 60), None).await.unwrap_err();
    assert!(start.elapsed() >= patience, "{:?}", start.elapsed());
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("(tried for "), "{error}");
    assert!(catalog.record_progress(&backup.id, &progress(1)).await.unwrap_err().is_passing());
    assert!(catalog.backup(&backup.id).await.unwrap_err().is_passing());
    server.start_again();
    catalog.record_progress(&backup.id, &progress(1)).await.unwrap();
    assert_eq!(catalog.backup(&backup.id).await.unwrap().unwrap().bytes_transferred, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_administrator_kills_are_made_again() {
    let Some(address) = mariadb::database() else { return };
    let database = name_of(&address);
    let user = format!("k{database}");
    mariadb::shared_sql(&format!(
        "CREATE USER {user}@localhost; GRANT ALL ON {database}.* TO {user}@localhost"
    ));
    let catalog = Catalog::open_at(&location(&address.replace("root@", &format!("{user}@")))).await.unwrap();
    catalog.insert_repository(&repository("default")).await.unwrap();
    let killer = std::thread::spawn(move || {
        let of_theirs = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{user}'");
        for _ in 0..20 {
            let connected = testkit::wait_until(Duration::from_secs(60), || {
                mariadb::shared_sql(&of_theirs).trim() != "0"
            });
            assert!(connected, "nobody connects any more");
            mariadb::shared_sql(&format!("KILL CONNECTION USER {user}@localhost"));
        }
    });
    let mut n = 0;
    while !killer.is_finished() {
        let backup = point("pg", n);
        catalog.insert_backup(&backup, None).await.unwrap();
        assert_eq!(catalog.backup(&backup.id).await.unwrap(), Some(backup));
        n += 1;
    }
    killer.join().unwrap();
    assert_eq!(catalog.count_backups(&BackupFilter::default()).await.unwrap(), n as u64);
}

#[tokio::test]
async fn leases_are_judged_by_the_servers_clock() {
    let Some(address) = mariadb::database() else { return };
    let catalog = Catalog::open_at(&location(&address)).await.unwrap();
    let (before, now) = (jiff::Timestamp::now(), catalog.now());
    // The server is this machine.
    assert!(now >= before && now <= jiff::Timestamp::now(), "{before} {now}");
}

fn name_of(address: &str) -> String {
    address.split(['/', '?']).nth(3).unwrap().to_owned()
}
