//! A manifest that was opened for reading.

use super::chain::{Bottom, ChainBaseline};
use super::cursor::{Cursor, Runs};
use super::format::{HASH, HEADER, Part, RUN, RunKind, TAIL, decode_header, decode_run, granules};
use block::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const VERIFY_BUFFER: usize = 1 << 20;

/// What a whole manifest comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSummary {
    /// Hex BLAKE3 of the manifest: [`model::BackupDisk::blake3`].
    pub blake3: String,
    /// Granules stored as data.
    pub granules: u64,
    /// Granules stored as explicit zeros.
    pub zero_granules: u64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
}

/// An open manifest. Opening checks its header, its end and its length, not yet its hash
/// ([`verify`](Manifest::verify)). Cloning is cheap and shares the open file.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub(super) file: Arc<File>,
    pub(super) name: String,
    /// Where the end marker begins.
    pub(super) end: u64,
    pub(super) virtual_size: u64,
    data_granules: u64,
    digest: [u8; HASH],
}

impl Manifest {
    /// Opens a manifest; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where header, end marker or length are not those of a manifest; [`Error::Io`].
    pub fn open(file: File, name: impl Into<String>) -> block::Result<Manifest> {
        let name = name.into();
        let io = |operation, offset| {
            let name = name.clone();
            move |source| Error::Io { operation, name, offset, source }
        };
        let corrupt = |reason: String| Error::Corrupt { name: name.clone(), reason };
        let length = file.metadata().map_err(io("stat", 0))?.len();
        let Some(end) = length.checked_sub(TAIL as u64).filter(|end| *end >= HEADER as u64) else {
            return Err(corrupt(format!("it is only {length} bytes long")));
        };
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).map_err(io("read", 0))?;
        let virtual_size = decode_header(&header).map_err(corrupt)?;
        let mut tail = [0; TAIL];
        file.read_exact_at(&mut tail, end).map_err(io("read", end))?;
        let (mut marker, mut digest) = ([0; RUN], [0; HASH]);
        marker.copy_from_slice(&tail[..RUN]);
        digest.copy_from_slice(&tail[RUN..]);
        let data_granules = match decode_run(&marker) {
            Ok(Part::End { data_granules }) => data_granules,
            Ok(Part::Run(_)) | Err(_) => return Err(corrupt("it has no end marker: it is cut off".into())),
        };
        let room = (end - HEADER as u64) / HASH as u64;
        if data_granules > room.min(granules(virtual_size)) {
            return Err(corrupt(format!(
                "its end marker counts {data_granules} granules, there is room for {room}"
            )));
        }
        Ok(Manifest { file: Arc::new(file), name, end, virtual_size, data_granules, digest })
    }

    /// Size of the disk in bytes.
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// How many granules are stored as data.
    pub fn data_granules(&self) -> u64 {
        self.data_granules
    }

    /// The hash at its end, hex: names the manifest, and through it all that the image stores.
    pub fn blake3(&self) -> String {
        blake3::Hash::from_bytes(self.digest).to_hex().to_string()
    }

    /// Reads all of it, compares it with the hash at its end and checks every run.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is damaged; [`Error::Io`].
    pub fn verify(&self) -> block::Result<ManifestSummary> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; VERIFY_BUFFER];
        let (mut offset, end) = (0, self.end + RUN as u64);
        while offset < end {
            let length = (end - offset).min(VERIFY_BUFFER as u64) as usize;
            let piece = &mut buffer[..length];
            self.file.read_exact_at(piece, offset).map_err(|source| Error::Io {
                operation: "read",
                name: self.name.clone(),
                offset,
                source,
            })?;
            hasher.update(piece);
            offset += length as u64;
        }
        if hasher.finalize() != self.digest {
            let reason = "its bytes do not match the hash at its end".to_owned();
            return Err(Error::Corrupt { name: self.name.clone(), reason });
        }
        let (mut data, mut zeros) = (0u64, 0u64);
        for run in self.runs() {
            let run = run?;
            match run.kind {
                RunKind::Data => data += u64::from(run.count),
                RunKind::Zero => zeros += u64::from(run.count),
            }
        }
        Ok(ManifestSummary {
            blake3: self.blake3(),
            granules: data,
            zero_granules: zeros,
            file_bytes: self.end + TAIL as u64,
        })
    }

    /// What the image stores, run by run, ascending; ends after the first error.
    pub fn runs(&self) -> Runs {
        Runs::new(Cursor::new(self.clone(), Cursor::SMALL_BUFFER))
    }

    /// Only what this one image stores, everything else `Unknown`.
    pub fn baseline(&self) -> ChainBaseline {
        ChainBaseline::new(vec![self.clone()], Bottom::Partial, self.virtual_size)
    }
}
