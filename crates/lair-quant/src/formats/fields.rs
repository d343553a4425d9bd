//! Reads the fields of a block, and spreads packed small integers into one code an element.

use half::f16;

/// The `LENGTH` bytes of the block that begin at `start`.
#[inline(always)]
pub(super) fn bytes<const LENGTH: usize>(block: &[u8], start: usize) -> &[u8; LENGTH] {
    block[start..].first_chunk().expect("callers hand over whole blocks")
}

/// The half-precision number at `start`, exactly.
#[inline(always)]
pub(super) fn half(block: &[u8], start: usize) -> f32 {
    f16::from_le_bytes(*bytes(block, start)).to_f32()
}

/// The little-endian 16-bit word at `start`.
#[inline(always)]
pub(super) fn word16(block: &[u8], start: usize) -> u16 {
    u16::from_le_bytes(*bytes(block, start))
}

/// The little-endian 32-bit word at `start`.
#[inline(always)]
pub(super) fn word32(block: &[u8], start: usize) -> u32 {
    u32::from_le_bytes(*bytes(block, start))
}

/// `LENGTH` bytes to `2 * LENGTH` codes: first all low nibbles, then all high ones.
#[inline(always)]
pub(super) fn spread_nibbles<const LENGTH: usize>(packed: &[u8; LENGTH], codes: &mut [i8]) {
    let (low, high) = codes[..2 * LENGTH].split_at_mut(LENGTH);
    for i in 0..LENGTH {
        low[i] = (packed[i] & 15) as i8;
        high[i] = (packed[i] >> 4) as i8;
    }
}

/// `LENGTH` bytes to `4 * LENGTH` codes: first the lowest two bits of all bytes, then the next two, and so on.
#[inline(always)]
pub(super) fn spread_pairs<const LENGTH: usize>(packed: &[u8; LENGTH], codes: &mut [i8]) {
    for (plane, codes) in codes[..4 * LENGTH].chunks_exact_mut(LENGTH).enumerate() {
        for (code, byte) in codes.iter_mut().zip(packed) {
            *code = ((byte >> (2 * plane)) & 3) as i8;
        }
    }
}

/// Sets 32 codes, each by its index. As one array of results: codes that are changed again where they lie are taken apart
/// into single bytes by the compiler wherever this is inlined into vector code. And by a loop: what `array::from_fn` calls
/// may stay a function of its own, which is compiled without the vectors of the code around it.
#[inline(always)]
pub(super) fn set_codes(codes: &mut [i8], code: impl Fn(usize) -> u8) {
    let mut values = [0; 32];
    for (i, value) in values.iter_mut().enumerate() {
        *value = code(i);
    }
    for (code, value) in codes[..32].iter_mut().zip(values) {
        *code = value as i8;
    }
}

/// Adds `weight` to each of the 32 codes whose bit (the lowest is the first) is set.
#[inline(always)]
pub(super) fn add_high_bits(bits: u32, weight: i8, codes: &mut [i8]) {
    for (i, code) in codes[..32].iter_mut().enumerate() {
        *code += ((bits >> i) & 1) as i8 * weight;
    }
}

/// Adds one number to all codes.
#[inline(always)]
pub(super) fn offset(codes: &mut [i8], by: i8) {
    for code in codes {
        *code += by;
    }
}

/// Replaces each code, an index below 16, by the table's entry.
#[inline(always)]
pub(super) fn look_up(table: &[i8; 16], codes: &mut [i8]) {
    for code in codes {
        *code = table[(*code & 15) as usize];
    }
}

/// Bytes that are codes already.
#[inline(always)]
pub(super) fn copy_signed<const LENGTH: usize>(bytes: &[u8; LENGTH], codes: &mut [i8]) {
    for (code, byte) in codes.iter_mut().zip(bytes) {
        *code = *byte as i8;
    }
}
