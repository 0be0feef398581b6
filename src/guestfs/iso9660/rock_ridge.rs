//! Rock Ridge: what a POSIX file system has, in system use entries (IEEE P1282).

use super::both::both32;
use super::susp;
use super::time;
use crate::pages::Pages;
use crate::{Error, Fields, FileKind, Result, Timestamp};

/// The longest name that is put together, in bytes.
const MAX_NAME: usize = 1024;

/// The longest target of a link, in bytes.
const MAX_TARGET: usize = 65536;

/// What the entries of a record say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RockRidge {
    /// `NM`.
    pub(super) name: Option<Vec<u8>>,
    /// `PX`.
    pub(super) posix: Option<Posix>,
    /// `PN`.
    pub(super) device: Option<(u32, u32)>,
    /// `SL`.
    pub(super) target: Option<Vec<u8>>,
    /// Why the target of the link is not whole: only who asks for the link has to know. Programs exist that write
    /// long ones wrong.
    pub(super) target_damage: Option<String>,
    /// `TF`: creation, change of content, access, change of attributes.
    pub(super) times: [Option<Timestamp>; 4],
    /// `CL`: the block of the folder that belongs here, and lies elsewhere because it would be too deep.
    pub(super) child: Option<u32>,
    /// `RE`: lies here only for that.
    pub(super) relocated: bool,
    /// `ER`: an extension of the protocol is named, which on every disc that is known is Rock Ridge.
    pub(super) extended: bool,
    /// `ZF`: compressed.
    pub(super) zisofs: Option<Zisofs>,
    /// A form of the data that nothing here decodes.
    pub(super) undecoded: Option<&'static str>,
}

/// `PX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posix {
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Posix {
    /// What the mode says it is; `None` where that is nothing.
    pub(super) fn kind(&self) -> Option<FileKind> {
        Some(match self.mode & 0o170_000 {
            0o100_000 => FileKind::File,
            0o040_000 => FileKind::Directory,
            0o120_000 => FileKind::Symlink,
            0o020_000 => FileKind::CharDevice,
            0o060_000 => FileKind::BlockDevice,
            0o010_000 => FileKind::Fifo,
            0o140_000 => FileKind::Socket,
            _ => return None,
        })
    }
}

/// `ZF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zisofs {
    /// Bytes of the header, which the file has too.
    pub(super) header: u32,
    /// Two to this is a block.
    pub(super) block_shift: u8,
    /// Bytes of the file when it is decoded.
    pub(super) size: u32,
}

/// The target of a link, which is put together of components.
#[derive(Default)]
struct Target {
    path: Vec<u8>,
    /// Whether a slash belongs before the next component.
    slash: bool,
}

impl Target {
    fn push(&mut self, fields: &Fields<'_>) -> Result<()> {
        let mut at = 5;
        while at + 2 <= fields.len() {
            let (flags, length) = (fields.u8(at)?, usize::from(fields.u8(at + 1)?));
            let text = fields.bytes(at + 2, length)?;
            at += 2 + length;
            if self.slash {
                self.path.push(b'/');
            }
            match flags & !1 {
                0 => self.path.extend_from_slice(text),
                2 => self.path.push(b'.'),
                4 => self.path.extend_from_slice(b".."),
                8 => self.path.push(b'/'),
                _ => return Err(Error::unsupported(format!("a link's component of type {flags:#x}"))),
            }
            // Continued components have no slash behind them, and the root is one.
            self.slash = flags & 1 == 0 && flags & 8 == 0;
            if self.path.len() > MAX_TARGET {
                return Err(fields.corrupt(format!("a link to more than {MAX_TARGET} bytes")));
            }
        }
        Ok(())
    }
}

