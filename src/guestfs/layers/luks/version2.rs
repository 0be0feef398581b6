//! The header of LUKS2: a binary part with a checksum, twice, and JSON behind each (*LUKS2 On-Disk Format Specification*,
//! version 1.1.1).

use super::cipher;
use super::derive::Derivation;
use super::hash::Hash;
use super::opened::{Encryption, Opened, Segment};
use super::slot::{Proof, Slot};
use super::version1::text;
use crate::device::{self, Device, ReadAt};
use crate::{Error, Fields, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::sync::Arc;

/// The sizes that the specification allows, and thereby the places of the second header.
const SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];
/// Bytes of the binary part.
const BINARY: usize = 4096;
/// Slots, segments and digests: cryptsetup has 32 slots at most.
const MAX_OBJECTS: usize = 64;

/// A header of LUKS2.
#[derive(Debug)]
pub struct Header {
    /// The container's identity.
    pub uuid: String,
    sequence: u64,
    json: Value,
}

/// The better of both headers; an error where both are damaged.
///
/// # Errors
/// [`Error::Corrupt`] where neither is whole; those of the reader below.
pub fn read(device: &dyn ReadAt) -> Result<Header> {
    let first = copy(device, 0, b"LUKS\xba\xbe");
    let at = match &first {
        Ok((_, size)) => vec![*size],
        Err(Error::Io { .. }) => return first.map(|(header, _)| header),
        Err(_) => SIZES.to_vec(),
    };
    let mut best = first.map(|(header, _)| header);
    for offset in at {
        if let Ok((second, _)) = copy(device, offset, b"SKUL\xba\xbe")
            && best.as_ref().map_or(true, |best| second.sequence > best.sequence)
        {
            best = Ok(second);
        }
    }
    best
}

/// Looks for the second header of a container whose first one is gone.
///
/// # Errors
/// Those of the reader below.
pub fn second_alone(device: &dyn ReadAt) -> Result<Option<Header>> {
    for offset in SIZES {
        if offset + BINARY as u64 > device.size() {
            break;
        }
        match copy(device, offset, b"SKUL\xba\xbe") {
            Ok((header, _)) => return Ok(Some(header)),
            Err(Error::Io { offset, source }) => return Err(Error::Io { offset, source }),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// One copy of the header, with its size.
fn copy(device: &dyn ReadAt, offset: u64, magic: &[u8; 6]) -> Result<(Header, u64)> {
    let mut bytes = device::read_vec(device, offset, BINARY)?;
    let fields = Fields::new("the LUKS2 header", &bytes);
    if fields.bytes(0, 6)? != magic || fields.be16(6)? != 2 {
        return Err(fields.corrupt("it does not begin with its magic number"));
    }
    let size = fields.be64(8)?;
    if !SIZES.contains(&size) || fields.be64(256)? != offset {
        return Err(fields.corrupt("its size or place is impossible"));
    }
    let (sequence, uuid) = (fields.be64(16)?, text(fields.bytes(168, 40)?));
    let hash = Hash::named(&text(fields.bytes(72, 32)?)).map_err(Error::Unsupported)?;
    let expected = fields.bytes(448, hash.length())?.to_vec();
    bytes[448..512].fill(0);
    let json = device::read_vec(device, offset + BINARY as u64, size as usize - BINARY)?;
    if hash.digest(&[&bytes, &json]) != expected {
        return Err(Error::corrupt("the LUKS2 header", "its checksum does not match"));
    }
    let end = json.iter().position(|&byte| byte == 0).unwrap_or(json.len());
    let json = serde_json::from_slice(&json[..end])
        .map_err(|error| Error::corrupt("the LUKS2 header", format!("its JSON: {error}")))?;
    Ok((Header { uuid, sequence, json }, size))
}

type Told<T> = std::result::Result<T, String>;

/// The member `key`, as the string that it must be.
fn string<'a>(value: &'a Value, key: &str) -> Told<&'a str> {
    value[key].as_str().ok_or_else(|| format!("its header has no {key}"))
}

/// The member `key`: a number, or one in a string, as 64-bit numbers are written.
fn number(value: &Value, key: &str) -> Told<u64> {
    let value = &value[key];
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| format!("its header has no {key}"))
}

