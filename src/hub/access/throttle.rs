//! Who has failed to log in waits, the longer the more often.
//!
//! Failures are counted per user name and per address. From half of [`LoginRules::attempts`] on a name waits 1, 2, 4 …
//! seconds, and with the last of them it is locked for a time; an address has four times as many, because many users may
//! share one. While a name waits its password is not even looked at, so a lock tells nothing. A lock can keep a
//! user out whom somebody else wants out; the hub's own machine needs no password, so an administrator always gets in.
//!
//! Counts live in the memory of this process: [`MOST`] of them, those with few failures give way first. They are
//! forgotten an hour after their last failure.

use super::LoginRules;
use crate::{Error, Result};
use api::Peer;
use model::UserName;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How many names and addresses are remembered.
const MOST: usize = 10_000;
/// For how long after the last failure, and the end of the lock.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// How many more failures an address has than a name.
const SHARED: u32 = 4;

/// The counts.
#[derive(Debug)]
pub(super) struct Throttle {
    rules: LoginRules,
    counts: HashMap<Key, Count>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(UserName),
    Address(IpAddr),
    Uid(u32),
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    /// Until then nothing is looked at.
    until: Instant,
    locked: bool,
}

impl Throttle {
    pub(super) fn new(rules: LoginRules) -> Self {
        Throttle { rules, counts: HashMap::new() }
    }

    /// Whether a password may be looked at.
    ///
    /// # Errors
    /// [`Error::TooManyLogins`] with how long to wait.
    pub(super) fn check(&self, name: Option<&UserName>, peer: Peer, now: Instant) -> Result<()> {
        for key in keys(name, peer) {
            let Some(count) = self.counts.get(&key) else { continue };
            let left = count.until.saturating_duration_since(now);
            if !left.is_zero() {
                // Rounded up: whoever waits as long as they are told is not refused again.
                let wait = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                return Err(Error::TooManyLogins { wait, locked: count.locked });
            }
        }
        Ok(())
    }

    /// Counts a failure.
    pub(super) fn failed(&mut self, name: Option<&UserName>, peer: Peer, now: Instant) {
        for key in keys(name, peer) {
            if !self.counts.contains_key(&key) {
                self.make_room(now);
            }
            let is_name = matches!(key, Key::Name(_));
            let attempts = self.rules.attempts.saturating_mul(if is_name { 1 } else { SHARED });
            let free = attempts.div_ceil(2).saturating_sub(1);
            let count = self.counts.entry(key).or_insert(Count { failures: 0, until: now, locked: false });
            if now.saturating_duration_since(count.until) > REMEMBERED {
                count.failures = 0;
            }
            count.failures = count.failures.saturating_add(1);
            let over = count.failures >= attempts;
            let delay = match count.failures.checked_sub(free + 1) {
                _ if over => self.rules.lock_time,
                None => Duration::ZERO,
                Some(nth) => Duration::from_secs(1 << nth.min(20)).min(self.rules.lock_time),
            };
            count.until = now + delay;
            count.locked = over && is_name;
        }
    }

    /// Forgets the failures of who has got in: their own mistakes, and one of their address.
    pub(super) fn succeeded(&mut self, name: &UserName, peer: Peer) {
        for key in keys(Some(name), peer) {
            match (&key, self.counts.get_mut(&key)) {
                (Key::Name(_), Some(_)) => {
                    self.counts.remove(&key);
                }
                (_, Some(count)) => count.failures = count.failures.saturating_sub(1),
                (_, None) => {}
            }
        }
    }

    /// Forgets the failures of a name, because an administrator lets its user in again.
    pub(super) fn forget(&mut self, name: &UserName) {
        self.counts.remove(&Key::Name(name.clone()));
    }

