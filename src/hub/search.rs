//! Finding files across restore points: where they are, in which points, in which versions.
//!
//! VM by VM. Where one point of a VM is searched, what matches is told as it is found. Where several are, each is walked
//! once, several at a time, and what matches is remembered with the place of its content on the point's disks
//! ([`Layout`](guestfs::compare::Layout)). Then the points are gone through from the oldest to the newest: a file whose
//! content lies where it lay in the point before, in clusters that do not differ between the two
//! ([`Changes`](crate::compare::Changes)), has the same content, and only the first of such a line is read and hashed. Of a
//! large file, what is in doubt is compared before.
//!
//! A point is open while it is walked and while files of it are hashed, and closed in between: at most [`workers`] are
//! open at a time, however many are searched. A lease is held on each point of the VM that is searched, until its
//! results are told. What waits to be told takes at most [`MAX_HELD`] bytes; a search that would need more ends early,
//! and says so. Nothing is kept between searches.
//!
//! Not here: HTTP and pages (`server`), what a pattern means (`criteria`).

mod criteria;
mod found;
mod scope;
mod versions;
mod walk;

use crate::browse::{OpenPoint, View, keys_of};
use crate::compare::Changes;
use crate::leases::Guard;
use crate::readers::Stopper;
use crate::streams::{Lines, STATUS, Teller, body_of};
use crate::{Error, Hub, Only, Result, blocking};
use api::{SearchLine, SearchQuery, SearchStatus, SearchSummary, Unsearched};
use criteria::Criteria;
use found::{Counters, Found};
use futures_util::StreamExt;
use model::{Backup, BackupId};
use scope::Scope;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use versions::{Occurrences, ToHash};

/// Bytes of matches that are held at once.
const MAX_HELD: usize = 256 << 20;
/// Points that are open at a time, at most.
const MAX_WORKERS: usize = 4;

/// A search that runs. Clones are the same.
#[derive(Clone)]
struct Search {
    hub: Hub,
    id: String,
    criteria: Arc<Criteria>,
    view: Arc<View>,
    /// Whether content is hashed; where it is not said, where several points of a VM are searched.
    hash: Option<bool>,
    teller: Teller<SearchLine>,
    stop: Stopper,
    counters: Arc<Counters>,
    /// What was told already of points of the VM that is searched.
    said: Arc<Mutex<HashSet<String>>>,
}

impl Hub {
    /// Finds files across restore points: a line for each path, a summary at the end. Other VMs than `only` don't exist.
    ///
    /// # Errors
    /// A query that makes no sense, with its field; no such VM or point. Points that can't be searched are lines.
    pub async fn search(
        &self,
        query: SearchQuery,
        keys_b64: &[String],
        only: Only<'_>,
    ) -> Result<Lines<SearchLine>> {
        let criteria = Arc::new(Criteria::new(&query)?);
        let view = Arc::new(View {
            disk: query.disk_id,
            volume: query.volume.clone(),
            ignore_journal: query.ignore_journal,
            keys: keys_of(keys_b64)?,
            walked: true,
        });
        let scope = self.search_scope(&query, only).await?;
        let reader = self.inner.readers.enter();
        let (teller, lines) = Teller::new(reader.stop.clone());
        let counters = Arc::new(Counters::default());
        counters.points_total.store(scope.points_total, Ordering::Relaxed);
        let search = Search {
            hub: self.clone(),
            id: format!("search-{}", uuid::Uuid::new_v4()),
            criteria,
            view,
            hash: query.content_hash,
            teller: teller.clone(),
            stop: reader.stop.clone(),
            counters,
            said: Arc::default(),
        };
        tokio::spawn(async move {
            let telling = search.clone();
            let mut run = std::pin::pin!(search.run(Arc::new(scope)));
            let gone = teller.gone();
            let mut gone = std::pin::pin!(gone);
            let mut clock = tokio::time::interval(STATUS);
            let mut left = false;
            let ended = loop {
                tokio::select! {
                    ended = &mut run => break ended,
                    () = &mut gone, if !left => left = true,
                    _ = clock.tick() => telling.teller.tell_in_passing(SearchLine::Status(telling.status())),
                }
            };
            match ended {
                Ok(()) => telling.teller.tell(SearchLine::Summary(telling.summary())).await,
                Err(error) => telling.teller.tell(SearchLine::Fatal(body_of(&error))).await,
            }
            drop(reader);
        });
        Ok(lines)
    }
}

/// How many points are looked at at once.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_WORKERS))
}

