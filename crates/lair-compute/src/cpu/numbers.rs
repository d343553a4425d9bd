//! Products of quantised weights with activations as they are: the path that the byte kernels are measured against.
//!
//! A chunk of a panel is decoded to f32 (512 columns of 16 rows: 32 KiB) and multiplied by the kernel of plain weights,
//! columns in order. For a large batch that is 16 multiplications an instruction in place of 64, for a single token
//! mostly decoding.

use lair_simd::Isa;

use super::float_kernel::{Panels, STRIP_MAX, Single, multiply, strip_max};
use super::packed::{BLOCK, Layout, PANEL, Packed};
use super::panel::{CHUNK, Chunk};

/// Columns of a chunk as f32, `[column, row]`.
pub(super) type Columns = [[f32; PANEL]; CHUNK];

/// Adds the products of a panel with every token to `sums`, `[token, row]`. `token(t)` is the activations of token `t`.
pub(super) fn multiply_numbers<'a>(
    isa: Isa,
    packed: &Packed,
    panel: (&[u8], &[u8]),
    (chunk, columns): (&mut Chunk, &mut Columns),
    token: &dyn Fn(usize) -> &'a [f32],
    sums: &mut [[f32; PANEL]],
) {
    let (block_count, strip) = (packed.columns / BLOCK, strip_max(isa, 1));
    for first in (0..block_count).step_by(CHUNK / BLOCK) {
        let count = (CHUNK / BLOCK).min(block_count - first);
        chunk.fill(isa, &packed.layout, panel, (first, count));
        let range = first * BLOCK..(first + count) * BLOCK;
        let columns = &mut columns[..range.len()];
        decode(&packed.layout, chunk, columns);
        for (index, sums) in sums.chunks_mut(strip).enumerate() {
            let mut factors: [&[f32]; STRIP_MAX] = [&[]; STRIP_MAX];
            for (t, factors) in factors[..sums.len()].iter_mut().enumerate() {
                *factors = &token(index * strip + t)[range.clone()];
            }
            let panels = Panels { columns: [&*columns], soon: None };
            multiply::<Single, 1>(isa, panels, &factors[..sums.len()], [sums]);
        }
    }
}

/// The values of a chunk: the same arithmetic as that of a file's reader.
fn decode(layout: &Layout, chunk: &Chunk, columns: &mut [[f32; PANEL]]) {
    for (index, column) in columns.iter_mut().enumerate() {
        let group = &chunk.codes[index / BLOCK][index % BLOCK / 4];
        let sub = index / layout.sub_length;
        let (scales, mins) = (&chunk.scales[sub], &chunk.mins[sub]);
        for (row, value) in column.iter_mut().enumerate() {
            let code = i32::from(group[4 * row + index % 4]) - chunk.offset;
            let min = if layout.has_mins { mins[row] } else { 0.0 };
            *value = scales[row] * code as f32 - min;
        }
    }
}
