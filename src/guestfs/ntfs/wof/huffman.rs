//! Canonical Huffman codes of up to 16 bits.

use super::bits::Bits;

/// Bits that are looked up at once.
const QUICK: u32 = 11;

/// A code.
pub struct Huffman {
    /// By the next [`QUICK`] bits: the symbol and its length, or 0 for one that is longer.
    quick: Vec<u16>,
    /// By length: the first code, how many there are, and the place of its symbol.
    lengths: [(u32, u32, usize); 17],
    symbols: Vec<u16>,
}

impl Huffman {
    /// From the length of each symbol's code, 0 for none, at most 16; fewer than 4096 symbols.
    ///
    /// # Errors
    /// Where there are more codes than bits for them.
    pub fn new(lengths: &[u8]) -> Result<Self, &'static str> {
        let mut counts = [0u32; 17];
        lengths.iter().for_each(|&length| counts[usize::from(length)] += 1);
        counts[0] = 0;
        let mut all = [(0, 0, 0); 17];
        let (mut code, mut place) = (0u32, 0);
        for length in 1..=16 {
            code = (code + counts[length - 1]) << 1;
            all[length] = (code, counts[length], place);
            place += counts[length] as usize;
            if code + counts[length] > 1 << length {
                return Err("a code of too many symbols");
            }
        }
        let mut symbols = vec![0; place];
        let mut next = all.map(|(_, _, place)| place);
        let mut quick = vec![0; 1 << QUICK];
        for (symbol, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let at = &mut next[usize::from(length)];
            let (first, _, start) = all[usize::from(length)];
            symbols[*at] = symbol as u16;
            if u32::from(length) <= QUICK {
                let spare = QUICK - u32::from(length);
                let code = (first as usize + (*at - start)) << spare;
                quick[code..code + (1 << spare)].fill((symbol as u16) << 4 | u16::from(length));
            }
            *at += 1;
        }
        Ok(Huffman { quick, lengths: all, symbols })
    }

    /// The next symbol.
    ///
    /// # Errors
    /// Where no code begins like that.
    pub fn symbol(&self, bits: &mut Bits<'_>) -> Result<usize, &'static str> {
        let next = bits.peek();
        let quick = self.quick[(next >> (16 - QUICK)) as usize];
        if quick != 0 {
            bits.skip(u32::from(quick & 15));
            return Ok(usize::from(quick >> 4));
        }
        for length in QUICK + 1..=16 {
            let (first, count, place) = self.lengths[length as usize];
            let code = next >> (16 - length);
            if code >= first && code - first < count {
                bits.skip(length);
                return Ok(usize::from(self.symbols[place + (code - first) as usize]));
            }
        }
        Err("a code that is none")
    }
}
