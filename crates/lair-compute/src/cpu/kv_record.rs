//! Writing a position's key and value into a record; see [`crate::kv_layout`] for where things lie.
//!
//! A quantised block of values `x` becomes codes `c` with `x ~ scale * c`, the scale being rounded to half precision
//! first, so that its rounding costs nothing. Eight bits: `scale = max|x| / 127`. Four bits, as in Q4_0: codes reach
//! from -8 to 7, and the element of largest magnitude, with its sign, gets -8.

use half::f16;
use lair_simd::{Isa, LANES, Simd, vectorize};

use crate::kv_layout::{KEY_BLOCK, RecordLayout, VALUE_PANEL};
use crate::{KvElement, PAGE_LENGTH};

/// What is added to 8-bit codes of keys, so that they are unsigned bytes.
pub(super) const KEY_BIAS: i32 = 128;
/// What is added to 4-bit codes.
pub(super) const NIBBLE_BIAS: i32 = 8;

/// Puts the key `[key_dim]` and the value `[value_dim]` of one head at `position` of the record.
pub(super) fn store(
    isa: Isa,
    layout: &RecordLayout,
    record: &mut [u8],
    position: usize,
    (key, value): (&[f32], &[f32]),
) {
    assert!(position < PAGE_LENGTH && key.len() == layout.key_dim && value.len() == layout.value_dim);
    let (keys, values) = record.split_at_mut(layout.value_codes);
    match layout.element {
        KvElement::F32 => {
            store_numbers(keys, key, |index| index * PAGE_LENGTH + position, f32::to_le_bytes);
            store_numbers(values, value, |index| value_place(index, position), f32::to_le_bytes);
        }
        KvElement::F16 => {
            let narrow = |x: f32| f16::from_f32(x).to_le_bytes();
            store_numbers(keys, key, |index| index * PAGE_LENGTH + position, narrow);
            store_numbers(values, value, |index| value_place(index, position), narrow);
        }
        KvElement::Q8_0 | KvElement::Q4_0 => {
            store_key_codes(isa, layout, keys, position, key);
            store_value_codes(isa, layout, values, position, value);
        }
    }
}

/// Place of an element of a value that is not quantised.
fn value_place(index: usize, position: usize) -> usize {
    (index / VALUE_PANEL * PAGE_LENGTH + position) * VALUE_PANEL + index % VALUE_PANEL
}

fn store_numbers<const N: usize>(
    bytes: &mut [u8],
    values: &[f32],
    place: impl Fn(usize) -> usize,
    narrow: impl Fn(f32) -> [u8; N],
) {
    let (numbers, _) = bytes.as_chunks_mut::<N>();
    for (index, &value) in values.iter().enumerate() {
        numbers[place(index)] = narrow(value);
    }
}

fn store_key_codes(isa: Isa, layout: &RecordLayout, keys: &mut [u8], position: usize, key: &[f32]) {
    let (codes, scales) = keys.split_at_mut(layout.key_scales);
    for (index, block) in key.chunks(KEY_BLOCK).enumerate() {
        let mut values = [0.0; KEY_BLOCK];
        values[..block.len()].copy_from_slice(block);
        let (block_codes, scale) = quantise(isa, layout.element, &values);
        scales.as_chunks_mut().0[index * PAGE_LENGTH + position] = scale.to_le_bytes();
        if layout.element == KvElement::Q8_0 {
            let groups = &mut codes.as_chunks_mut::<4>().0[index * KEY_BLOCK / 4 * PAGE_LENGTH..];
            for (group, four) in block_codes.as_chunks::<4>().0.iter().take(block.len().div_ceil(4)).enumerate() {
                groups[group * PAGE_LENGTH + position] = four.map(|code| (i32::from(code) + KEY_BIAS) as u8);
            }
        } else {
            let lines = &mut codes.as_chunks_mut::<4>().0[index * KEY_BLOCK / 8 * PAGE_LENGTH..];
            let nibble = |code: i8| (i32::from(code) + NIBBLE_BIAS) as u8;
            for (line, eight) in block_codes.as_chunks::<8>().0.iter().take(block.len().div_ceil(8)).enumerate() {
                lines[line * PAGE_LENGTH + position] =
                    std::array::from_fn(|k| nibble(eight[k]) | nibble(eight[4 + k]) << 4);
            }
        }
    }
}

