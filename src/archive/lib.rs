//! Archives as streams: ZIP and TAR, written once from front to back.
//!
//! An [`Archive`] takes entries in the order in which they are to stand in it, and writes to whatever takes bytes: a
//! file, a pipe, the body of an HTTP answer. Files are read as they are written, so memory does not grow with their
//! size; a ZIP keeps its directory until the end, which is some hundred bytes an entry ([`MAX_ZIP_ENTRIES`]).
//!
//! - A file is read some way ([`AHEAD`]) before anything of it is written. Where that fails, it is left out and the
//!   archive goes on; where it fails later, the archive can't go on ([`Failure::Cut`]), because no form of archive can
//!   say that half of a file is missing.
//! - What is left out, and what has another name than in the guest, is told in a last entry, the [`Report`].
//! - An archive that is dropped before [`finish`](Archive::finish) writes nothing more: what came out has no end, and
//!   every reader refuses it (a plain TAR excepted, which has no checksum: whoever carries it must tell).
//! - No name leads out of the folder where the archive is unpacked ([`names`]).
//!
//! Not here: where files come from, what is chosen, who waits for the bytes.

mod gate;
pub mod names;
mod report;
mod tar;
mod zip;

pub use report::{MAX_REPORTED, REPORT, Report};

use flate2::write::GzEncoder;
use gate::Gate;
use std::io::{self, Write};
use std::str::FromStr;

/// Bytes of a file that are read before anything of it is written.
pub const AHEAD: usize = 1 << 20;
/// How many entries a ZIP has at most: its directory is held in memory, about 500 bytes an entry.
pub const MAX_ZIP_ENTRIES: u64 = 1 << 20;
/// What a TAR is made of.
const BLOCK: u64 = 512;
/// A file whose holes are smaller together is stored as if it had none.
const WORTH_HOLES: u64 = 1 << 20;
/// Faster than the usual 6 by half, and larger by a few percent.
const DEFLATE_LEVEL: u32 = 4;
/// Its usual level, which is faster than disks are.
const ZSTD_LEVEL: i32 = 3;

/// A form of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// ZIP with deflate, ZIP64 where it is needed.
    Zip,
    /// TAR in the PAX form of POSIX.
    Tar,
    /// The same in gzip.
    TarGz,
    /// The same in Zstandard.
    TarZst,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 4] = [Format::Zip, Format::Tar, Format::TarGz, Format::TarZst];

    /// Its word, which is the usual extension too.
    pub fn word(self) -> &'static str {
        match self {
            Format::Zip => "zip",
            Format::Tar => "tar",
            Format::TarGz => "tar.gz",
            Format::TarZst => "tar.zst",
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Zip => "application/zip",
            Format::Tar => "application/x-tar",
            Format::TarGz => "application/gzip",
            Format::TarZst => "application/zstd",
        }
    }

    /// Whether another name of a file is stored as that; otherwise its content is stored once more.
    pub fn has_hard_links(self) -> bool {
        self != Format::Zip
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Format::ALL.into_iter().find(|format| format.word() == word);
        known.ok_or_else(|| {
            format!("there is no archive format {word}: there are zip, tar, tar.gz and tar.zst")
        })
    }
}

