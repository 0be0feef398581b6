//! From what a person writes to the backup that is meant.
//!
//! An id, or a beginning of one that only one backup has, names a backup in any state. `latest` and days and
//! hours choose among restore points. Days and hours are those of the user's time zone: a day of a zone that
//! skips or repeats an hour has 23 or 25 of them.

use crate::{Error, Hub, Missing, Only, Result};
use api::AddressQuery;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::{Address, Backup, BackupId, Pick, VmName};

/// Candidates that are told where an address is ambiguous.
const CANDIDATES: u32 = 20;

impl Hub {
    /// The backup that an address means.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Ambiguous`] with the candidates; [`Error::Invalid`] where it is no
    /// address or the time zone is not known.
    pub async fn resolve(&self, query: &AddressQuery) -> Result<Backup> {
        self.resolve_among(query, None).await
    }

    /// [`resolve`](Hub::resolve) for a caller for whom only these VMs exist.
    ///
    /// # Errors
    /// The same; [`Error::Invalid`] where several VMs exist for the caller and the address names none.
    pub async fn resolve_among(&self, query: &AddressQuery, among: Only<'_>) -> Result<Backup> {
        let address: Address = query.address.parse().map_err(|error| Error::invalid("address", error))?;
        let only = query.vm_name.as_deref().map(VmName::new).transpose();
        let only = only.map_err(|error| Error::invalid("vm_name", error))?;
        let zone = match query.tz.as_deref() {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|error| Error::invalid("tz", error))?,
        };
        match address {
            Address::Prefix(text) => self.by_prefix(&text, only.as_ref(), among).await,
            Address::Of(vm, pick) => {
                let vm = vm.or(only);
                let vm = match (vm, among) {
                    (Some(vm), Some(among)) if !among.contains(&vm) => {
                        return Err(Error::missing(Missing::Vm, vm));
                    }
                    (None, Some([one])) => Some(one.clone()),
                    (None, Some(_)) => {
                        let reason = "name the VM, as in VM@latest: the token is for several";
                        return Err(Error::invalid("address", reason));
                    }
                    (vm, _) => vm,
                };
                if let Some(vm) = &vm {
                    self.vm_or_points(vm).await?;
                }
                let (since, until, back) = window(pick, &zone)?;
                let found = self.catalog().latest_point(vm.as_ref(), since, until, back).await?;
                found.ok_or_else(|| Error::missing(Missing::Backup, &query.address))
            }
        }
    }

    async fn by_prefix(&self, text: &str, only: Option<&VmName>, among: Only<'_>) -> Result<Backup> {
        let fits = |backup: &Backup| {
            only.is_none_or(|only| backup.vm_name == *only)
                && among.is_none_or(|among| among.contains(&backup.vm_name))
        };
        if let Ok(id) = BackupId::new(text)
            && let Some(found) = self.catalog().backup(&id).await?.filter(fits)
        {
            return Ok(found);
        }
        let mut found = self.catalog().backups_with_prefix(text, CANDIDATES).await?;
        found.retain(fits);
        match found.len() {
            0 => Err(Error::missing(Missing::Backup, text)),
            1 => Ok(found.swap_remove(0)),
            _ => Err(Error::Ambiguous {
                address: text.to_owned(),
                candidates: found.into_iter().map(|backup| backup.id).collect(),
            }),
        }
    }

    /// A VM that is neither registered nor has points is told as unknown, not as one without points.
    async fn vm_or_points(&self, name: &VmName) -> Result<()> {
        if self.catalog().vm_by_name(name).await?.is_some()
            || self.catalog().latest_point(Some(name), None, None, 0).await?.is_some()
        {
            return Ok(());
        }
        Err(Error::missing(Missing::Vm, name))
    }
}

/// From when, until when (both included), and how many to skip.
fn window(pick: Pick, zone: &TimeZone) -> Result<(Option<Timestamp>, Option<Timestamp>, u32)> {
    let nanosecond = SignedDuration::from_nanos(1);
    Ok(match pick {
        Pick::Latest(back) => (None, None, back),
        Pick::Day(day) => {
            let begin = moment(day.at(0, 0, 0, 0), zone)?;
            let next: Date = day.tomorrow().map_err(|error| Error::invalid("address", error))?;
            (Some(begin), Some(moment(next.at(0, 0, 0, 0), zone)? - nanosecond), 0)
        }
        Pick::At(time) => (None, Some(moment(time, zone)?), 0),
    })
}

fn moment(time: DateTime, zone: &TimeZone) -> Result<Timestamp> {
    let zoned = time.to_zoned(zone.clone()).map_err(|error| Error::invalid("address", error))?;
    Ok(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_the_users_day() {
        let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::fixed(jiff::tz::offset(2)));
        let (since, until, _) = window(Pick::Day("2025-10-06".parse().unwrap()), &zone).unwrap();
        assert_eq!(since.unwrap().to_string(), "2025-10-05T22:00:00Z");
        assert_eq!(until.unwrap().to_string(), "2025-10-06T21:59:59.999999999Z");
        let (since, until, back) = window(Pick::Latest(2), &zone).unwrap();
        assert_eq!((since, until, back), (None, None, 2));
        let (_, until, _) = window(Pick::At("2025-10-06T03:00:00".parse().unwrap()), &TimeZone::UTC).unwrap();
        assert_eq!(until.unwrap().to_string(), "2025-10-06T03:00:00Z");
    }
}
