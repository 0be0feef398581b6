//! An export as a block sink: the target of a restore.
//!
//! Zeros are asked for by `WRITE_ZEROES`, first with the demand to be fast where the server knows it, and
//! are written out where it knows neither. `TRIM` is never used: after it, a server may return anything.
//! `finish` flushes, so that what was written survives the server's end where the server can promise that.
//!
//! A lost connection ends a sink. What the server had taken but not flushed may be gone with it, and only
//! writing all of it again would help.

use crate::connect::Dialler;
use crate::error::errno;
use crate::handshake::Export;
use crate::pool::Pool;
use crate::wire::export_flag;
use crate::{Error, Interrupt, Options, Uri};
use block::{BlockSink, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Written out where the server knows no `WRITE_ZEROES`.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
/// Least granularity: the page size, below which writing is slow everywhere.
const PAGE: u64 = 4096;

/// A writable export.
pub struct NbdSink {
    name: String,
    size: u64,
    pool: Pool,
    flush_timeout: Duration,
    interrupt: Interrupt,
    /// What the server was found to refuse.
    no_fast_zeroes: AtomicBool,
    no_zeroes: AtomicBool,
}

impl NbdSink {
    /// Connects to the export that `uri` names, to write a disk of `size` bytes to it. An export that is
    /// larger keeps what it has behind the disk's end.
    ///
    /// # Errors
    /// [`block::Error::Peer`] where the export is read-only or too small; otherwise as for
    /// [`NbdSource::open`](crate::NbdSource::open).
    pub fn open(uri: &Uri, size: u64, options: &Options) -> Result<Self> {
        let name = uri.to_string();
        let pool = Dialler::new(uri, options.reply_timeout, &options.interrupt)
            .and_then(|dialler| Pool::open(dialler, options, Duration::ZERO))
            .map_err(|error| error.of(&name))?;
        let export = pool.export();
        let refuse = |reason| Err(block::Error::Peer { name: name.clone(), reason, transient: false });
        if export.has(export_flag::READ_ONLY) {
            return refuse("the export is read-only: serve it writable".to_owned());
        }
        if export.size < size {
            return refuse(format!("the export has {} bytes, the disk needs {size}", export.size));
        }
        let no_zeroes = !export.has(export_flag::SEND_WRITE_ZEROES);
        let no_fast_zeroes = no_zeroes || !export.has(export_flag::SEND_FAST_ZERO);
        Ok(NbdSink {
            size,
            flush_timeout: options.reply_timeout.saturating_mul(10),
            interrupt: options.interrupt.clone(),
            no_fast_zeroes: no_fast_zeroes.into(),
            no_zeroes: no_zeroes.into(),
            pool,
            name,
        })
    }

    /// The export's own size in bytes, at least the disk's.
    pub fn export_size(&self) -> u64 {
        self.export().size
    }

    /// What ends blocked calls from another thread: the one of the options.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    fn export(&self) -> &Export {
        self.pool.export()
    }

    fn unit(&self) -> u64 {
        u64::from(self.export().minimum_block)
    }

    fn check(&self, offset: u64, length: u64) -> Result<()> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let reason = match end {
            None => format!("bytes {offset} to +{length} are outside its {} bytes", self.size),
            Some(end)
                if !offset.is_multiple_of(self.unit())
                    || !(end == self.size || end.is_multiple_of(self.unit())) =>
            {
                format!("bytes {offset} to {end} do not lie on blocks of {}", self.unit())
            }
            Some(_) => return Ok(()),
        };
        Err(block::Error::Usage { name: self.name.clone(), reason })
    }

    /// The length from `offset` on that the server takes as it is. The rest, shorter than a block, is the
    /// end of a disk on an export whose blocks are not the disk's.
    fn whole_blocks(&self, offset: u64, length: u64) -> u64 {
        if offset + length == self.export().size { length } else { length - length % self.unit() }
    }

    /// Writes less than a block: what the export has behind it stays.
    fn write_part(&self, data: &[u8], offset: u64) -> crate::Result<()> {
        let end = (offset + self.unit()).min(self.export().size);
        let mut bytes = vec![0; usize::try_from(end - offset).unwrap_or_default()];
        self.pool.with(|link| {
            link.read(&mut bytes, offset)?;
            match bytes.get_mut(..data.len()) {
                Some(part) => part.copy_from_slice(data),
                None => return Err(Error::Unfit("a part of a block that is longer than the block".into())),
            }
            link.write(&bytes, offset)
        })
    }

    fn write(&self, data: &[u8], offset: u64) -> crate::Result<()> {
        let whole = usize::try_from(self.whole_blocks(offset, data.len() as u64)).unwrap_or_default();
        let (blocks, part) = data.split_at(whole.min(data.len()));
        if !blocks.is_empty() {
            self.pool.with(|link| link.write(blocks, offset))?;
        }
        if !part.is_empty() {
            self.write_part(part, offset + blocks.len() as u64)?;
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, length: u64) -> crate::Result<()> {
        let whole = self.whole_blocks(offset, length);
        self.zero_blocks(offset, whole)?;
        let part = usize::try_from(length - whole).unwrap_or_default();
        match ZEROES.get(..part) {
            Some(zeroes) if part > 0 => self.write_part(zeroes, offset + whole),
            _ => Ok(()),
        }
    }

    fn zero_blocks(&self, offset: u64, length: u64) -> crate::Result<()> {
        let refused =
            |error: &Error| matches!(error, Error::Request { code: errno::ENOTSUP | errno::EINVAL, .. });
        for (fast, known) in [(true, &self.no_fast_zeroes), (false, &self.no_zeroes)] {
            if known.load(Ordering::Relaxed) {
                continue;
            }
            match self.pool.with(|link| link.write_zeroes(offset, length, fast)) {
                Err(error) if refused(&error) => {
                    tracing::debug!(%error, fast, name = self.name, "WRITE_ZEROES is refused");
                    known.store(true, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        let mut done = 0;
        while done < length {
            let now = (length - done).min(ZEROES.len() as u64);
            let zeroes = ZEROES.get(..usize::try_from(now).unwrap_or_default()).unwrap_or_default();
            self.pool.with(|link| link.write(zeroes, offset + done))?;
            done += now;
        }
        Ok(())
    }
}

impl BlockSink for NbdSink {
    fn size(&self) -> u64 {
        self.size
    }

    fn granularity(&self) -> u64 {
        self.unit().max(PAGE)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.check(offset, data.len() as u64)?;
        self.write(data, offset).map_err(|error| error.at("write", &self.name, offset))
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.check(offset, length)?;
        self.write_zeroes(offset, length).map_err(|error| error.at("zero", &self.name, offset))
    }

    fn settled(&self, _offset: u64) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        if !self.export().has(export_flag::SEND_FLUSH) {
            tracing::debug!(name = self.name, "the server knows no flush");
            return Ok(());
        }
        // One flush is for all connections: more than one are used only where the server promised that.
        let flush = self.pool.with(|link| {
            link.stream().socket().relax(self.flush_timeout).map_err(Error::Lost)?;
            link.flush()
        });
        flush.map_err(|error| error.at("flush", &self.name, 0))
    }
}
