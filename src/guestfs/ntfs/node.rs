//! What a file is to whoever lists it: Windows' reparse points, and the special files that Interix wrote.

use super::file::{File, SYSTEM};
use super::name::units;
use super::record::{kind, split};
use super::reparse::{self, Reparse};
use super::volume::{Volume, number};
use super::wof::Method;
use crate::{Error, Fields, FileKind, Result, wtf8};

/// The deepest folder that a link from the root is resolved for.
const MAX_DEPTH: usize = 1024;
/// The most bytes of a link's target.
const MAX_TARGET: usize = 65536;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nature {
    /// A folder that can be listed.
    Directory,
    /// A file that can be read.
    File,
    /// A symbolic link and its target.
    Link(Vec<u8>),
    /// A character or block device, a pipe, a socket; the numbers of a device.
    Special(FileKind, Option<(u32, u32)>),
    /// A file that the Windows Overlay Filter compressed.
    Compressed(Method),
    /// A file or folder whose content is made by a driver, which is named.
    Refused(FileKind, String),
}

impl Nature {
    /// As `stat` names it.
    pub fn kind(&self) -> FileKind {
        match self {
            Nature::Directory => FileKind::Directory,
            Nature::File | Nature::Compressed(_) => FileKind::File,
            Nature::Link(_) => FileKind::Symlink,
            Nature::Special(kind, _) | Nature::Refused(kind, _) => *kind,
        }
    }
}

impl Volume {
    /// What `file` is.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a link without a target, or why that can't be read.
    pub fn nature(&self, file: &File) -> Result<Nature> {
        let plain = if file.directory { FileKind::Directory } else { FileKind::File };
        if file.find(kind::REPARSE_POINT, &[]).is_some() {
            let bytes = self.whole(file, kind::REPARSE_POINT, reparse::MAX_BYTES)?;
            return Ok(match reparse::parse(&bytes)? {
                Reparse::Link(target) => Nature::Link(target),
                Reparse::FromRoot(target) => Nature::Link(self.without_root(file, target)?),
                Reparse::Fifo => Nature::Special(FileKind::Fifo, None),
                Reparse::Socket => Nature::Special(FileKind::Socket, None),
                Reparse::CharDevice => {
                    Nature::Special(FileKind::CharDevice, Some(self.device_numbers(file)?))
                }
                Reparse::BlockDevice => {
                    Nature::Special(FileKind::BlockDevice, Some(self.device_numbers(file)?))
                }
                Reparse::Compressed(method) if !file.directory => match file.find(kind::DATA, &[]) {
                    // Data of its own would be newer than what is compressed.
                    Some((_, data)) if !data.content.is_hole() => {
                        Nature::Refused(plain, "WOF compression of a file with data of its own".into())
                    }
                    _ => Nature::Compressed(method),
                },
                Reparse::Compressed(_) => Nature::Refused(plain, "WOF compression of a folder".into()),
                Reparse::Cloud if file.directory => Nature::Directory,
                Reparse::Cloud => Nature::Refused(plain, "a cloud placeholder (OneDrive)".into()),
                Reparse::Filtered(by) => Nature::Refused(plain, by),
            });
        }
        if file.directory {
            return Ok(Nature::Directory);
        }
        if file.standard.flags & SYSTEM != 0
            && let Some(special) = self.interix(file)?
        {
            return Ok(special);
        }
        Ok(Nature::File)
    }

    /// A link or device as Interix and ntfs-3g write them: a system file that begins with a mark.
    fn interix(&self, file: &File) -> Result<Option<Nature>> {
        let Some((index, data)) = file.find(kind::DATA, &[]) else { return Ok(None) };
        let size = data.content.size();
        if !(10..=8 + MAX_TARGET as u64).contains(&size) {
            return Ok(None);
        }
        let id = (file.number, index);
        let mut mark = [0; 8];
        // A system file that can't be read is a file all the same; reading it says why.
        if self.read(id, &data.content, 0, &mut mark).is_err() {
            return Ok(None);
        }
        let numbers = |bytes: &[u8]| -> Result<Option<(u32, u32)>> {
            let fields = Fields::new("an Interix device", bytes);
            Ok(u32::try_from(fields.le64(8)?).ok().zip(u32::try_from(fields.le64(16)?).ok()))
        };
        let special = match &mark {
            b"IntxLNK\x01" => {
                let bytes = self.read_all(id, &data.content, 8 + MAX_TARGET)?;
                Nature::Link(reparse::checked(wtf8::from_utf16(units(&bytes[8..])))?)
            }
            b"IntxCHR\0" | b"IntxBLK\0" if size == 24 => {
                let bytes = self.read_all(id, &data.content, 24)?;
                let kind = if mark[4] == b'C' { FileKind::CharDevice } else { FileKind::BlockDevice };
                match numbers(&bytes)? {
                    Some(numbers) => Nature::Special(kind, Some(numbers)),
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(special))
    }

    /// Major and minor number of a device of the Windows Subsystem for Linux.
    fn device_numbers(&self, file: &File) -> Result<(u32, u32)> {
        let bytes = self.whole(file, kind::EA, reparse::MAX_EA)?;
        let Some(value) = reparse::extended(&bytes, b"$LXDEV")? else {
            return Err(Error::corrupt("a Linux device", "it has no $LXDEV"));
        };
        let fields = Fields::new("$LXDEV", value);
        Ok((fields.le32(0)?, fields.le32(4)?))
    }

    /// A target from the root of this volume, as one from the link's own folder: wherever the volume stands, it leads to
    /// the same file.
    fn without_root(&self, file: &File, target: Vec<u8>) -> Result<Vec<u8>> {
        let name = || format!("the link of MFT record {}", file.number);
        let Some(first) = file.names.first() else { return Err(Error::corrupt(name(), "it has no name")) };
        let mut folder = split(first.parent).0;
        let mut path = Vec::new();
        let mut depth = 0;
        while folder != number::ROOT {
            depth += 1;
            if depth > MAX_DEPTH {
                return Err(Error::corrupt(name(), "its folders have no end"));
            }
            let parent = self.file(folder)?;
            let Some(next) = parent.names.first() else {
                return Err(Error::corrupt(name(), "one of its folders has no name"));
            };
            folder = split(next.parent).0;
            path.extend(b"../");
        }
        path.extend(target);
        if path.is_empty() {
            path.push(b'.');
        }
        Ok(path)
    }
}
