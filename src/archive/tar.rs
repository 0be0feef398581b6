//! TAR in the PAX form (POSIX.1-2001, `pax`, "pax Interchange Format"): a ustar header an entry, and before it a record
//! of what that can't hold.
//!
//! Names are the guest's bytes, in the header itself as far as they are ASCII or no UTF-8 at all (`hdrcharset`, which would
//! say so, makes GNU tar complain). Times have nanoseconds and may lie before 1970. Extended attributes are `SCHILY.xattr.NAME`, holes are GNU's sparse format 1.0: GNU tar, bsdtar and
//! Python read both.

use crate::{BLOCK, Content, Encode, Failure, Kind, Meta, Report, copy, parts_of};
use std::io::{self, Write};
use tar::{EntryType, Header};

/// What the octal fields of a ustar header hold: 7 digits for an owner, 11 for sizes and times.
const MAX_OWNER: u32 = 0o7_777_777;
const MAX_NUMBER: u64 = 0o77_777_777_777;
/// Bytes of a name, and of a link's target, in a header.
const NAME: usize = 100;

/// The encoder.
pub(crate) struct Tar<W: Write> {
    out: W,
}

/// The records that stand before a header.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
}

impl Records {
    /// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + digits(length) != length {
            length = rest + digits(length);
        }
        self.bytes.extend_from_slice(format!("{length} ").as_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.push(b'=');
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Seconds with their fraction, as decimal text.
fn time(at: (i64, u32)) -> String {
    let nanos = i128::from(at.0) * 1_000_000_000 + i128::from(at.1);
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, fraction) = (nanos.abs() / 1_000_000_000, nanos.abs() % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{fraction:09}").trim_end_matches('0').to_owned()
}

impl<W: Write> Tar<W> {
    /// An empty one.
    pub(crate) fn new(out: W) -> Self {
        Tar { out }
    }

    /// Writes the end: two empty blocks.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        Ok(self.out)
    }
}

