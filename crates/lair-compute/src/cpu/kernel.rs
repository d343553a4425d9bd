//! The inner products: a chunk of a weight panel with a few tokens. One file an instruction set, all equal to the bit.
//!
//! For each block the integer products of its sub-blocks, one or two (exact), then in f32
//! `value = fma(second_product, second_scale, first_product * first_scale)`, `acc = fma(value, token_scale, acc)` and, where there are
//! mins, `acc = fma(-min, token_weighted_sum, acc)` for each sub-block. Columns come in order and are never split, so
//! a result depends neither on the number of tokens nor on threads.
//!
//! The token's scale comes last because it is the same for the whole block, and then both multiplications take a factor from memory.

use lair_simd::Isa;

#[cfg(target_arch = "x86_64")]
use super::packed::CodeBits;
use super::packed::{BLOCK, Layout, PANEL};
use super::panel::{CHUNK, Chunk};
use super::quantise::QuantisedBlock;

/// The most tokens that one call of a kernel takes.
pub(super) const STRIP_MAX: usize = 8;

/// Adds the products of a chunk with every token to `sums`, `[token, row]`.
///
/// `tokens` are the activations of at most [`STRIP_MAX`] tokens from the chunk's first column on.
pub(super) fn multiply(
    isa: Isa,
    layout: &Layout,
    chunk: &Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    assert!(tokens.len() <= STRIP_MAX && tokens.len() == sums.len());
    assert!(tokens.iter().all(|blocks| blocks.len() >= chunk.block_count));
    match isa {
        Isa::Scalar => multiply_scalar(layout, chunk, tokens, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(avx2) => super::kernel_avx2::multiply(avx2, layout, chunk, tokens, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni(_) => super::kernel_avx_vnni::multiply(isa, layout, chunk, tokens, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => super::kernel_avx512::multiply(isa, layout, chunk, tokens, sums),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) | Isa::NeonDotprod(_) | Isa::NeonI8mm(_) => {
            super::kernel_neon::multiply(isa, layout, chunk, tokens, sums)
        }
    }
}

/// [`multiply`] for any number of tokens and two panels of the same layout, whose chunks hold the same columns.
///
/// `tokens` are whole rows of activations, and `first` is the chunks' first block.
pub(super) fn multiply_two(
    isa: Isa,
    layout: &Layout,
    chunks: &[Chunk; 2],
    (tokens, first): (&[&[QuantisedBlock]], usize),
    [one, two]: [&mut [[f32; PANEL]]; 2],
) {
    let done = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => super::kernel_avx512::multiply_two(isa, layout, chunks, (tokens, first), [one, two]),
        _ => 0,
    };
    let sums = one[done..].chunks_mut(STRIP_MAX).zip(two[done..].chunks_mut(STRIP_MAX));
    for (tokens, (one, two)) in tokens[done..].chunks(STRIP_MAX).zip(sums) {
        let mut strip: [&[QuantisedBlock]; STRIP_MAX] = [&[]; STRIP_MAX];
        strip.iter_mut().zip(tokens).for_each(|(part, token)| *part = &token[first..]);
        multiply(isa, layout, &chunks[0], &strip[..tokens.len()], one);
        multiply(isa, layout, &chunks[1], &strip[..tokens.len()], two);
    }
}

/// The most tokens for which [`multiply_direct`] is to be called: with few, expanding codes costs more than products.
///
/// Measured by `kernel_bench`: where both ways are equally fast, one way with every strip taking codes apart anew, the other
/// expanding them once. With AVX-512 that is at about 48 tokens (12 tokens of Q4_K: 1.4 times as fast directly), and earlier
/// where a block is two sub-blocks, which are finished one by one (Q6_K: 24 tokens, Q2_K: 17).
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] // Elsewhere it does not depend on the layout.
pub(super) fn direct_tokens_max(isa: Isa, layout: &Layout) -> usize {
    match isa {
        Isa::Scalar => 0,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => {
            if layout.sub_length == BLOCK {
                48
            } else {
                20
            }
        }
        // Bytes need not be expanded, and the kernel is the same.
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni(_) if layout.bits == CodeBits::Eight => 32,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) | Isa::AvxVnni(_) => 8,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) | Isa::NeonDotprod(_) | Isa::NeonI8mm(_) => STRIP_MAX,
    }
}