fn store_value_codes(isa: Isa, layout: &RecordLayout, values: &mut [u8], position: usize, value: &[f32]) {
    let (codes, scales) = values.split_at_mut(layout.value_scales - layout.value_codes);
    let (pair, half) = (position / 2, position % 2);
    for (run, block) in value.chunks(layout.value_run()).enumerate() {
        let scale = scale_of(isa, layout.element, block);
        scales.as_chunks_mut().0[run * PAGE_LENGTH + position] = scale.to_le_bytes();
        for (part, elements) in block.chunks(KEY_BLOCK).enumerate() {
            let mut padded = [0.0; KEY_BLOCK];
            padded[..elements.len()].copy_from_slice(elements);
            let part_codes = codes_of(isa, layout.element, &padded, scale.to_f32());
            for (index, &code) in part_codes[..elements.len()].iter().enumerate() {
                let element = run * layout.value_run() + part * KEY_BLOCK + index;
                let panel = &mut codes[element / VALUE_PANEL * layout.panel_bytes..][..layout.panel_bytes];
                let lane = 2 * (element % VALUE_PANEL) + half;
                if layout.element == KvElement::Q8_0 {
                    panel[pair * 2 * VALUE_PANEL + lane] = code as u8;
                } else {
                    // The nibbles of a byte belong to positions four apart in pairs: the other one stays.
                    let byte = &mut panel[pair / 2 * 2 * VALUE_PANEL + lane];
                    let (shift, nibble) = (4 * (pair % 2), (i32::from(code) + NIBBLE_BIAS) as u8);
                    *byte = *byte & !(0xf << shift) | nibble << shift;
                }
            }
        }
    }
}

/// Codes of a block, and their scale.
fn quantise(isa: Isa, element: KvElement, values: &[f32; KEY_BLOCK]) -> ([i8; KEY_BLOCK], f16) {
    let scale = scale_of(isa, element, values);
    (codes_of(isa, element, values, scale.to_f32()), scale)
}

/// The scale of a block; NaN if an element is infinite or no number, so that faults are not hidden.
fn scale_of(isa: Isa, element: KvElement, values: &[f32]) -> f16 {
    let mut range = [0.0; 3];
    vectorize!(isa, range_of, values: &[f32] = values, range: &mut [f32; 3] = &mut range);
    let [highest, lowest, fault] = range;
    let scale = match element {
        KvElement::Q4_0 if highest > -lowest => highest / -8.0,
        KvElement::Q4_0 => lowest / -8.0,
        _ => highest.max(-lowest) / 127.0,
    };
    f16::from_f32(scale + fault)
}

/// The highest element or 0, the lowest or 0, and NaN if one is infinite or no number, else 0.
#[inline(always)]
fn range_of<S: Simd>(s: S, values: &[f32], range: &mut [f32; 3]) {
    let zero = s.splat(0.0);
    let (mut highest, mut lowest, mut fault) = (zero, zero, zero);
    let mut take = |vector| {
        highest = s.max(vector, highest);
        lowest = s.min(vector, lowest);
        fault = s.fma(vector, zero, fault);
    };
    let (chunks, rest) = values.as_chunks::<LANES>();
    chunks.iter().for_each(|chunk| take(s.load(chunk)));
    if !rest.is_empty() {
        take(s.load_part(rest, 0.0));
    }
    *range = [s.largest(highest), -s.largest(s.sub(zero, lowest)), s.sum(fault)];
}

/// Codes of a block under a scale.
fn codes_of(isa: Isa, element: KvElement, values: &[f32; KEY_BLOCK], scale: f32) -> [i8; KEY_BLOCK] {
    let (low, high) = if element == KvElement::Q8_0 { (-127.0, 127.0) } else { (-8.0, 7.0) };
    // A scale that rounds to zero, or one of a fault, has no codes.
    let inverse = 1.0 / scale;
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    let mut codes = [0; KEY_BLOCK];
    vectorize!(isa, round_all,
        values: &[f32; KEY_BLOCK] = values,
        limits: (f32, f32, f32) = (inverse, low, high),
        codes: &mut [i8; KEY_BLOCK] = &mut codes,
    );
    codes
}

