//! What is open in this process: found by its id, announced to others, closed when its time comes or somebody asks.
//!
//! One task looks after all of it while there is any. Twice a second it looks for wishes of other processes, for what has
//! ended by itself and for what has expired; every five seconds it beats for the rows. A catalog that can't be reached
//! for a while only makes other processes wait.

use super::MAX_SESSIONS;
use super::lasting::{Closing, Ended, Lasting};
use crate::leases::this_process;
use crate::{Error, Result};
use api::Mount;
use catalog::{Catalog, MountBeat, RestoreMount, StopWish};
use jiff::Timestamp;
use model::MountKind;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How often is looked for what is to be done.
const LOOK: Duration = Duration::from_millis(500);
/// How often a row shows a sign of life.
const BEAT: Duration = Duration::from_secs(5);
/// How old a session must be to have a row: those of single commands never are.
pub(super) const ANNOUNCE_AFTER: Duration = Duration::from_secs(3);

struct Kept {
    lasting: Arc<dyn Lasting>,
    since: Instant,
    announced: bool,
    client: Option<Client>,
}

impl Kept {
    /// There is a sign of its client, or of somebody in its place.
    fn hear(&mut self) {
        if let Some(client) = &mut self.client {
            client.heard = Instant::now();
        }
    }
}

/// Who has it open, and says so every so often.
struct Client {
    patience: Duration,
    heard: Instant,
}

#[derive(Default)]
struct State {
    open: BTreeMap<String, Kept>,
    /// Whether the task runs.
    watched: bool,
    expired: u64,
}

/// Everything that is open in this process.
#[derive(Clone)]
pub(crate) struct Registry {
    catalog: Catalog,
    state: Arc<Mutex<State>>,
}

impl Registry {
    pub(crate) fn new(catalog: Catalog) -> Self {
        Registry { catalog, state: Arc::default() }
    }