/// Adds the products of whole panels, given their codes and scales as they are packed, with every token to `sums`,
/// `[panel, token, row]`: as many panels as that has room for, one behind the other, each of so many columns.
///
/// `chunk` is room for scales.
pub(super) fn multiply_direct(
    isa: Isa,
    layout: &Layout,
    (codes, scales): (&[u8], &[u8]),
    columns: usize,
    chunk: &mut Chunk,
    tokens: &[&[QuantisedBlock]],
    sums: &mut [[f32; PANEL]],
) {
    #[cfg(target_arch = "x86_64")]
    if let Isa::Avx512Vnni(_) = isa {
        let bytes = (codes, scales);
        return super::kernel_avx512_direct::multiply_panels(isa, layout, bytes, columns, chunk, tokens, sums);
    }
    let block_bytes = layout.bits.block_bytes();
    let (code_bytes, scale_bytes) = layout.panel_bytes(columns);
    for (panel, sums) in sums.chunks_exact_mut(tokens.len()).enumerate() {
        let (codes, scales) =
            (&codes[panel * code_bytes..][..code_bytes], &scales[panel * scale_bytes..][..scale_bytes]);
        for (index, codes) in codes.chunks(CHUNK / BLOCK * block_bytes).enumerate() {
            let first = index * (CHUNK / BLOCK);
            chunk.fill_scales(isa, layout, scales, (first, codes.len() / block_bytes));
            let mut rest: [&[QuantisedBlock]; STRIP_MAX] = [&[]; STRIP_MAX];
            rest.iter_mut().zip(tokens).for_each(|(rest, token)| *rest = &token[first..]);
            multiply_packed(isa, layout, chunk, codes, &rest[..tokens.len()], sums);
        }
    }
}

/// [`multiply`] for codes as they are packed: only scales and mins of the chunk are read.
fn multiply_packed(
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
        Isa::AvxVnni(_) => super::kernel_avx_vnni::multiply_packed(isa, layout, chunk, codes, tokens, sums),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(avx2) => super::kernel_avx2::multiply_packed(avx2, layout, chunk, codes, tokens, sums),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) | Isa::NeonDotprod(_) | Isa::NeonI8mm(_) => {
            super::kernel_neon::multiply_packed(isa, layout, chunk, codes, tokens, sums)
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => unreachable!("takes whole panels"),
        Isa::Scalar => unreachable!("not for any number of tokens"),
    }
}

fn multiply_scalar(layout: &Layout, chunk: &Chunk, tokens: &[&[QuantisedBlock]], sums: &mut [[f32; PANEL]]) {
    let subs_a_block = BLOCK / layout.sub_length;
    let groups_a_sub = layout.sub_length / 4;
    for (blocks, sums) in tokens.iter().zip(sums) {
        for (index, block) in blocks[..chunk.block_count].iter().enumerate() {
            let subs = index * subs_a_block..(index + 1) * subs_a_block;
            for (row, sum) in sums.iter_mut().enumerate() {
                let mut value = 0.0;
                for (part, sub) in subs.clone().enumerate() {
                    let place = if subs_a_block == 1 { 0 } else { 1 + part };
                    let groups = &chunk.codes[index][part * groups_a_sub..][..groups_a_sub];
                    let codes = &block.codes[part * layout.sub_length..][..layout.sub_length];
                    let mut product = block.correction(place, chunk.offset);
                    for (group, codes) in groups.iter().zip(codes.as_chunks::<4>().0) {
                        for (k, &code) in codes.iter().enumerate() {
                            product += i32::from(group[4 * row + k]) * i32::from(code);
                        }
                    }
                    let (product, scale) = (product as f32, chunk.scales[sub][row]);
                    value = if part == 0 { product * scale } else { product.mul_add(scale, value) };
                }
                *sum = value.mul_add(block.scale, *sum);
                if layout.has_mins {
                    for (part, sub) in subs.clone().enumerate() {
                        let place = if subs_a_block == 1 { 0 } else { 1 + part };
                        *sum = (-chunk.mins[sub][row]).mul_add(block.weighted[place], *sum);
                    }
                }
            }
        }
    }
}
