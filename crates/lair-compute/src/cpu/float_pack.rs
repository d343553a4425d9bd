//! Packing of plain weights: rows as the file has them become panels of 16 rows, `[panel, column, row]`.
//!
//! This is a transposition of what is read from a file's pages and written to new ones, so memory is the limit: 8 rows
//! by 8 columns of 16 bits take 24 shuffles for 128 bytes, which a core does about as fast as it gets fresh pages.
#![allow(unsafe_code)] // Panels are written by several threads; vector shuffles.

use std::sync::atomic::{AtomicBool, Ordering};

use super::memory::{Memory, Parts, Plain};
use super::packed::PANEL;
use super::pool::Pool;
use crate::{ComputeError, MatrixBytes};

/// Bytes of a row that are taken at a time: a cache line, so that each is read once even where the lines of all rows
/// compete for the same places of the cache.
const LINE_BYTES: usize = 64;
/// Rows that are taken at a time.
const BAND: usize = 8;

/// A number as it lies in the file.
pub(super) trait Stored: Plain {
    /// From its bytes, as many as it has, the lowest first.
    fn from_bytes(bytes: &[u8]) -> Self;

    /// Puts a line of each of eight rows into columns, from row `lane` of a panel on.
    fn place_lines(lines: [&[u8; LINE_BYTES]; BAND], columns: &mut [[Self; PANEL]], lane: usize);
}

/// Interleaves the rows of `source`, which are of this kind, into zeroed memory.
pub(super) fn pack_bytes<T: Stored + Send>(pool: &Pool, source: &MatrixBytes, mut memory: Memory<T>) -> Memory<T> {
    for_each_panel(pool, source, &mut memory, |rows, columns| {
        let rest = columns.len() - columns.len() % (LINE_BYTES / size_of::<T>());
        for (band, rows) in rows.chunks(BAND).enumerate() {
            let mut first = 0;
            if let Ok(rows) = <[&[u8]; BAND]>::try_from(rows) {
                let lines = rows.map(|row| row.as_chunks::<LINE_BYTES>().0);
                for (line, columns) in columns.chunks_exact_mut(LINE_BYTES / size_of::<T>()).enumerate() {
                    T::place_lines(lines.map(|lines| &lines[line]), columns, band * BAND);
                }
                first = rest;
            }
            for (row, bytes) in rows.iter().enumerate() {
                let values = bytes.chunks_exact(size_of::<T>()).skip(first);
                for (column, bytes) in columns[first..].iter_mut().zip(values) {
                    column[band * BAND + row] = T::from_bytes(bytes);
                }
            }
        }
    });
    memory
}

/// Interleaves the rows of `source`, of any type that can be read, as f32 into zeroed memory.
///
/// # Errors
/// If the type cannot be read.
pub(super) fn pack_values(
    pool: &Pool,
    source: &MatrixBytes,
    mut memory: Memory<f32>,
) -> Result<Memory<f32>, ComputeError> {
    let is_refused = AtomicBool::new(false);
    for_each_panel(pool, source, &mut memory, |rows, columns| {
        let mut values = vec![0.0; columns.len()];
        for (row, bytes) in rows.iter().enumerate() {
            if lair_quant::dequantize(source.tensor_type, bytes, &mut values).is_err() {
                is_refused.store(true, Ordering::Relaxed);
            }
            columns.iter_mut().zip(&values).for_each(|(column, value)| column[row] = *value);
        }
    });
    if is_refused.into_inner() {
        return Err(ComputeError::WeightType { name: source.name.clone(), tensor_type: source.tensor_type });
    }
    Ok(memory)
}

/// Calls `job(rows as they are stored, columns of the panel)` for every panel of the stack, on all workers.
fn for_each_panel<T: Plain + Send>(
    pool: &Pool,
    source: &MatrixBytes,
    memory: &mut Memory<T>,
    job: impl Fn(&[&[u8]], &mut [[T; PANEL]]) + Sync,
) {
    let (row_count, length) = (source.rows(), source.columns * PANEL);
    let panels = row_count.div_ceil(PANEL);
    let parts = Parts::new(memory);
    pool.split(source.count * panels, &|_, range| {
        for place in range {
            let (index, first) = (place / panels, place % panels * PANEL);
            let count = PANEL.min(row_count - first);
            let mut rows: [&[u8]; PANEL] = [&[]; PANEL];
            for (row, bytes) in rows[..count].iter_mut().enumerate() {
                *bytes = source.row(index, first + row);
            }
            // SAFETY: every place has its own part, and is visited once.
            let columns = unsafe { parts.part(place * length, length) }.as_chunks_mut::<PANEL>().0;
            job(&rows[..count], columns);
        }
    });
}