/// A header, after the records of what does not fit into it. `size` is that of what follows it.
fn head<W: Write>(
    out: &mut W,
    path: &[u8],
    kind: Option<Kind<'_>>,
    meta: &Meta,
    size: u64,
    mut records: Records,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    let mut linked: &[u8] = &[];
    let entry_type = match kind {
        None => EntryType::Regular,
        Some(Kind::Folder) => EntryType::Directory,
        Some(Kind::Symlink(to)) => {
            linked = to;
            EntryType::Symlink
        }
        Some(Kind::HardLink(to)) => {
            linked = to;
            EntryType::Link
        }
        Some(Kind::CharDevice(major, minor)) => {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
            EntryType::Char
        }
        Some(Kind::BlockDevice(major, minor)) => {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
            EntryType::Block
        }
        Some(Kind::Fifo) => EntryType::Fifo,
    };
    header.set_entry_type(entry_type);
    let mut name = path.to_vec();
    if matches!(kind, Some(Kind::Folder)) {
        name.push(b'/');
    }
    let fits = |name: &[u8]| name.len() <= NAME && (name.is_ascii() || std::str::from_utf8(name).is_err());
    if !fits(&name) {
        records.add(b"path", &name);
    }
    if !fits(linked) {
        records.add(b"linkpath", linked);
    }
    header.set_mode(meta.mode & 0o7777);
    header.set_uid(meta.uid.min(MAX_OWNER).into());
    header.set_gid(meta.gid.min(MAX_OWNER).into());
    if meta.uid > MAX_OWNER {
        records.add(b"uid", meta.uid.to_string().as_bytes());
    }
    if meta.gid > MAX_OWNER {
        records.add(b"gid", meta.gid.to_string().as_bytes());
    }
    let seconds = u64::try_from(meta.modified.0).unwrap_or(0);
    header.set_mtime(seconds.min(MAX_NUMBER));
    if meta.modified.1 != 0 || meta.modified.0 < 0 || seconds > MAX_NUMBER {
        records.add(b"mtime", time(meta.modified).as_bytes());
    }
    records.add(b"atime", time(meta.accessed).as_bytes());
    header.set_size(size.min(MAX_NUMBER));
    if size > MAX_NUMBER {
        records.add(b"size", size.to_string().as_bytes());
    }
    for (key, value) in &meta.xattrs {
        records.add(&[b"SCHILY.xattr.", &key[..]].concat(), value);
    }
    if !records.bytes.is_empty() {
        let mut extension = Header::new_ustar();
        extension.set_entry_type(EntryType::XHeader);
        put(&mut extension.as_mut_bytes()[..NAME], b"PaxHeaders/entry");
        extension.set_mode(0o644);
        extension.set_uid(0);
        extension.set_gid(0);
        extension.set_mtime(0);
        extension.set_size(records.bytes.len() as u64);
        extension.set_cksum();
        out.write_all(extension.as_bytes())?;
        out.write_all(&records.bytes)?;
        pad(out, records.bytes.len() as u64)?;
    }
    let bytes = header.as_mut_bytes();
    put(&mut bytes[..NAME], &name);
    put(&mut bytes[157..157 + NAME], linked);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// As much as fits; the record before the header has the whole.
fn put(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

fn pad<W: Write>(out: &mut W, written: u64) -> io::Result<()> {
    let over = written % BLOCK;
    if over == 0 {
        return Ok(());
    }
    out.write_all(&[0; BLOCK as usize][..(BLOCK - over) as usize])
}

/// GNU's sparse map, format 1.0: how many parts, then offset and length of each, filled up to a block.
fn map(parts: &[(u64, u64)], size: u64) -> Vec<u8> {
    let ends_with_a_hole = parts.last().is_none_or(|&(start, length)| start + length < size);
    let mut text = format!("{}\n", parts.len() + usize::from(ends_with_a_hole));
    for (start, length) in parts {
        text.push_str(&format!("{start}\n{length}\n"));
    }
    if ends_with_a_hole {
        text.push_str(&format!("{size}\n0\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
    bytes
}

/// Names of attributes that a record can't hold, because it ends its key at the first `=`.
fn without_odd_attributes(meta: &Meta) -> Option<Meta> {
    let odd = |key: &[u8]| key.contains(&b'=') || key.contains(&0);
    meta.xattrs.iter().any(|(key, _)| odd(key)).then(|| {
        let mut meta = meta.clone();
        meta.xattrs.retain(|(key, _)| !odd(key));
        meta
    })
}

impl<W: Write> Encode for Tar<W> {
    fn entry(
        &mut self,
        path: &[u8],
        kind: Kind<'_>,
        meta: &Meta,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let fewer = without_odd_attributes(meta);
        if fewer.is_some() {
            report.left_out(path, "an extended attribute whose name has a = in it");
        }
        head(&mut self.out, path, Some(kind), fewer.as_ref().unwrap_or(meta), 0, Records::default())?;
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
        let fewer = without_odd_attributes(meta);
        if fewer.is_some() {
            report.left_out(path, "an extended attribute whose name has a = in it");
        }
        let meta = fewer.as_ref().unwrap_or(meta);
        let size = content.size();
        let mut written = size;
        match parts_of(content) {
            None => copy(content, &[(0, size)], buf, &mut self.out, &mut |out| {
                Ok(head(out, path, None, meta, size, Records::default())?)
            })?,
            Some(parts) => {
                let map = map(&parts, size);
                written = map.len() as u64 + parts.iter().map(|part| part.1).sum::<u64>();
                copy(content, &parts, buf, &mut self.out, &mut |out| {
                    let mut records = Records::default();
                    records.add(b"GNU.sparse.major", b"1");
                    records.add(b"GNU.sparse.minor", b"0");
                    records.add(b"GNU.sparse.name", path);
                    records.add(b"GNU.sparse.realsize", size.to_string().as_bytes());
                    // Who knows no sparse files finds the map and the data under this name.
                    let folder = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
                    let (above, name) = path.split_at(folder);
                    let plain = [above, b"GNUSparseFile.0/", name].concat();
                    head(out, &plain, None, meta, written, records)?;
                    Ok(out.write_all(&map)?)
                })?;
            }
        }
        Ok(pad(&mut self.out, written)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [0, 1, 5, 80, 85, 86, 87, 88, 89, 90, 91, 980, 985, 986, 987, 988, 989, 990, 9990] {
            let mut records = Records::default();
            records.add(b"key", &vec![b'x'; length]);
            let said = records.bytes.split(|&byte| byte == b' ').next().unwrap();
            let said: usize = std::str::from_utf8(said).unwrap().parse().unwrap();
            assert_eq!(said, records.bytes.len());
        }
    }

    #[test]
    fn times_are_decimal() {
        assert_eq!(time((5, 0)), "5");
        assert_eq!(time((5, 250_000_000)), "5.25");
        assert_eq!(time((-2, 500_000_000)), "-1.5");
        assert_eq!(time((-1, 1)), "-0.999999999");
    }

    #[test]
    fn a_map_tells_where_the_file_ends() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end_matches('\0').to_owned();
        assert_eq!(text(map(&[(5, 10)], 15)), "1\n5\n10\n");
        assert_eq!(text(map(&[(5, 10)], 99)), "2\n5\n10\n99\n0\n");
        assert_eq!(text(map(&[], 99)), "1\n99\n0\n");
        assert_eq!(map(&[], 99).len(), 512);
    }
}
