//! Byte strings kept end to end, and a hash table from a byte string to its index.
//!
//! A vocabulary has 30,000 to 260,000 pieces of a few bytes each and lies on the start-up path, so a piece costs its
//! bytes, four bytes for its end and eight for its place in the table: no allocation of its own.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Byte strings, numbered from 0 in the order of insertion.
#[derive(Debug, Clone, Default)]
pub(crate) struct PieceList {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl PieceList {
    /// An empty list with room for `count` strings of `size_bytes` in all.
    pub(crate) fn with_capacity(count: usize, size_bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(size_bytes), ends: Vec::with_capacity(count) }
    }

    /// Appends one string. The caller keeps the sum of all lengths below 4 GiB.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        self.close();
    }

    /// Appends one string that `write` adds to the buffer it gets.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.close();
    }

    fn close(&mut self) {
        self.ends.push(u32::try_from(self.bytes.len()).expect("the vocabulary limits keep all pieces below 4 GiB"));
    }

    /// How many strings there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// String `index`, or `None` beyond the end.
    pub(crate) fn get(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        Some(&self.bytes[start..end])
    }

    /// All strings in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let piece = &self.bytes[start..end as usize];
            start = end as usize;
            piece
        })
    }
}

/// No entry, in tables of u32.
pub(crate) const NONE: u32 = u32::MAX;

/// A free slot of a [`PieceMap`].
const FREE: u64 = u64::MAX;

/// Finds the index of a byte string in a [`PieceList`] that the map itself does not hold.
///
/// Open addressing, linear probing, at most half full. A slot holds 32 bits of the hash above the index, so that a
/// probe rarely touches the piece itself. The hash is seeded: a file cannot prepare collisions.
#[derive(Debug, Clone)]
pub(crate) struct PieceMap {
    slots: Vec<u64>,
    seed: u64,
}

impl PieceMap {
    /// An empty map for at most `count` pieces.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { slots: vec![FREE; (count * 2).next_power_of_two().max(8)], seed: random_seed() }
    }

    /// Enters piece `index` of `list`; if an equal piece is there already it stays, and its index is returned.
    pub(crate) fn insert(&mut self, list: &PieceList, index: u32) -> Option<u32> {
        let piece = list.get(index).expect("the piece is in the list before it is entered");
        let hash = hash_bytes(self.seed, piece);
        match self.probe(list, piece, hash) {
            Ok(present) => Some(present),
            Err(slot) => {
                self.slots[slot] = (hash & !u64::from(u32::MAX)) | u64::from(index);
                None
            }
        }
    }

    /// The index of `piece`.
    #[inline]
    pub(crate) fn get(&self, list: &PieceList, piece: &[u8]) -> Option<u32> {
        self.probe(list, piece, hash_bytes(self.seed, piece)).ok()
    }

    /// The index of an equal piece, or else the free slot where it would go.
    #[inline]
    fn probe(&self, list: &PieceList, piece: &[u8], hash: u64) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let tag = hash >> 32;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.slots[slot];
            if entry == FREE {
                return Err(slot);
            }
            let index = entry as u32;
            if entry >> 32 == tag && list.get(index) == Some(piece) {
                return Ok(index);
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// A number an attacker cannot know.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Odd constant with well mixed bits: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// The 128-bit product of both, folded onto itself: every bit of the result depends on every bit of both.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A seeded hash of a short byte string, eight bytes a step.
#[inline]
fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("a chunk of eight has eight bytes"));
        state = fold(state ^ word, MIX);
    }
    let mut last = [0u8; 8];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    fold(fold(state ^ u64::from_le_bytes(last), MIX), seed | 1)
}

/// A map from a pair of token ids to a number: which merge joins them. Open addressing, at most half full.
#[derive(Debug, Clone)]
pub(crate) struct PairMap {
    slots: Vec<PairSlot>,
    seed: u64,
}

#[derive(Debug, Clone, Copy)]
struct PairSlot {
    left: u32,
    right: u32,
    value: u32,
}

impl PairMap {
    /// An empty map for at most `count` pairs.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let free = PairSlot { left: NONE, right: NONE, value: NONE };
        Self { slots: vec![free; (count * 2).next_power_of_two().max(8)], seed: random_seed() }
    }

    /// Enters a pair unless it is there already. `left` is a token, not [`NONE`].
    pub(crate) fn insert_first(&mut self, left: u32, right: u32, value: u32) {
        let slot = self.find(left, right);
        if self.slots[slot].left == NONE {
            self.slots[slot] = PairSlot { left, right, value };
        }
    }

    /// The number of a pair, or [`NONE`].
    #[inline]
    pub(crate) fn get(&self, left: u32, right: u32) -> u32 {
        self.slots[self.find(left, right)].value
    }

    #[inline]
    fn find(&self, left: u32, right: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = fold((u64::from(left) << 32 | u64::from(right)) ^ self.seed, MIX) as usize & mask;
        loop {
            let entry = &self.slots[slot];
            if entry.left == NONE || (entry.left == left && entry.right == right) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_finds_every_piece_and_nothing_else() {
        let mut list = PieceList::default();
        let mut map = PieceMap::with_capacity(5000);
        for index in 0..5000u32 {
            list.push(format!("piece number {index}").as_bytes());
            assert_eq!(map.insert(&list, index), None);
        }
        for index in 0..5000u32 {
            assert_eq!(map.get(&list, format!("piece number {index}").as_bytes()), Some(index));
        }
        assert_eq!(map.get(&list, b"piece number 5000"), None);
        assert_eq!(map.get(&list, b""), None);
        list.push(b"piece number 7");
        assert_eq!(map.insert(&list, 5000), Some(7));
    }

    #[test]
    fn a_pair_keeps_its_first_value() {
        let mut map = PairMap::with_capacity(1000);
        for value in 0..1000 {
            map.insert_first(value % 40, value / 40, value);
        }
        map.insert_first(3, 2, 7);
        assert_eq!(map.get(3, 2), 83);
        assert_eq!(map.get(40, 0), NONE);
    }
}