impl Stored for u16 {
    fn from_bytes(bytes: &[u8]) -> u16 {
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    #[inline]
    fn place_lines(lines: [&[u8; LINE_BYTES]; BAND], columns: &mut [[u16; PANEL]], lane: usize) {
        for (part, columns) in columns.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let tile = lines.map(|line| &line.as_chunks::<16>().0[part]);
            let turned = transpose_shorts(tile);
            for (column, values) in columns.iter_mut().zip(turned) {
                column[lane..lane + BAND].copy_from_slice(&values);
            }
        }
    }
}

impl Stored for f32 {
    fn from_bytes(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    #[inline]
    fn place_lines(lines: [&[u8; LINE_BYTES]; BAND], columns: &mut [[f32; PANEL]], lane: usize) {
        let (upper, lower) = lines.split_at(BAND / 2);
        for (part, columns) in columns.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for (rows, lane) in [(upper, lane), (lower, lane + BAND / 2)] {
                let tile = std::array::from_fn(|row| &rows[row].as_chunks::<16>().0[part]);
                for (column, values) in columns.iter_mut().zip(transpose_floats(tile)) {
                    column[lane..lane + BAND / 2].copy_from_slice(&values);
                }
            }
        }
    }
}

/// Element i of row j becomes element j of row i, on bits of numbers with the lowest byte first.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transpose_shorts(rows: [&[u8; 16]; 8]) -> [[u16; 8]; 8] {
    use std::arch::x86_64::*;
    let mut turned = [[0; 8]; 8];
    // SAFETY: every x86-64 has SSE2; loads and stores are of 16 bytes that are there, and need no alignment.
    unsafe {
        let r = rows.map(|row| _mm_loadu_si128(row.as_ptr().cast()));
        let low = |i: usize| _mm_unpacklo_epi16(r[i], r[i + 1]);
        let high = |i: usize| _mm_unpackhi_epi16(r[i], r[i + 1]);
        for (start, [a, b, c, d]) in [(0, [low(0), low(2), low(4), low(6)]), (4, [high(0), high(2), high(4), high(6)])]
        {
            let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
            let (ab_high, cd_high) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
            let columns = [
                _mm_unpacklo_epi64(ab, cd),
                _mm_unpackhi_epi64(ab, cd),
                _mm_unpacklo_epi64(ab_high, cd_high),
                _mm_unpackhi_epi64(ab_high, cd_high),
            ];
            for (turned, column) in turned[start..].iter_mut().zip(columns) {
                _mm_storeu_si128(turned.as_mut_ptr().cast(), column);
            }
        }
    }
    turned
}

#[cfg(not(target_arch = "x86_64"))]
fn transpose_shorts(rows: [&[u8; 16]; 8]) -> [[u16; 8]; 8] {
    std::array::from_fn(|i| rows.map(|row| u16::from_le_bytes(row.as_chunks::<2>().0[i])))
}

/// As [`transpose_shorts`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transpose_floats(rows: [&[u8; 16]; 4]) -> [[f32; 4]; 4] {
    use std::arch::x86_64::*;
    let mut turned = [[0.0; 4]; 4];
    // SAFETY: as above.
    unsafe {
        let [mut a, mut b, mut c, mut d] = rows.map(|row| _mm_loadu_ps(row.as_ptr().cast()));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (turned, column) in turned.iter_mut().zip([a, b, c, d]) {
            _mm_storeu_ps(turned.as_mut_ptr(), column);
        }
    }
    turned
}

#[cfg(not(target_arch = "x86_64"))]
fn transpose_floats(rows: [&[u8; 16]; 4]) -> [[f32; 4]; 4] {
    std::array::from_fn(|i| rows.map(|row| f32::from_le_bytes(row.as_chunks::<4>().0[i])))
}