    /// Whether there is room for one more.
    ///
    /// # Errors
    /// [`Error::Conflict`] where there is not.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.lock().open.len() < MAX_SESSIONS {
            return Ok(());
        }
        Err(Error::Conflict {
            message: format!("{MAX_SESSIONS} restore sessions are open, which is the limit"),
            hint: "close one: `sendense-ctl restore mounts` lists them".into(),
        })
    }

    /// Takes in what leaves nothing to be cleaned up. It is announced when it has lived for a while.
    ///
    /// # Errors
    /// Where there is no room.
    pub(crate) fn add(&self, lasting: Arc<dyn Lasting>) -> Result<Mount> {
        self.check_room()?;
        let view = lasting.view();
        self.keep(&view.mount_id, lasting, false);
        Ok(view)
    }

    /// Takes in what may leave something, and announces it first: call this before there is anything to clean up, and
    /// [`forget`](Self::forget) where it then comes to nothing.
    ///
    /// # Errors
    /// Where there is no room, or the catalog can't be written.
    pub(crate) async fn announce(&self, lasting: Arc<dyn Lasting>) -> Result<()> {
        self.check_room()?;
        let row = row(&*lasting)?;
        self.catalog.insert_restore_mount(&row).await?;
        self.keep(&row.id, lasting, true);
        Ok(())
    }

    /// Writes anew what the row says, after what is to be cleaned up has changed.
    ///
    /// # Errors
    /// Where the catalog can't be written.
    pub(crate) async fn announce_again(&self, lasting: &dyn Lasting) -> Result<()> {
        let row = row(lasting)?;
        Ok(self.catalog.replace_restore_mount(&row).await?)
    }

    /// Lets go of something that has come to nothing.
    pub(crate) async fn forget(&self, id: &str) {
        let kept = self.lock().open.remove(id);
        if kept.is_some_and(|kept| kept.announced) {
            self.remove_row(id).await;
        }
    }

    fn keep(&self, id: &str, lasting: Arc<dyn Lasting>, announced: bool) {
        let mut state = self.lock();
        state.open.insert(id.to_owned(), Kept { lasting, since: Instant::now(), announced, client: None });
        if !state.watched {
            state.watched = true;
            tokio::spawn(watch(self.catalog.clone(), Arc::downgrade(&self.state)));
        }
    }

    /// The one of that id, or the only one whose id begins so, or that has that path.
    /// Who asks for it is there.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<dyn Lasting>> {
        let mut state = self.lock();
        let paths: Vec<_> = state.open.iter().map(|(id, kept)| (id.as_str(), kept.lasting.path())).collect();
        let position = only(paths.iter().map(|(id, path)| (*id, path.as_deref())), id)?;
        let kept = state.open.values_mut().nth(position)?;
        kept.hear();
        Some(Arc::clone(&kept.lasting))
    }

    /// From now on it is closed where nobody uses it and nothing is heard of its client for so long.
    pub(crate) fn expect_client(&self, id: &str, patience: Option<Duration>) {
        if let (Some(kept), Some(patience)) = (self.lock().open.get_mut(id), patience) {
            kept.client = Some(Client { patience, heard: Instant::now() });
        }
    }

    /// Whether nothing is heard of its client any more.
    fn is_abandoned(&self, id: &str) -> bool {
        let state = self.lock();
        let client = state.open.get(id).and_then(|kept| kept.client.as_ref());
        client.is_some_and(|client| client.heard.elapsed() >= client.patience)
    }

    /// Oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Lasting>> {
        let mut all: Vec<_> = self.lock().open.values().map(|kept| Arc::clone(&kept.lasting)).collect();
        all.sort_by_key(|lasting| lasting.view().created_at);
        all
    }

    /// How many have been closed because nobody used them.
    pub(crate) fn expired(&self) -> u64 {
        self.lock().expired
    }

    /// Closes one.
    ///
    /// # Errors
    /// [`Error::InUse`].
    pub(crate) async fn close(&self, lasting: &Arc<dyn Lasting>, how: Closing) -> Result<()> {
        match lasting.close(how).await? {
            Ended::Gone => self.forget(&lasting.view().mount_id).await,
            Ended::Later => {}
        }
        Ok(())
    }

    /// Ends everything, used or not, because this process ends.
    pub(crate) async fn close_all(&self) {
        for lasting in self.all() {
            if let Err(error) = self.close(&lasting, Closing::AtExit).await {
                tracing::warn!(%error, "{} is left to the next start", lasting.view().mount_id);
            }
        }
    }

    async fn remove_row(&self, id: &str) {
        // One that stays is removed by the next start.
        if let Err(error) = self.catalog.remove_restore_mount(id).await {
            tracing::warn!(%error, "the record of {id} can't be removed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only whole entries are put in or taken out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One round of looking after everything. `beat` tells whether it is time for a sign of life.
    async fn look(&self, beat: bool) {
        self.end_what_must(self.wishes().await).await;
        for lasting in self.all() {
            lasting.tend().await;
        }
        self.announce_old_sessions().await;
        if beat {
            self.beat().await;
        }
    }

    /// What other processes want to end.
    async fn wishes(&self) -> BTreeMap<String, StopWish> {
        if !self.lock().open.values().any(|kept| kept.announced) {
            return BTreeMap::new();
        }
        match self.catalog.restore_stops().await {
            Ok(wishes) => wishes.into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, "wishes of other processes can't be read");
                BTreeMap::new()
            }
        }
    }

    async fn end_what_must(&self, wishes: BTreeMap<String, StopWish>) {
        for lasting in self.all() {
            let view = lasting.view();
            let wish = wishes.get(&view.mount_id).copied().unwrap_or_default();
            let abandoned = self.is_abandoned(&view.mount_id);
            let expired = abandoned || view.expires_at <= Timestamp::now();
            let how = match wish {
                StopWish::Now => Closing::Now,
                _ if lasting.is_over() => Closing::Now,
                StopWish::IfUnused => Closing::IfUnused,
                StopWish::None if expired => Closing::IfUnused,
                StopWish::None => continue,
            };
            match self.close(&lasting, how).await {
                Ok(()) if expired && wish == StopWish::None => {
                    let why = if abandoned { "its client is gone" } else { "nobody used it" };
                    tracing::info!("{} is closed: {why}", view.mount_id);
                    self.lock().expired += 1;
                }
                Ok(()) => {}
                Err(Error::InUse { .. }) => {
                    // Something of it is open: that is use.
                    lasting.touch();
                    self.lock().open.get_mut(&view.mount_id).into_iter().for_each(Kept::hear);
                    if wish != StopWish::None
                        && let Err(error) =
                            self.catalog.request_restore_stop(&view.mount_id, StopWish::None).await
                    {
                        tracing::warn!(%error, "a wish can't be answered");
                    }
                }
                Err(error) => tracing::warn!(%error, "{} can't be closed", view.mount_id),
            }
        }
    }

    async fn announce_old_sessions(&self) {
        let old = |kept: &&Kept| !kept.announced && kept.since.elapsed() >= ANNOUNCE_AFTER;
        let due: Vec<_> =
            self.lock().open.values().filter(old).map(|kept| Arc::clone(&kept.lasting)).collect();
        for lasting in due {
            let announced = async {
                let row = row(&*lasting)?;
                self.catalog.insert_restore_mount(&row).await?;
                Ok::<String, Error>(row.id)
            };
            match announced.await {
                Ok(id) => {
                    let gone = match self.lock().open.get_mut(&id) {
                        Some(kept) => {
                            kept.announced = true;
                            false
                        }
                        None => true,
                    };
                    if gone {
                        self.remove_row(&id).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "a session can't be announced"),
            }
        }
    }

    async fn beat(&self) {
        let announced: Vec<_> = {
            let state = self.lock();
            state.open.values().filter(|kept| kept.announced).map(|kept| Arc::clone(&kept.lasting)).collect()
        };
        let beats: Vec<MountBeat> = announced
            .iter()
            .map(|lasting| lasting.view())
            .map(|view| MountBeat { id: view.mount_id, used_at: view.used_at, expires_at: view.expires_at })
            .collect();
        if beats.is_empty() {
            return;
        }
        match self.catalog.beat_restore_mounts(&beats).await {
            Ok(lost) => {
                for id in lost {
                    // Another process took this one for dead and has cleaned up.
                    tracing::error!("{id} was taken away by another process");
                    if let Some(lasting) = self.find(&id) {
                        drop(self.close(&lasting, Closing::Now).await);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "mounts can't be kept alive in the catalog"),
        }
    }
}

/// Ends when nothing is open.
async fn watch(catalog: Catalog, state: Weak<Mutex<State>>) {
    let mut beaten = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(state) = state.upgrade() else { return };
        let registry = Registry { catalog: catalog.clone(), state };
        let beat = beaten.elapsed() >= BEAT;
        if beat {
            beaten = Instant::now();
        }
        registry.look(beat).await;
        let mut state = registry.lock();
        if state.open.is_empty() {
            state.watched = false;
            return;
        }
    }
}

/// The position of the one of that id, or the only one whose id begins so (with or without its word), or that has that
/// path.
pub(super) fn only<'a>(
    all: impl Iterator<Item = (&'a str, Option<&'a str>)> + Clone,
    wanted: &str,
) -> Option<usize> {
    let path = wanted.trim_end_matches('/');
    if let Some(position) = all.clone().position(|(id, at)| id == wanted || at.is_some_and(|at| at == path)) {
        return Some(position);
    }
    let begins = |id: &str| {
        let bare = id.split_once('-').map_or("", |(_, bare)| bare);
        !wanted.is_empty() && (id.starts_with(wanted) || bare.starts_with(wanted))
    };
    let mut fits = all.enumerate().filter(|(_, (id, _))| begins(id));
    match (fits.next(), fits.next()) {
        (Some((position, _)), None) => Some(position),
        _ => None,
    }
}

fn row(lasting: &dyn Lasting) -> Result<RestoreMount> {
    let view = lasting.view();
    // The volumes are what is long, and a command can ask for them where the session is.
    let shown = Mount { volumes: Vec::new(), ..view.clone() };
    Ok(RestoreMount {
        id: view.mount_id,
        kind: view.kind,
        backup_id: view.backup_id,
        vm_name: view.vm_name,
        path: lasting.path(),
        detail: json!({ "mount": shown, "leftovers": lasting.leftovers() }),
        idle_seconds: view.idle_seconds,
        created_at: view.created_at,
        used_at: view.used_at,
        expires_at: view.expires_at,
        stop: StopWish::None,
        owner: this_process()?,
        heartbeat_at: Timestamp::now(),
    })
}

/// What a view has in common, whatever it is of.
pub(crate) fn bare_view(
    id: &str,
    kind: MountKind,
    vm_name: &model::VmName,
    times: &super::lasting::Times,
) -> Mount {
    Mount {
        mount_id: id.to_owned(),
        kind,
        backup_id: None,
        vm_name: vm_name.clone(),
        mount_path: None,
        nbd_device: None,
        nbd_uri: None,
        filesystem_type: None,
        system: None,
        volumes: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        status: "mounted".to_owned(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid: std::process::id(),
        idle_seconds: times.idle().as_secs(),
        created_at: times.created(),
        used_at: times.used(),
        expires_at: times.expires(),
    }
}

#[cfg(test)]
mod tests {
    use super::only;

    #[test]
    fn one_is_named_by_its_id_the_beginning_of_it_or_its_path() {
        let all = [("export-a1", None), ("mount-a1b2", Some("/mnt/x")), ("mount-c3", Some("/mnt/y"))];
        let find = |wanted| only(all.iter().copied(), wanted);
        assert_eq!(find("mount-a1b2"), Some(1));
        assert_eq!(find("mount-c"), Some(2));
        assert_eq!(find("c3"), Some(2));
        assert_eq!(find("/mnt/x/"), Some(1));
        for ambiguous in ["a1", "mount-", "", "/mnt", "d"] {
            assert_eq!(find(ambiguous), None, "{ambiguous}");
        }
        assert_eq!(find("export-a1"), Some(0));
    }
}
