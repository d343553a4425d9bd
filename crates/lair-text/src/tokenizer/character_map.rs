//! SentencePiece's precompiled character map: which sequences of bytes are replaced by which text.
//!
//! ```text
//! u32 size | size bytes: units of a double array, u32 each | replacements, each ended by a zero byte
//! ```
//!
//! A unit of the double array (Darts-clone): bits 0..8 the byte that leads here, bit 8 "a value follows", bits 9..31
//! the offset of the children; a unit that holds a value has bit 31 set. All numbers are little-endian.

use super::error::TokenizerError;

/// The map.
#[derive(Debug, Clone)]
pub(crate) struct CharacterMap {
    units: Vec<u32>,
    replacements: String,
}

impl CharacterMap {
    /// Reads a map. An empty one is no map.
    pub(crate) fn parse(blob: &[u8]) -> Result<Option<Self>, TokenizerError> {
        let damaged = |reason| TokenizerError::MalformedCharacterMap { reason };
        if blob.is_empty() {
            return Ok(None);
        }
        let (size, rest) = blob.split_first_chunk::<4>().ok_or(damaged("it is shorter than its own size field"))?;
        let size = u32::from_le_bytes(*size) as usize;
        if size > rest.len() || !size.is_multiple_of(4) {
            return Err(damaged("the size of its double array is wrong"));
        }
        let (units, replacements) = rest.split_at(size);
        let units = units.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        let replacements = std::str::from_utf8(replacements).map_err(|_| damaged("its replacements are not UTF-8"))?;
        Ok(Some(Self { units: units.collect(), replacements: replacements.to_owned() }))
    }

    /// The longest sequence at the start of `text` that is replaced: its length and the replacement.
    pub(crate) fn find(&self, text: &str) -> Option<(usize, &str)> {
        let children = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let unit = |index: u32| self.units.get(index as usize).copied();
        let mut place = children(unit(0)?);
        let mut longest = None;
        for (index, &byte) in text.as_bytes().iter().enumerate() {
            place ^= u32::from(byte);
            let Some(found) = unit(place).filter(|&found| byte != 0 && found & (1 << 31 | 0xFF) == u32::from(byte))
            else {
                break;
            };
            place ^= children(found);
            if found & (1 << 8) != 0 {
                let value = unit(place)? & !(1 << 31);
                longest = Some((index + 1, value as usize));
            }
        }
        let (length, start) = longest.filter(|&(length, _)| text.is_char_boundary(length))?;
        let replacement = self.replacements.get(start..)?;
        Some((length, &replacement[..replacement.find('\0')?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_maps_are_refused_or_harmless() {
        assert!(CharacterMap::parse(b"").expect("no map").is_none());
        for blob in [&b"\x01"[..], b"\xFF\xFF\xFF\xFF1234", b"\x03\0\0\0abc", b"\x04\0\0\0abcd\xFF"] {
            assert!(CharacterMap::parse(blob).is_err(), "{blob:?}");
        }
        for unit in [0u32, u32::MAX, 0x0000_0200, 0x7FFF_FDFF] {
            let blob = [&8u32.to_le_bytes()[..], &unit.to_le_bytes(), &unit.to_le_bytes(), b"x"].concat();
            let map = CharacterMap::parse(&blob).expect("well formed").expect("a map");
            for text in ["", "a", "\u{FF}\u{FF}", "\0"] {
                assert_eq!(map.find(text), None);
            }
        }
    }
}
