//! Recurrent states in tiles of columns: the operations that linear attention and state spaces are made of.
//!
//! A state is a matrix `[keys, columns]`. Columns do not depend on each other, so a tile of them walks all tokens of a
//! sequence by itself: its part of the state (`keys * 32` f32: 16 KiB with 128 keys) stays in the first-level cache, and
//! sums over keys need no sum across lanes. Per key and tile a token takes four loads, four stores and two or three
//! products for each vector; keys, queries and decays are single numbers that are spread.
//!
//! In memory a tile is `[keys, its columns]`, tile after tile.

use std::ops::Range;

use lair_simd::{LANES, Simd};

/// Vectors of a full tile.
pub(super) const VECTORS: usize = 4;
/// Columns of a full tile.
pub(super) const TILE: usize = VECTORS * LANES;

/// How many tiles so many columns make: full ones, and narrow ones of up to a vector for the rest.
pub(super) fn tile_count(columns: usize) -> usize {
    columns / TILE + (columns % TILE).div_ceil(LANES)
}

/// The columns of a tile.
pub(super) fn tile(columns: usize, index: usize) -> Range<usize> {
    let full = columns / TILE;
    if index < full {
        return index * TILE..(index + 1) * TILE;
    }
    let start = full * TILE + (index - full) * LANES;
    start..(start + LANES).min(columns)
}

/// Columns of a tile of `V` vectors; a tile of one vector may have fewer.
#[inline(always)]
pub(super) fn load<S: Simd, const V: usize>(s: S, values: &[f32]) -> [S::F; V] {
    if V == 1 {
        return [s.load_part(values, 0.0); V];
    }
    let vectors = &values.as_chunks::<LANES>().0[..V];
    std::array::from_fn(|v| s.load(&vectors[v]))
}

/// The reverse of [`load`].
#[inline(always)]
pub(super) fn store<S: Simd, const V: usize>(s: S, vectors: [S::F; V], values: &mut [f32]) {
    if V == 1 {
        return s.store_part(vectors[0], values);
    }
    let places = &mut values.as_chunks_mut::<LANES>().0[..V];
    for (place, vector) in places.iter_mut().zip(vectors) {
        s.store(vector, place);
    }
}

/// The same number in all lanes.
#[inline(always)]
pub(super) fn splat<S: Simd, const V: usize>(s: S, value: f32) -> [S::F; V] {
    [s.splat(value); V]
}

/// Combines two tiles' columns lane by lane.
#[inline(always)]
pub(super) fn zip<S: Simd, const V: usize>(
    a: [S::F; V],
    b: [S::F; V],
    function: impl Fn(S::F, S::F) -> S::F,
) -> [S::F; V] {
    std::array::from_fn(|v| function(a[v], b[v]))
}

/// `sum over keys of factors[key] * state[key]`.
#[inline(always)]
pub(super) fn recall<S: Simd, const V: usize>(s: S, state: &[f32], width: usize, factors: &[f32]) -> [S::F; V] {
    let mut sums = splat(s, 0.0);
    for (state, factor) in state.chunks_exact(width).zip(factors) {
        let (state, factor) = (load::<S, V>(s, state), s.splat(*factor));
        sums = zip::<S, V>(state, sums, |state, sum| s.fma(factor, state, sum));
    }
    sums
}

/// `state[key] = decay(key) * state[key] + keys[key] * input`, and the sum of `queries[key] * state[key]` after that.
#[inline(always)]
pub(super) fn update<S: Simd, const V: usize>(
    s: S,
    state: &mut [f32],
    width: usize,
    decay: impl Fn(usize) -> [S::F; V],
    (keys, input): (&[f32], [S::F; V]),
    queries: &[f32],
) -> [S::F; V] {
    let mut sums = splat(s, 0.0);
    for (index, ((place, key), query)) in state.chunks_exact_mut(width).zip(keys).zip(queries).enumerate() {
        let (decay, key, query) = (decay(index), s.splat(*key), s.splat(*query));
        let kept = zip::<S, V>(load(s, place), decay, |state, decay| s.mul(state, decay));
        let state = zip::<S, V>(input, kept, |input, kept| s.fma(key, input, kept));
        store(s, state, place);
        sums = zip::<S, V>(state, sums, |state, sum| s.fma(query, state, sum));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_columns_once() {
        for columns in [0, 1, 7, 8, 9, 31, 32, 33, 64, 100] {
            let tiles: Vec<Range<usize>> = (0..tile_count(columns)).map(|index| tile(columns, index)).collect();
            assert!(tiles.windows(2).all(|pair| pair[0].end == pair[1].start), "{columns}: {tiles:?}");
            assert_eq!(tiles.iter().map(ExactSizeIterator::len).sum::<usize>(), columns);
            assert!(tiles.iter().all(|tile| tile.len() == TILE || (1..=LANES).contains(&tile.len())));
        }
    }
}