impl RockRidge {
    /// Reads the entries of a record.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`], [`Error::Io`].
    pub(super) fn read(disc: &Pages, block_size: u32, system_use: &[u8]) -> Result<RockRidge> {
        let mut found = RockRidge::default();
        let mut name: Option<Vec<u8>> = None;
        let mut target: Option<Target> = None;
        susp::entries(disc, block_size, system_use, &mut |signature, fields| {
            match &signature {
                // Flags for `.`, `..` and the host's name are no name.
                b"NM" if fields.u8(4)? & !1 == 0 => {
                    let name = name.get_or_insert_default();
                    name.extend_from_slice(fields.bytes(5, fields.len() - 5)?);
                    if name.len() > MAX_NAME {
                        return Err(fields.corrupt(format!("a name of more than {MAX_NAME} bytes")));
                    }
                }
                b"PX" => {
                    let [mode, links, uid, gid] = [4, 12, 20, 28].map(|at| both32(&fields, at));
                    found.posix = Some(Posix { mode: mode?, links: links?, uid: uid?, gid: gid? });
                }
                b"PN" => {
                    let (high, low) = (both32(&fields, 4)?, both32(&fields, 12)?);
                    // Programs on Linux write the number of the device as it is there, twelve bits of major number
                    // between the lower eight and the other bits of the minor one.
                    let whole = high == 0 && low > 0xFF;
                    let linux = (low >> 8 & 0xFFF, low & 0xFF | low >> 12 & 0xF_FF00);
                    found.device = Some(if whole { linux } else { (high, low) });
                }
                b"SL" => {
                    if let Err(error) = target.get_or_insert_default().push(&fields) {
                        found.target_damage.get_or_insert(error.to_string());
                    }
                }
                b"TF" => found.times(&fields)?,
                b"CL" => found.child = Some(both32(&fields, 4)?),
                b"RE" => found.relocated = true,
                b"ER" => found.extended = true,
                b"SF" => found.undecoded = Some("a sparse file of Rock Ridge"),
                b"ZF" => match fields.bytes(4, 2)? {
                    b"pz" => {
                        found.zisofs = Some(Zisofs {
                            header: u32::from(fields.u8(6)?) * 4,
                            block_shift: fields.u8(7)?,
                            size: both32(&fields, 8)?,
                        });
                    }
                    _ => found.undecoded = Some("another compression than zisofs 1"),
                },
                _ => {}
            }
            Ok(())
        })?;
        found.name = name.filter(|name| !name.is_empty());
        found.target = target.map(|target| target.path).filter(|path| !path.is_empty());
        Ok(found)
    }

    fn times(&mut self, fields: &Fields<'_>) -> Result<()> {
        let flags = fields.u8(4)?;
        let mut at = 5;
        // Behind these four come backup, expiration and effect.
        for (bit, time) in self.times.iter_mut().enumerate() {
            if flags & 1 << bit == 0 {
                continue;
            }
            if flags & 0x80 != 0 {
                *time = time::long(fields.array(at)?);
                at += 17;
            } else {
                *time = Some(time::short(fields.array(at)?));
                at += 7;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;
    use std::sync::Arc;

    fn read(area: &[u8]) -> Result<RockRidge> {
        let pages = Pages::new(Arc::new(MemoryDevice(vec![0; 4096])), 0, 4096, 2048, 1 << 16);
        RockRidge::read(&pages, 2048, area)
    }

    #[test]
    fn links_are_put_together() {
        for (area, target) in [
            (&b"SL\x0C\x01\0\0\x05hello"[..], "hello"),
            (b"SL\x0E\x01\0\x08\0\0\x01a\0\x02bc", "/a/bc"),
            (b"SL\x0C\x01\0\x04\0\x02\0\0\x01x", ".././x"),
            (b"SL\x09\x01\x01\x01\x02abSL\x09\x01\0\0\x02cd", "abcd"),
            (b"SL\x09\x01\x01\0\x02abSL\x09\x01\0\0\x02cd", "ab/cd"),
            (b"SL\x07\x01\x01\x08\0SL\x08\x01\0\0\x01c", "/c"),
        ] {
            assert_eq!(String::from_utf8(read(area).unwrap().target.unwrap()).unwrap(), target);
        }
        assert!(read(b"SL\x07\x01\0\x20\0").unwrap().target_damage.unwrap().contains("0x20"));
        assert!(read(b"SL\x09\x01\0\0\x09ab").unwrap().target_damage.is_some());
    }

    #[test]
    fn names_times_and_numbers() {
        let area = [
            &b"NM\x07\x01\x01abNM\x07\x01\0cd"[..],
            b"TF\x13\x01\x0A\x46\x01\x01\0\0\x07\0\x46\x01\x01\0\0\x09\0",
            b"PN\x14\x01\0\0\0\0\0\0\0\0\x01\x08\0\0\0\0\x08\x01",
            b"RE\x04\x01",
        ]
        .concat();
        let found = read(&area).unwrap();
        assert_eq!(found.name.as_deref(), Some(&b"abcd"[..]));
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        assert_eq!(found.times, [None, at(7), None, at(9)]);
        assert_eq!(found.device, Some((8, 1)));
        assert!(found.relocated);
        assert_eq!(read(b"NM\x05\x01\x02").unwrap().name, None);
        assert!(read(b"NM\x04\x01").is_err());
        assert!(read(b"PX\x08\x01\0\0\0\0").is_err());
    }
}