fn bytes(value: &Value, key: &str) -> Told<Vec<u8>> {
    BASE64_STANDARD.decode(string(value, key)?).map_err(|_| format!("the {key} of its header is damaged"))
}

/// The members of the object `key`, in the order of their numbers.
fn objects<'a>(value: &'a Value, key: &str) -> Told<Vec<(&'a str, &'a Value)>> {
    let object = value[key].as_object().ok_or_else(|| format!("its header has no {key}"))?;
    if object.len() > MAX_OBJECTS {
        return Err(format!("its header has more than {MAX_OBJECTS} {key}"));
    }
    let mut all: Vec<(&str, &Value)> = object.iter().map(|(name, value)| (name.as_str(), value)).collect();
    all.sort_by_key(|(name, _)| name.parse::<u64>().unwrap_or(u64::MAX));
    Ok(all)
}

fn names(value: &Value, name: &str) -> bool {
    value.as_array().is_some_and(|names| names.iter().any(|found| found.as_str() == Some(name)))
}

impl Header {
    /// Opens the container with the first of `keys` that fits.
    ///
    /// # Errors
    /// Why none opens it, in a sentence.
    pub fn unlock(&self, device: &Device, keys: &[Vec<u8>]) -> Told<Device> {
        let requirements = self.json["config"]["requirements"]["mandatory"].as_array();
        if let Some(first) = requirements.and_then(|requirements| requirements.first()) {
            let name = first.as_str().unwrap_or("something unknown");
            return Err(match name.contains("reencrypt") {
                true => "it is being reencrypted".into(),
                false => format!("it requires {name}, which is not supported"),
            });
        }
        let mut segments = Vec::new();
        let mut start = 0u64;
        let mut opened: Vec<(&Value, zeroize::Zeroizing<Vec<u8>>)> = Vec::new();
        for (name, value) in objects(&self.json, "segments")? {
            if value["flags"].as_array().is_some_and(|flags| !flags.is_empty()) {
                return Err("it is being reencrypted".into());
            }
            let (offset, length) = place(value, device.size())?;
            let encryption = match string(value, "type")? {
                "linear" => None,
                "crypt" => {
                    let spec = string(value, "encryption")?;
                    let sector = number(value, "sector_size")?;
                    if !matches!(sector, 512 | 1024 | 2048 | 4096) || !length.is_multiple_of(sector) {
                        return Err(format!("sectors of {sector} bytes are not supported"));
                    }
                    if let Some(integrity) = value.get("integrity") {
                        let kind = integrity["type"].as_str().unwrap_or("of an unknown type");
                        return Err(format!("integrity protection ({kind}) is not supported"));
                    }
                    let digest = self.digest(name)?;
                    let key = match opened.iter().find(|(known, _)| *known == digest) {
                        Some((_, key)) => key.clone(),
                        None => self.key(device, keys, digest, spec)?,
                    };
                    let sectors = cipher::new(spec, &key)?;
                    opened.push((digest, key));
                    Some(Encryption { sectors, sector, first: number(value, "iv_tweak")? })
                }
                other => return Err(format!("a segment of the type {other} is not supported")),
            };
            segments.push(Segment { start, length, offset, encryption });
            start = start.checked_add(length).ok_or("its segments are impossibly large")?;
        }
        if segments.iter().all(|segment| segment.encryption.is_none()) {
            return Err("it has no encrypted segment".into());
        }
        Ok(Arc::new(Opened::new(device.clone(), segments)))
    }

    /// The digest that proves the key of the segment `name`.
    fn digest(&self, name: &str) -> Told<&Value> {
        let digests = objects(&self.json, "digests")?;
        let digest = digests.into_iter().find(|(_, digest)| names(&digest["segments"], name));
        Ok(digest.ok_or("no key belongs to a segment of it")?.1)
    }

