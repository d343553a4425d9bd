//! The inner products: a chunk of a weight panel with a few tokens. One file an instruction set, all equal to the bit.
//!
//! For each sub-block: the integer product (exact), then in f32 `acc = fma(product, weight_scale * token_scale, acc)`
//! and, where there are mins, `acc = fma(-min, token_weighted_sum, acc)`. Columns come in order and are never split, so
//! a result depends neither on the number of tokens nor on threads.

use lair_simd::Isa;

use super::packed::{BLOCK, Layout, PANEL};
use super::panel::Chunk;
use super::quantise::QuantisedBlock;

/// The most tokens that one call of a kernel takes.
pub(super) const STRIP_MAX: usize = 8;

/// Adds the products of the chunks of `P` panels with every token to `sums`, `[panel][token, row]`.
///
/// The chunks hold the same columns in sub-blocks of the same length; `tokens` are the activations of at most
/// [`STRIP_MAX`] tokens from the chunks' first column on.
pub(super) fn multiply<const P: usize>(
    isa: Isa,
    layouts: [&Layout; P],
    chunks: [&Chunk; P],
    tokens: &[&[QuantisedBlock]],
    sums: [&mut [[f32; PANEL]]; P],
) {
    assert!(tokens.len() <= STRIP_MAX && sums.iter().all(|sums| tokens.len() == sums.len()));
    let block_count = chunks[0].block_count;
    assert!(chunks.iter().all(|chunk| chunk.block_count == block_count));
    assert!(tokens.iter().all(|blocks| blocks.len() >= block_count));
    match isa {
        Isa::Scalar => {
            for ((layout, chunk), sums) in layouts.into_iter().zip(chunks).zip(sums) {
                multiply_scalar(layout, chunk, tokens, sums);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(avx2) => {
            for ((layout, chunk), sums) in layouts.into_iter().zip(chunks).zip(sums) {
                super::kernel_avx2::multiply(avx2, layout, chunk, tokens, sums);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => super::kernel_avx512::multiply(isa, layouts, chunks, tokens, sums),
    }
}

/// Whether [`multiply_packed`] can be called: it is for few tokens, where expanding codes would cost more than products.
pub(super) fn multiplies_packed(isa: Isa) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => true,
        _ => false,
    }
}

/// [`multiply`] for codes as they are packed: only scales and mins of the chunk are read.
pub(super) fn multiply_packed(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    codes: &[u8],
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(tokens.len() <= STRIP_MAX && tokens.len() == sums.len());
    assert!(tokens.iter().all(|blocks| blocks.len() >= chunk.block_count));
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => super::kernel_avx512::multiply_packed(isa, layout, chunk, codes, tokens, sums),
        _ => unreachable!("asked for by `multiplies_packed`"),
    }
}

fn multiply_scalar(layout: &Layout, chunk: &Chunk, tokens: &[&[QuantisedBlock]], sums: &mut [[f32; PANEL]]) {
    let subs_a_block = BLOCK / layout.sub_length;
    let groups_a_sub = layout.sub_length / 4;
    for (blocks, sums) in tokens.iter().zip(sums) {
        for sub in 0..chunk.block_count * subs_a_block {
            let (block, part) = (&blocks[sub / subs_a_block], sub % subs_a_block);
            let groups = &chunk.codes[sub / subs_a_block][part * groups_a_sub..][..groups_a_sub];
            let codes = &block.codes[part * layout.sub_length..][..layout.sub_length];
            let place = if subs_a_block == 1 { 0 } else { 1 + part };
            for (row, sum) in sums.iter_mut().enumerate() {
                let mut product = -layout.offset * block.sums[place];
                for (group, codes) in groups.iter().zip(codes.as_chunks::<4>().0) {
                    for (k, &code) in codes.iter().enumerate() {
                        product += i32::from(group[4 * row + k]) * i32::from(code);
                    }
                }
                *sum = (product as f32).mul_add(chunk.scales[sub][row] * block.scale, *sum);
                if layout.has_mins {
                    *sum = (-chunk.mins[sub][row]).mul_add(block.weighted[place], *sum);
                }
            }
        }
    }
}
