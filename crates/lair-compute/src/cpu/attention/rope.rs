//! Rotary position embedding of whole rows.

use lair_simd::{Isa, Simd, vectorize};

use crate::rope::{RopeStyle, RopeTable};

/// Pairs whose cosines and sines are kept at a time.
const PAIRS: usize = 64;
/// Elements that are turned at a time: the compiler keeps them in one or two registers.
const WIDTH: usize = 8;

/// Some pairs of a head and how they turn.
struct Turns {
    style: RopeStyle,
    /// Where the first elements of the pairs begin in a head, and where the second ones; between these where they are neighbours.
    starts: (usize, usize),
    count: usize,
    /// `[pair]`; `[pair, 2]` where they are neighbours.
    cosines: [f32; 2 * PAIRS],
    /// The same; where they are neighbours, negative for the first one of a pair.
    sines: [f32; 2 * PAIRS],
}

/// Rotary embedding of all heads of a row.
pub(in crate::cpu) fn turn(isa: Isa, row: &mut [f32], rope: &RopeTable, head_dim: usize, position: usize) {
    let pair_count = rope.frequencies.len();
    let (cosines, sines) = ([0.0; 2 * PAIRS], [0.0; 2 * PAIRS]);
    let mut turns = Turns { style: rope.style, starts: (0, 0), count: 0, cosines, sines };
    for first in (0..pair_count).step_by(PAIRS) {
        (turns.starts, turns.count) = (rope.pair(first), PAIRS.min(pair_count - first));
        for pair in 0..turns.count {
            let (cosine, sine) = rope.cosine_sine(first + pair, position);
            match rope.style {
                RopeStyle::HalfSplit => (turns.cosines[pair], turns.sines[pair]) = (cosine, sine),
                RopeStyle::Interleaved => {
                    turns.cosines[2 * pair..][..2].fill(cosine);
                    turns.sines[2 * pair..][..2].copy_from_slice(&[-sine, sine]);
                }
            }
        }
        vectorize!(isa, turn_heads, row: &mut [f32] = row, head_dim: usize = head_dim, turns: &Turns = &turns);
    }
}

/// Plain code: the instruction set only says how wide the compiler may make it.
#[inline(always)]
fn turn_heads<S: Simd>(_simd: S, row: &mut [f32], head_dim: usize, turns: &Turns) {
    let ((first, second), count) = (turns.starts, turns.count);
    for head in row.chunks_exact_mut(head_dim) {
        match turns.style {
            RopeStyle::HalfSplit => {
                let (low, high) = head[first..].split_at_mut(second - first);
                turn_halves(&mut low[..count], &mut high[..count], turns);
            }
            RopeStyle::Interleaved => turn_neighbours(&mut head[first..][..2 * count], turns),
        }
    }
}

#[inline(always)]
fn turn_halves(low: &mut [f32], high: &mut [f32], turns: &Turns) {
    let both = low.iter_mut().zip(high).zip(turns.cosines.iter().zip(&turns.sines));
    for ((a, b), (cosine, sine)) in both {
        (*a, *b) = (*a * cosine - *b * sine, *a * sine + *b * cosine);
    }
}

#[inline(always)]
fn turn_neighbours(head: &mut [f32], turns: &Turns) {
    let (wides, rest) = head.as_chunks_mut::<WIDTH>();
    let (cosines, sines) = (turns.cosines.as_chunks::<WIDTH>().0, turns.sines.as_chunks::<WIDTH>().0);
    let done = wides.len() * WIDTH;
    for (wide, (cosines, sines)) in wides.iter_mut().zip(cosines.iter().zip(sines)) {
        let old = *wide;
        *wide = std::array::from_fn(|i| old[i] * cosines[i] + old[i ^ 1] * sines[i]);
    }
    for (index, pair) in rest.chunks_exact_mut(2).enumerate() {
        let (a, b, at) = (pair[0], pair[1], done + 2 * index);
        pair[0] = a * turns.cosines[at] + b * turns.sines[at];
        pair[1] = b * turns.cosines[at + 1] + a * turns.sines[at + 1];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_turn_as_pairs_do() {
        for style in [RopeStyle::Interleaved, RopeStyle::HalfSplit] {
            for (head_dim, first, pairs) in [(64, 0, 32), (70, 3, 32), (20, 0, 7), (300, 10, 130), (8, 0, 1), (8, 2, 0)]
            {
                let frequencies = (0..pairs).map(|index| 0.7_f32.powi(index)).collect();
                let rope = RopeTable { style, frequencies, magnitude: 1.25, first };
                let values: Vec<f32> =
                    (0..3 * head_dim).map(|index| ((index * 37 % 101) as f32 - 50.0) / 7.0).collect();
                let mut expected = values.clone();
                for head in expected.chunks_exact_mut(head_dim) {
                    for index in 0..rope.frequencies.len() {
                        let ((a, b), (cosine, sine)) = (rope.pair(index), rope.cosine_sine(index, 1234));
                        (head[a], head[b]) = (head[a] * cosine - head[b] * sine, head[a] * sine + head[b] * cosine);
                    }
                }
                for isa in Isa::available() {
                    let mut turned = values.clone();
                    turn(isa, &mut turned, &rope, head_dim, 1234);
                    assert_eq!(turned, expected, "{style:?}, {pairs} pairs of {head_dim} on {}", isa.name());
                }
            }
        }
    }
}