    /// The volume key that `digest` proves.
    fn key(
        &self,
        device: &Device,
        keys: &[Vec<u8>],
        digest: &Value,
        spec: &str,
    ) -> Told<zeroize::Zeroizing<Vec<u8>>> {
        let kind = string(digest, "type")?;
        if kind != "pbkdf2" {
            return Err(format!("a digest of the type {kind} is not supported"));
        }
        let proof = Proof {
            derivation: Derivation::Pbkdf2 {
                hash: Hash::named(string(digest, "hash")?)?,
                iterations: number(digest, "iterations")?,
            },
            salt: bytes(digest, "salt")?,
            digest: bytes(digest, "digest")?,
        };
        let mut slots = Vec::new();
        let mut refused = None;
        for (name, value) in objects(&self.json, "keyslots")? {
            if !names(&digest["keyslots"], name) {
                continue;
            }
            match slot(value) {
                Ok(slot) => slots.push((value["priority"].as_u64().unwrap_or(1), slot)),
                Err(reason) => refused = Some(reason),
            }
        }
        // Preferred ones first, those to be ignored last.
        slots.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
        let slots: Vec<&Slot> = slots.iter().map(|(_, slot)| slot).collect();
        if let Some(slot) = slots.first() {
            // What can't be decrypted anyhow is told before a key is tried.
            cipher::new(spec, &vec![0; slot.key.min(super::derive::MAX_KEY)])?;
        } else if let Some(reason) = refused {
            return Err(reason);
        }
        super::find_key(device.as_ref(), keys, &slots, &proof)
    }
}

/// Offset and length of a segment on a device of `size` bytes.
fn place(segment: &Value, size: u64) -> Told<(u64, u64)> {
    let offset = number(segment, "offset")?;
    let outside = || "its header is a detached one, or the volume was cut off".to_owned();
    let available =
        size.checked_sub(offset).filter(|&available| available > 0 && offset > 0).ok_or_else(outside)?;
    match segment["size"].as_str() {
        Some("dynamic") => {
            let sector = segment["sector_size"].as_u64().filter(|&sector| sector > 0).unwrap_or(512);
            Ok((offset, available / sector * sector))
        }
        _ => {
            let length = number(segment, "size")?;
            if length > available { Err(outside()) } else { Ok((offset, length)) }
        }
    }
}

fn slot(value: &Value) -> Told<Slot> {
    let kind = string(value, "type")?;
    if kind != "luks2" {
        return Err(format!("a key slot of the type {kind} is not supported"));
    }
    let (area, kdf, af) = (&value["area"], &value["kdf"], &value["af"]);
    if string(area, "type")? != "raw" || string(af, "type")? != "luks1" {
        return Err("a key slot with an unknown area is not supported".into());
    }
    let size = |value: &Value, key: &str| {
        usize::try_from(number(value, key)?).map_err(|_| format!("the {key} of a key slot is impossible"))
    };
    let derivation = match string(kdf, "type")? {
        "pbkdf2" => Derivation::Pbkdf2 {
            hash: Hash::named(string(kdf, "hash")?)?,
            iterations: number(kdf, "iterations")?,
        },
        kind @ ("argon2i" | "argon2id") => Derivation::Argon2 {
            id: kind == "argon2id",
            time: number(kdf, "time")?,
            memory: number(kdf, "memory")?,
            lanes: number(kdf, "cpus")?,
        },
        other => return Err(format!("the key derivation {other} is not supported")),
    };
    Ok(Slot {
        derivation,
        salt: bytes(kdf, "salt")?,
        cipher: string(area, "encryption")?.to_owned(),
        cipher_key: size(area, "key_size")?,
        key: size(value, "key_size")?,
        offset: number(area, "offset")?,
        stripes: size(af, "stripes")?,
        hash: Hash::named(string(af, "hash")?)?,
    })
}