impl Search {
    async fn run(&self, scope: Arc<Scope>) -> Result<()> {
        if scope.is_one_each() {
            let mut vms = futures_util::stream::iter(0..scope.len())
                .map(|vm| {
                    let (search, scope) = (self.clone(), Arc::clone(&scope));
                    async move { search.vm(&scope, vm).await }
                })
                .buffer_unordered(workers());
            while let Some(done) = vms.next().await {
                done?;
            }
            return Ok(());
        }
        for vm in 0..scope.len() {
            self.vm(&scope, vm).await?;
        }
        Ok(())
    }

    /// Searches the points of one VM.
    async fn vm(&self, scope: &Scope, vm: usize) -> Result<()> {
        if self.stop.is_stopped() || self.counters.is_full() {
            return Ok(());
        }
        let points = scope.points(&self.hub, vm).await?;
        if !scope.is_one_each() {
            self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let (mut held, mut leases): (Vec<Backup>, Vec<Guard>) = (Vec::new(), Vec::new());
        for point in points {
            match self.hub.lock_point(&point.id, "search", &self.id).await {
                Ok(lease) => {
                    leases.push(lease);
                    held.push(point);
                }
                Err(error) => self.point_failed(&point.id, &error).await,
            }
        }
        let done = match held.len() {
            0 => Ok(()),
            1 if self.hash != Some(true) => self.single(&held[0]).await,
            _ => self.several(&held).await,
        };
        for lease in leases {
            lease.release().await;
        }
        done
    }

    /// Tells what matches in the only point of a VM as it is found.
    async fn single(&self, point: &Backup) -> Result<()> {
        let search = self.clone();
        let record = point.clone();
        let sink = move |found: Found| {
            search.counters.found.fetch_add(1, Ordering::Relaxed);
            let file = versions::single(&record, found);
            search.teller.tell_blocking(SearchLine::Match(Box::new(file)))
        };
        self.walk(point, false, sink).await;
        Ok(())
    }

    /// Tells what matches in several points, by versions.
    async fn several(&self, points: &[Backup]) -> Result<()> {
        let hash = self.hash != Some(false);
        let occurrences = Arc::new(Mutex::new(Occurrences::default()));
        let mut walks = futures_util::stream::iter(0..points.len())
            .map(|number| {
                let (search, into) = (self.clone(), Arc::clone(&occurrences));
                let (counters, point) = (Arc::clone(&self.counters), points[number].clone());
                let sink = move |found: Found| {
                    let cost = found.cost();
                    into.lock().unwrap_or_else(PoisonError::into_inner).add(number as u32, found);
                    counters.hold(cost, MAX_HELD)
                };
                async move { search.walk(&point, hash, sink).await }
            })
            .buffer_unordered(workers());
        while walks.next().await.is_some() {}
        drop(walks);
        let mut occurrences =
            std::mem::take(&mut *occurrences.lock().unwrap_or_else(PoisonError::into_inner));
        if hash {
            occurrences = self.link(points, occurrences).await?;
            let wanted = occurrences.to_hash();
            let mut hashes = futures_util::stream::iter(wanted)
                .map(|(number, files)| {
                    let (search, point) = (self.clone(), points[number as usize].clone());
                    async move { search.hash(&point, number, files).await }
                })
                .buffer_unordered(workers());
            while let Some((number, hashed)) = hashes.next().await {
                for (file, hash) in hashed {
                    occurrences.set_hash(number, file, hash);
                }
            }
        }
        for file in occurrences.into_files(points) {
            if self.stop.is_stopped() {
                break;
            }
            self.counters.found.fetch_add(1, Ordering::Relaxed);
            self.teller.tell(SearchLine::Match(Box::new(file))).await;
        }
        self.counters.release();
        Ok(())
    }

    /// Walks one point; what matches goes to `sink`, which may end it. What goes wrong is told.
    async fn walk(
        &self,
        point: &Backup,
        layouts: bool,
        mut sink: impl FnMut(Found) -> bool + Send + 'static,
    ) {
        if self.stop.is_stopped() || self.counters.is_full() {
            return;
        }
        let walked = async {
            let open = self.hub.open_point(point, self.view.disk).await?;
            let (search, id) = (self.clone(), point.id.clone());
            blocking::run("search", move || {
                let tree = open.tree(&search.view, &search.counters.bytes_read)?;
                for note in &open.notes {
                    search.unreadable(&id, None, note, api::ErrorCode::Damaged);
                }
                search.walk_tree(&id, &tree, layouts, &mut sink);
                Ok(())
            })
            .await
        };
        match walked.await {
            Ok(()) => {
                self.counters.points_searched.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.point_failed(&point.id, &error).await,
        }
        self.counters.points_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Finds out which files have the same content as in the point before, with as little reading as it takes.
    async fn link(&self, points: &[Backup], mut occurrences: Occurrences) -> Result<Occurrences> {
        self.counters.phase.store(found::COMPARING, Ordering::Relaxed);
        let mut before: Option<(u32, OpenPoint)> = None;
        for number in 1..points.len() as u32 {
            if self.stop.is_stopped() {
                break;
            }
            if !occurrences.has_candidates(number) {
                continue;
            }
            let (point, above) = (&points[number as usize - 1], &points[number as usize]);
            let older = match before.take() {
                Some((kept, open)) if kept + 1 == number => Ok(open),
                _ => self.hub.open_point(point, self.view.disk).await,
            };
            let newer = self.hub.open_point(above, self.view.disk).await;
            // A point that can't be opened any more is told by who reads it.
            let (Ok(older), Ok(newer)) = (older, newer) else { continue };
            let search = self.clone();
            let (linked, newer) = blocking::run("search", move || {
                let changes = Changes::between(&older.disks, &newer.disks, &search.stop);
                occurrences.link(number, &changes);
                search.compare_large(number, &older, &newer, &changes, &mut occurrences);
                Ok((occurrences, newer))
            })
            .await?;
            occurrences = linked;
            before = Some((number, newer));
        }
        Ok(occurrences)
    }

    /// Hashes files of one point.
    async fn hash(&self, point: &Backup, number: u32, files: Vec<ToHash>) -> (u32, versions::Hashed) {
        self.counters.phase.store(found::HASHING, Ordering::Relaxed);
        let all: Vec<_> = files.iter().map(|file| file.file).collect();
        let hashed = async {
            let open = self.hub.open_point(point, self.view.disk).await?;
            let search = self.clone();
            blocking::run("search", move || {
                let tree = open.tree(&search.view, &search.counters.bytes_read)?;
                Ok(search.hash_files(&tree, files))
            })
            .await
        };
        let hashed = hashed.await.unwrap_or_else(|error: Error| {
            let reason = error.to_string();
            all.into_iter().map(|file| (file, Err(reason.clone()))).collect()
        });
        for (_, hash) in &hashed {
            if let Err(reason) = hash {
                self.tell_error(&point.id, None, reason, api::ErrorCode::Damaged).await;
            }
        }
        (number, hashed)
    }

    async fn point_failed(&self, id: &BackupId, error: &Error) {
        self.tell_error(id, None, &error.to_string(), error.code()).await;
    }

    async fn tell_error(&self, id: &BackupId, path: Option<String>, error: &str, code: api::ErrorCode) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        let error = error.to_owned();
        self.teller.tell(SearchLine::Error(Unsearched { backup_id: id.clone(), path, error, code })).await;
    }

    /// As [`tell_error`](Self::tell_error), from a thread.
    fn unreadable(&self, id: &BackupId, path: Option<String>, error: &str, code: api::ErrorCode) -> bool {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        let error = error.to_owned();
        self.teller.tell_blocking(SearchLine::Error(Unsearched { backup_id: id.clone(), path, error, code }))
    }

    /// True where this was not said of the VM before.
    fn is_news(&self, sentence: &str) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(sentence.to_owned())
    }

    fn status(&self) -> SearchStatus {
        let counters = &self.counters;
        SearchStatus {
            phase: found::phase(counters.phase.load(Ordering::Relaxed)).to_owned(),
            points_done: counters.points_done.load(Ordering::Relaxed),
            points_total: counters.points_total.load(Ordering::Relaxed),
            entries: counters.entries.load(Ordering::Relaxed),
            bytes_read: counters.bytes_read.load(Ordering::Relaxed),
            found: counters.found.load(Ordering::Relaxed),
        }
    }

    fn summary(&self) -> SearchSummary {
        let counters = &self.counters;
        SearchSummary {
            files: counters.found.load(Ordering::Relaxed),
            points_searched: counters.points_searched.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            truncated: self.stop.is_stopped() || counters.is_full(),
            entries: counters.entries.load(Ordering::Relaxed),
            bytes_read: counters.bytes_read.load(Ordering::Relaxed),
            content_bytes: counters.content_bytes.load(Ordering::Relaxed),
        }
    }
}