    fn make_room(&mut self, now: Instant) {
        if self.counts.len() < MOST {
            return;
        }
        self.counts.retain(|_, count| now.saturating_duration_since(count.until) <= REMEMBERED);
        if self.counts.len() < MOST {
            return;
        }
        // Half of them, so that this is not done for each: those with the fewest failures.
        let mut failures: Vec<u32> = self.counts.values().map(|count| count.failures).collect();
        failures.sort_unstable();
        let middle = failures.get(MOST / 2).copied().unwrap_or(0);
        let mut surplus = self.counts.len() - MOST / 2;
        self.counts.retain(|_, count| {
            let goes = surplus > 0 && count.failures <= middle;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// What a failure is counted for. An IPv6 client has a whole /64 to choose addresses from.
fn keys(name: Option<&UserName>, peer: Peer) -> impl Iterator<Item = Key> {
    let from = match peer {
        Peer::Network { address: IpAddr::V6(address) } => {
            Some(Key::Address(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()))
        }
        Peer::Network { address } => Some(Key::Address(address)),
        Peer::Socket { uid } => Some(Key::Uid(uid)),
        Peer::Process => None,
    };
    name.cloned().map(Key::Name).into_iter().chain(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn at(last: u8) -> Peer {
        Peer::Network { address: IpAddr::from([192, 0, 2, last]) }
    }

    /// How long the next attempt must wait, and whether the name is locked.
    fn wait(throttle: &Throttle, who: &str, peer: Peer, now: Instant) -> (u64, bool) {
        match throttle.check(Some(&name(who)), peer, now) {
            Ok(()) => (0, false),
            Err(Error::TooManyLogins { wait, locked }) => (wait, locked),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_name_waits_longer_and_longer_and_is_locked_in_the_end() {
        let mut throttle = Throttle::new(LoginRules::default());
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for attempt in 0..11 {
            throttle.failed(Some(&name("admin")), at(attempt), now);
            let (seconds, locked) = wait(&throttle, "admin", at(99), now);
            waits.push((seconds, locked));
            now += Duration::from_secs(seconds);
            assert_eq!(wait(&throttle, "admin", at(99), now), (0, false), "who waits is heard");
        }
        let plain: Vec<u64> = waits[..9].iter().map(|(seconds, _)| *seconds).collect();
        assert_eq!(plain, [0, 0, 0, 0, 1, 2, 4, 8, 16]);
        assert!(waits[..9].iter().all(|(_, locked)| !locked));
        assert_eq!(waits[9..], [(900, true), (900, true)]);
        assert_eq!(wait(&throttle, "other", at(99), now), (0, false), "others are not concerned");
        throttle.succeeded(&name("admin"), at(1));
        throttle.failed(Some(&name("admin")), at(1), now);
        assert_eq!(wait(&throttle, "admin", at(1), now), (0, false), "it begins anew");
    }

    #[test]
    fn a_locked_name_is_let_in_by_an_administrator() {
        let mut throttle = Throttle::new(LoginRules::default());
        let now = Instant::now();
        (0..10).for_each(|_| throttle.failed(Some(&name("night")), at(1), now));
        throttle.forget(&name("other"));
        assert_eq!(wait(&throttle, "night", at(9), now), (900, true));
        throttle.forget(&name("night"));
        assert_eq!(wait(&throttle, "night", at(9), now), (0, false));
    }

    #[test]
    fn an_address_waits_whatever_names_it_tries_and_a_network_is_one() {
        let mut throttle = Throttle::new(LoginRules::default());
        let now = Instant::now();
        for attempt in 0..40 {
            throttle.failed(Some(&name(&format!("user-{attempt}"))), at(7), now);
        }
        assert_eq!(wait(&throttle, "another", at(7), now), (900, false));
        assert_eq!(wait(&throttle, "another", at(8), now), (0, false));
        let v6 = |text: &str| Peer::Network { address: text.parse().unwrap() };
        for attempt in 0..40 {
            throttle.failed(None, v6(&format!("2001:db8::{attempt}")), now);
        }
        assert!(wait(&throttle, "another", v6("2001:db8::ffff"), now).0 > 0);
        assert_eq!(wait(&throttle, "another", v6("2001:db8:0:1::1"), now).0, 0);
        assert_eq!(wait(&throttle, "another", Peer::Process, now).0, 0);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_who_failed_often_stays() {
        let mut throttle = Throttle::new(LoginRules::default());
        let now = Instant::now();
        for _ in 0..10 {
            throttle.failed(Some(&name("admin")), Peer::Process, now);
        }
        for attempt in 0..3 * MOST {
            throttle.failed(Some(&name(&format!("user-{attempt}"))), Peer::Process, now);
            assert!(throttle.counts.len() <= MOST);
        }
        assert!(wait(&throttle, "admin", Peer::Process, now).1);
        let later = now + REMEMBERED * 2;
        throttle.failed(Some(&name("admin")), Peer::Process, later);
        assert_eq!(wait(&throttle, "admin", Peer::Process, later), (0, false), "forgotten");
    }
}