#[inline(always)]
fn round_all<S: Simd>(
    s: S,
    values: &[f32; KEY_BLOCK],
    (factor, low, high): (f32, f32, f32),
    codes: &mut [i8; KEY_BLOCK],
) {
    let (chunks, _) = values.as_chunks::<LANES>();
    let scaled = |index: usize| {
        let vector = s.mul(s.load(&chunks[index]), s.splat(factor));
        s.max(s.min(vector, s.splat(high)), s.splat(low))
    };
    s.store_i8([scaled(0), scaled(1), scaled(2), scaled(3)], codes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KvLayerLayout;
    use lair_simd::IsaChoice;

    /// What was stored, read element by element as the layout's picture has it.
    fn read(layout: &RecordLayout, record: &[u8], position: usize) -> (Vec<f32>, Vec<f32>) {
        let half = |at: usize| f16::from_le_bytes([record[at], record[at + 1]]).to_f32();
        let word = |at: usize| f32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        let values = layout.value_codes;
        let scale = |start: usize, index: usize| half(start + 2 * (index * PAGE_LENGTH + position));
        let nibble = |byte: u8, high: usize| f32::from(byte >> (4 * high) & 0xf) - 8.0;
        let key = |i: usize| match layout.element {
            KvElement::F32 => word(4 * (i * PAGE_LENGTH + position)),
            KvElement::F16 => half(2 * (i * PAGE_LENGTH + position)),
            KvElement::Q8_0 => {
                let code = f32::from(record[(i / 4 * PAGE_LENGTH + position) * 4 + i % 4]) - 128.0;
                code * scale(layout.key_scales, i / 32)
            }
            KvElement::Q4_0 => {
                let byte = record[(i / 8 * PAGE_LENGTH + position) * 4 + i % 4];
                nibble(byte, i / 4 % 2) * scale(layout.key_scales, i / 32)
            }
        };
        let value = |i: usize| match layout.element {
            KvElement::F32 => word(values + 4 * value_place(i, position)),
            KvElement::F16 => half(values + 2 * value_place(i, position)),
            KvElement::Q8_0 => {
                let code = record[values + i / 16 * 256 + position / 2 * 32 + i % 16 * 2 + position % 2] as i8;
                f32::from(code) * scale(layout.value_scales, i / layout.value_run())
            }
            KvElement::Q4_0 => {
                let byte = record[values + i / 16 * 128 + position / 4 * 32 + i % 16 * 2 + position % 2];
                nibble(byte, position / 2 % 2) * scale(layout.value_scales, i / layout.value_run())
            }
        };
        ((0..layout.key_dim).map(key).collect(), (0..layout.value_dim).map(value).collect())
    }

    #[test]
    fn records_hold_what_is_stored_in_any_order() {
        for (key_dim, value_dim) in [(1, 1), (32, 32), (64, 64), (80, 80), (100, 72), (21, 13), (576, 512)] {
            for (element, step) in [
                (KvElement::F32, 0.0),
                (KvElement::F16, 5e-4),
                (KvElement::Q8_0, 0.51 / 127.0),
                (KvElement::Q4_0, 0.13),
            ] {
                for choice in [IsaChoice::Auto, IsaChoice::Scalar] {
                    let isa = Isa::detect(choice);
                    let layout = RecordLayout::new(element, &KvLayerLayout { kv_head_count: 1, key_dim, value_dim });
                    let mut record = vec![0xa5; layout.size_bytes];
                    let numbers = |position: usize, dim: usize| -> Vec<f32> {
                        (0..dim).map(|i| ((i * 37 + position * 11) % 61) as f32 / 30.0 - 1.0).collect()
                    };
                    for position in (0..PAGE_LENGTH).map(|index| index * 5 % PAGE_LENGTH) {
                        let (key, value) = (numbers(position, key_dim), numbers(position + 3, value_dim));
                        store(isa, &layout, &mut record, position, (&key, &value));
                    }
                    for position in 0..PAGE_LENGTH {
                        let (key, value) = read(&layout, &record, position);
                        let expected = numbers(position, key_dim).into_iter().chain(numbers(position + 3, value_dim));
                        for (a, b) in key.into_iter().chain(value).zip(expected) {
                            assert!((a - b).abs() <= 1.04 * step, "{element:?} {key_dim}: {a} stored for {b}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_fault_makes_the_scale_none() {
        for element in [KvElement::Q8_0, KvElement::Q4_0] {
            for fault in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = [0.5; 40];
                values[33] = fault;
                assert!(scale_of(Isa::detect(IsaChoice::Auto), element, &values).is_nan());
                assert!(scale_of(Isa::Scalar, element, &values).is_nan());
            }
            assert_eq!(scale_of(Isa::Scalar, element, &[0.0; 32]).to_f32(), 0.0);
        }
    }
}
