//! ZIP (PKWARE's APPNOTE 6.3), as a stream: sizes and checksum stand behind each file, and again in the directory at
//! the end. ZIP64 is used for files that may need it, and for the directory where it does.
//!
//! Times are those of DOS, taken as UTC, and exact to the second in the extended timestamp that Info-ZIP defined
//! (header 0x5455), as far as that reaches. Modes are kept without setuid, setgid and sticky bits; owners and extended
//! attributes are not. A symbolic link is a file whose content is where it leads to, as Info-ZIP does it.

use crate::{Content, DEFLATE_LEVEL, Encode, Failure, Kind, MAX_ZIP_ENTRIES, Meta, Report, copy, names};
use std::io::{self, Write};
use zip::result::ZipError;
use zip::write::{FullFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

/// A file of that size could need more than 32 bits for its size or, where it does not compress, its stored size.
const LARGE: u64 = 0xf000_0000;

/// The encoder.
pub(crate) struct Zip<W: Write> {
    zip: ZipWriter<StreamWriter<W>>,
    entries: u64,
}

impl<W: Write> Zip<W> {
    /// An empty one.
    pub(crate) fn new(out: W) -> Self {
        Zip { zip: ZipWriter::new_stream(out), entries: 0 }
    }

    /// Writes the directory.
    pub(crate) fn finish(self) -> Result<W, Failure> {
        Ok(self.zip.finish().map_err(into_io)?.into_inner())
    }

    fn count(&mut self) -> Result<(), Failure> {
        if self.entries >= MAX_ZIP_ENTRIES {
            let reason = format!(
                "a ZIP takes at most {MAX_ZIP_ENTRIES} files and folders here: a tar has no such limit"
            );
            return Err(Failure::Limit(reason));
        }
        self.entries += 1;
        Ok(())
    }
}

impl<W: Write> Encode for Zip<W> {
    fn entry(
        &mut self,
        path: &[u8],
        kind: Kind<'_>,
        meta: &Meta,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let name = names::for_zip(path);
        let written = match kind {
            Kind::Folder => {
                self.count()?;
                self.zip.add_directory(name.as_ref(), options(meta, 0)?)
            }
            Kind::Symlink(to) => {
                let to = std::str::from_utf8(to)
                    .map_err(|_| Failure::Entry("a ZIP can't hold a link to what is no UTF-8".to_owned()))?;
                self.count()?;
                self.zip.add_symlink(name.as_ref(), to, options(meta, 0)?)
            }
            Kind::HardLink(_) | Kind::CharDevice(..) | Kind::BlockDevice(..) | Kind::Fifo => {
                return Err(Failure::Entry("a ZIP has no such files".to_owned()));
            }
        };
        written.map_err(refused)?;
        note(path, &name, report);
        Ok(())
    }

    fn file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        content: &mut dyn Content,
        buf: &mut [u8],
        report: &mut Report,
    ) -> Result<(), Failure> {
        let name = names::for_zip(path);
        let size = content.size();
        self.count()?;
        copy(content, &[(0, size)], buf, &mut self.zip, &mut |zip| {
            zip.start_file(name.as_ref(), options(meta, size)?).map_err(refused)
        })?;
        note(path, &name, report);
        Ok(())
    }
}

fn note(path: &[u8], name: &str, report: &mut Report) {
    if name.as_bytes() != path {
        report.renamed(path, name);
    }
}

fn options(meta: &Meta, size: u64) -> Result<FullFileOptions<'static, 'static>, Failure> {
    let options = FullFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(i64::from(DEFLATE_LEVEL)))
        .last_modified_time(dos(meta.modified.0))
        .unix_permissions(meta.mode)
        .large_file(size >= LARGE);
    // A signed number of 32 bits, whatever its type here says.
    match u32::try_from(meta.modified.0).ok().filter(|&at| i32::try_from(at).is_ok()) {
        Some(at) => options.with_extended_timestamp(Some(at), None, None).map_err(refused),
        None => Ok(options),
    }
}

/// The time as DOS writes it; what lies outside of its years is shown as their end.
fn dos(seconds: i64) -> DateTime {
    let (first, last) = (315_532_800, 4_354_819_198);
    let at = jiff::Timestamp::from_second(seconds.clamp(first, last)).unwrap_or_default();
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let number = |value: i8| u8::try_from(value).unwrap_or_default();
    let year = u16::try_from(at.year()).unwrap_or(1980);
    let time = (number(at.hour()), number(at.minute()), number(at.second()));
    DateTime::from_date_and_time(year, number(at.month()), number(at.day()), time.0, time.1, time.2)
        .unwrap_or_default()
}

/// An entry that was refused before anything of it was written, or an output that failed.
fn refused(error: ZipError) -> Failure {
    match error {
        ZipError::Io(error) => Failure::Output(error),
        other => Failure::Entry(format!("a ZIP can't hold it: {other}")),
    }
}

fn into_io(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_of_dos_are_its_ends() {
        let shown = |seconds| {
            let at = dos(seconds);
            (at.year(), at.month(), at.day(), at.hour(), at.minute(), at.second())
        };
        assert_eq!(shown(i64::MIN), (1980, 1, 1, 0, 0, 0));
        assert_eq!(shown(-1), (1980, 1, 1, 0, 0, 0));
        assert_eq!(shown(1_760_000_000), (2025, 10, 9, 8, 53, 20));
        assert_eq!(shown(i64::MAX), (2107, 12, 31, 23, 59, 58));
    }
}