/// What a file or folder is like, besides its name and content.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    /// The twelve permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Last change of the content: seconds since 1970 rounded down, and nanoseconds.
    pub modified: (i64, u32),
    /// Last access.
    pub accessed: (i64, u32),
    /// Extended attributes: whole names and values. A ZIP has none.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry without content is.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// A folder.
    Folder,
    /// A symbolic link, to that.
    Symlink(&'a [u8]),
    /// Another name of the entry of that path. Only where the format [has them](Format::has_hard_links).
    HardLink(&'a [u8]),
    /// A character device: major and minor number. A ZIP takes no devices and pipes.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// The content of a regular file.
pub trait Content {
    /// How many bytes it has.
    fn size(&self) -> u64;

    /// The parts that hold data, in their order, as (offset, length): what is between reads as zeros.
    fn data(&self) -> &[(u64, u64)];

    /// Fills `buf` from byte `offset`.
    ///
    /// # Errors
    /// Why it can't be read, for a person.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), String>;
}

/// Why an entry is not in the archive.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing of it was written: it is left out, and the archive goes on.
    #[error("{0}")]
    Entry(String),
    /// It was written in part: the archive can't go on.
    #[error("{0}")]
    Cut(String),
    /// The form takes no more: the archive can't go on.
    #[error("{0}")]
    Limit(String),
    /// Nobody takes the archive any more.
    #[error("the archive could not be written: {0}")]
    Output(#[from] io::Error),
}

/// An archive on its way.
pub struct Archive<W: Write> {
    encoder: Option<Encoder<W>>,
    gate: gate::Closer,
    buf: Vec<u8>,
    report: Report,
}

enum Encoder<W: Write> {
    Zip(Box<zip::Zip<Gate<W>>>),
    Tar(tar::Tar<Gate<W>>),
    TarGz(tar::Tar<GzEncoder<Gate<W>>>),
    TarZst(tar::Tar<zstd::Encoder<'static, Gate<W>>>),
}

/// What both forms do.
trait Encode {
    fn entry(&mut self, path: &[u8], kind: Kind<'_>, meta: &Meta, report: &mut Report)
    -> Result<(), Failure>;

    /// `buf` is what the content is read into.
    fn file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        content: &mut dyn Content,
        buf: &mut [u8],
        report: &mut Report,
    ) -> Result<(), Failure>;
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    ///
    /// # Errors
    /// Where there is no memory for the compression.
    pub fn new(format: Format, out: W) -> io::Result<Self> {
        let (gate, closer) = gate::new(out);
        let encoder = match format {
            Format::Zip => Encoder::Zip(Box::new(zip::Zip::new(gate))),
            Format::Tar => Encoder::Tar(tar::Tar::new(gate)),
            Format::TarGz => {
                Encoder::TarGz(tar::Tar::new(GzEncoder::new(gate, flate2::Compression::new(DEFLATE_LEVEL))))
            }
            Format::TarZst => {
                let mut zstd = zstd::Encoder::new(gate, ZSTD_LEVEL)?;
                zstd.include_checksum(true)?;
                Encoder::TarZst(tar::Tar::new(zstd))
            }
        };
        Ok(Archive { encoder: Some(encoder), gate: closer, buf: vec![0; AHEAD], report: Report::default() })
    }

    /// Adds what has no content. `path` is relative, with `/` between its components.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn entry(&mut self, path: &[u8], kind: Kind<'_>, meta: &Meta) -> Result<(), Failure> {
        names::check(path).map_err(Failure::Entry)?;
        if let Kind::HardLink(to) = kind {
            names::check(to).map_err(Failure::Entry)?;
        }
        let (encoder, _, report) = self.parts()?;
        encoder.entry(path, kind, meta, report)
    }

    /// Adds a regular file, reading it as it is written.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn file(&mut self, path: &[u8], meta: &Meta, content: &mut dyn Content) -> Result<(), Failure> {
        names::check(path).map_err(Failure::Entry)?;
        let (encoder, buf, report) = self.parts()?;
        encoder.file(path, meta, content, buf, report)
    }

    /// Notes that something is not in the archive.
    pub fn left_out(&mut self, path: &[u8], why: &str) {
        self.report.left_out(path, why);
    }

    /// Writes the report, where there is anything to tell, and the end. `report_at` is the path of the report.
    ///
    /// # Errors
    /// Where the rest can't be written.
    pub fn finish(mut self, report_at: &str) -> Result<W, Failure> {
        if let Some(text) = self.report.text() {
            let mut content = report::Text::new(text);
            let meta =
                Meta { mode: 0o644, modified: report::now(), accessed: report::now(), ..Meta::default() };
            self.file(report_at.as_bytes(), &meta, &mut content)?;
        }
        let encoder = self.encoder.take().ok_or_else(ended)?;
        let gate = match encoder {
            Encoder::Zip(zip) => zip.finish()?,
            Encoder::Tar(tar) => tar.finish()?,
            Encoder::TarGz(tar) => tar.finish()?.finish()?,
            Encoder::TarZst(tar) => tar.finish()?.finish()?,
        };
        let mut out = gate.into_inner();
        out.flush()?;
        Ok(out)
    }

    fn parts(&mut self) -> Result<(&mut dyn Encode, &mut [u8], &mut Report), Failure> {
        let encoder: &mut dyn Encode = match self.encoder.as_mut().ok_or_else(ended)? {
            Encoder::Zip(zip) => &mut **zip,
            Encoder::Tar(tar) => tar,
            Encoder::TarGz(tar) => tar,
            Encoder::TarZst(tar) => tar,
        };
        Ok((encoder, &mut self.buf, &mut self.report))
    }
}

impl<W: Write> Drop for Archive<W> {
    fn drop(&mut self) {
        // Encoders write an end when they are dropped, and half of an archive must not have one.
        self.gate.close();
    }
}

fn ended() -> Failure {
    Failure::Output(io::Error::other("the archive has ended"))
}

/// The parts of a file that hold data, where there are holes worth it. All but one at the end of the file are whole blocks
/// long: GNU tar takes each part from a block of its own, others take them as they follow each other.
fn parts_of(content: &dyn Content) -> Option<Vec<(u64, u64)>> {
    let size = content.size();
    let mut parts: Vec<(u64, u64)> = Vec::new();
    let mut before = 0;
    for &(start, length) in content.data() {
        // What a damaged map says is not trusted: then all of it is read.
        let end = start.checked_add(length).filter(|&end| start >= before && length > 0 && end <= size)?;
        before = end;
        match parts.last_mut() {
            Some((from, held)) if start <= *from + *held => *held = (end - *from).next_multiple_of(BLOCK),
            _ => parts.push((start, length.next_multiple_of(BLOCK))),
        }
        if let Some((from, held)) = parts.last_mut() {
            *held = (*held).min(size - *from);
        }
    }
    let held: u64 = parts.iter().map(|part| part.1).sum();
    (size - held >= WORTH_HOLES).then_some(parts)
}

/// Writes the parts of a file; `begin` writes what comes before its first byte, once its beginning could be read.
fn copy<W: Write>(
    content: &mut dyn Content,
    parts: &[(u64, u64)],
    buf: &mut [u8],
    out: &mut W,
    begin: &mut dyn FnMut(&mut W) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut begun = false;
    for &(start, length) in parts {
        let mut at = start;
        let end = start + length;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(buf.len());
            let part = &mut buf[..count];
            content.read_at(at, part).map_err(if begun { Failure::Cut } else { Failure::Entry })?;
            if !begun {
                begin(out)?;
                begun = true;
            }
            out.write_all(part)?;
            at += count as u64;
        }
    }
    if begun { Ok(()) } else { begin(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Map(u64, Vec<(u64, u64)>);

    impl Content for Map {
        fn size(&self) -> u64 {
            self.0
        }

        fn data(&self) -> &[(u64, u64)] {
            &self.1
        }

        fn read_at(&mut self, _: u64, _: &mut [u8]) -> Result<(), String> {
            Err("nothing is read".to_owned())
        }
    }

    #[test]
    fn parts_are_blocks_and_a_map_is_not_believed() {
        let size = 4 << 20;
        let of = |data: &[(u64, u64)]| parts_of(&Map(size, data.to_vec()));
        assert_eq!(of(&[(5, 10), (1000, 24)]), Some(vec![(5, 512), (1000, 512)]));
        assert_eq!(of(&[(5, 10), (100, 1), (517, 600)]), Some(vec![(5, 1536)]));
        assert_eq!(of(&[(size - 5, 5)]), Some(vec![(size - 5, 5)]), "the end of the file is the end");
        assert_eq!(of(&[]), Some(vec![]));
        assert_eq!(of(&[(0, size)]), None, "no holes");
        for damaged in
            [&[(10, 0)][..], &[(9, 9), (0, 1)], &[(size, 1)], &[(u64::MAX, 2)], &[(0, 10), (5, 10)]]
        {
            assert_eq!(of(damaged), None, "{damaged:?}");
        }
    }
}
