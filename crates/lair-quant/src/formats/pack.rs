//! What the quantizers of several formats share.

/// The value of largest magnitude, with its sign; the first of equals, 0 if none is larger than 0.
#[inline(always)]
pub(super) fn value_of_largest_magnitude(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest: f32, value| if largest.abs() < value.abs() { *value } else { largest })
}

/// `1 / scale`, or 0 for a block of zeros.
#[inline(always)]
pub(super) fn inverse_or_zero(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Stores the low nibbles of 32 codes in 16 bytes: byte i holds element i (low) and element i + 16 (high).
#[inline(always)]
pub(super) fn pack_nibbles(code: impl Fn(usize) -> u8, packed: &mut [u8]) {
    for (i, byte) in packed[..16].iter_mut().enumerate() {
        *byte = code(i) & 15 | code(i + 16) << 4;
    }
}

/// The fifth bits of 32 codes, bit i for element i.
#[inline(always)]
pub(super) fn fifth_bits(code: impl Fn(usize) -> u8) -> u32 {
    (0..32).fold(0, |bits, i| bits | u32::from(code(i) >> 4 & 1) << i)
}

/// Stores 128 codes of two bits in 32 bytes: bits 2p and 2p + 1 of byte i hold element 32 p + i.
#[inline(always)]
pub(super) fn pack_pairs(code: impl Fn(usize) -> u8, packed: &mut [u8]) {
    for (i, byte) in packed[..32].iter_mut().enumerate() {
        *byte = code(i) | code(i + 32) << 2 | code(i + 64) << 4 | code(i + 96) << 6;
    }
}
