//! What an input of a target of guest file systems says.
//!
//! | byte | |
//! | --- | --- |
//! | 0 | the seed; one past the last is an image of zeros, and all beyond say that the rest of the input is the image |
//! | 1 | bit 0: checksums stay wrong; bit 1: the journal is ignored; bit 2: the image is cut off |
//! | 2 to 4 | after how many sectors of 512 bytes, little-endian |
//! | … | changes: where (4 bytes, little-endian), how many bytes follow (1 byte), and these |

/// Bytes before the changes.
pub const HEAD: usize = 5;
/// Changes that are made at most.
const MAX_EDITS: usize = 64;

/// A parsed input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// Which seed is changed.
    pub seed: u8,
    /// Whether checksums are put right.
    pub reseal: bool,
    /// Whether a journal is ignored that can't be replayed.
    pub ignore_journal: bool,
    /// How many sectors are left of the image.
    pub cut: Option<u32>,
    /// Where bytes are replaced by which.
    pub edits: Vec<(u64, Vec<u8>)>,
}

impl Input {
    /// None for what is too short.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<HEAD>()?;
        let cut = u32::from_le_bytes([head[2], head[3], head[4], 0]);
        let mut edits = Vec::new();
        while let Some((&[a, b, c, d, length], after)) = rest.split_first_chunk::<5>() {
            let (bytes, after) = after.split_at(usize::from(length).min(after.len()));
            if edits.len() < MAX_EDITS && !bytes.is_empty() {
                edits.push((u64::from(u32::from_le_bytes([a, b, c, d])), bytes.to_vec()));
            }
            rest = after;
        }
        Some(Input {
            seed: head[0],
            reseal: head[1] & 1 == 0,
            ignore_journal: head[1] & 2 != 0,
            cut: (head[1] & 4 != 0).then_some(cut),
            edits,
        })
    }

    /// The bytes that are parsed to this.
    pub fn encode(&self) -> Vec<u8> {
        let flags =
            u8::from(!self.reseal) | u8::from(self.ignore_journal) << 1 | u8::from(self.cut.is_some()) << 2;
        let mut bytes = vec![self.seed, flags];
        bytes.extend(&self.cut.unwrap_or(0).to_le_bytes()[..3]);
        for (at, edit) in &self.edits {
            bytes.extend((*at as u32).to_le_bytes());
            bytes.push(edit.len().min(255) as u8);
            bytes.extend(&edit[..edit.len().min(255)]);
        }
        bytes
    }
}
