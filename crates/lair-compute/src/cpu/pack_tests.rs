//! Packing of every format against the plain way to do it, on every instruction set, to the byte.

use std::sync::Arc;

use lair_quant::{Codes, Format, TensorType, formats::FORMATS};
use lair_simd::{Isa, IsaChoice};

use super::pack::pack_panel;
use super::packed::{BLOCK, CodeBits, GROUP_BYTES, Layout, PANEL, ScaleForm, SubBits, expand};
use crate::{MatrixBytes, RowSelection};

const SUPER: usize = 256;

/// Any bytes at all: blocks with scales that are infinite or no numbers are packed as well.
fn random_matrix(tensor_type: TensorType, rows: usize, columns: usize, count: usize, seed: u64) -> MatrixBytes {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let size_bytes = rows * count * columns / tensor_type.block_length() * tensor_type.block_bytes();
    MatrixBytes {
        name: "w".into(),
        bytes: Arc::new((0..size_bytes).map(|_| next()).collect::<Vec<u8>>()),
        tensor_type,
        columns,
        stored_rows: rows,
        count,
        selection: RowSelection::All,
    }
}

/// Packs all panels both ways and compares them.
fn check(source: &MatrixBytes, format: &Format) {
    let layout = Layout::of(format, format.shape.as_ref().expect("a quantized format"));
    let code_bytes = source.columns / BLOCK * layout.bits.block_bytes();
    let scale_bytes = source.columns.div_ceil(layout.record_columns()) * layout.record_bytes();
    for index in 0..source.count {
        for panel in 0..source.rows().div_ceil(PANEL) {
            let room = || (vec![0; code_bytes], vec![0; scale_bytes]);
            let mut expected = room();
            pack_panel_plainly(source, format, &layout, (index, panel), (&mut expected.0, &mut expected.1));
            for choice in [IsaChoice::Scalar, IsaChoice::Avx2, IsaChoice::Auto] {
                let mut found = room();
                pack_panel(Isa::detect(choice), source, &layout, (index, panel), (&mut found.0, &mut found.1));
                let what = (format.tensor_type, source.rows(), source.columns, index, panel, choice);
                assert!(found.0 == expected.0, "codes differ: {what:?}");
                assert!(found.1 == expected.1, "scales differ: {what:?}");
            }
        }
    }
}

#[test]
fn packs_every_format_as_the_plain_way_does() {
    for format in FORMATS.iter().filter(|format| format.shape.is_some()) {
        for rows in [1, 15, 16, 17, 33] {
            for blocks in [1, 2, 3, 7, 8, 9, 17] {
                let seed = (rows * 100 + blocks) as u64;
                check(&random_matrix(format.tensor_type, rows, blocks * format.block_length, 1, seed), format);
            }
        }
    }
}

#[test]
fn packs_selected_rows_of_stacks() {
    for format in FORMATS.iter().filter(|format| format.shape.is_some()) {
        let source = random_matrix(format.tensor_type, 40, 512, 3, 7);
        let groups = RowSelection::Groups { start: 3, length: 5, stride: 10, count: 4 };
        for selection in [RowSelection::Range(7..26), groups] {
            check(&MatrixBytes { selection, ..source.clone() }, format);
        }
    }
}

#[test]
fn packs_blocks_of_equal_bytes() {
    for format in FORMATS.iter().filter(|format| format.shape.is_some()) {
        for byte in [0x00, 0x7f, 0x80, 0xff] {
            let mut source = random_matrix(format.tensor_type, 16, 256, 1, 1);
            source.bytes = Arc::new(vec![byte; source.row_bytes() * 16]);
            check(&source, format);
        }
    }
}

#[test]
fn expand_undoes_compress() {
    for (bits, count) in [
        (CodeBits::Two, 4u32),
        (CodeBits::Three, 8),
        (CodeBits::Four, 16),
        (CodeBits::Five, 32),
        (CodeBits::Six, 64),
        (CodeBits::Eight, 256),
    ] {
        let mut state = 1u32;
        let mut groups = [[0; GROUP_BYTES]; 8];
        for byte in groups.iter_mut().flatten() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = ((state >> 16) % count) as u8;
        }
        let mut packed = vec![0; bits.block_bytes()];
        compress(bits, &groups, &mut packed);
        let layout = Layout {
            bits,
            table: None,
            offset: 0,
            code_max: 255,
            sub_length: 32,
            scale_form: ScaleForm::Half,
            has_mins: false,
            sub_bits: SubBits::Eight,
            is_signed: false,
        };
        let mut back = [[0xff; GROUP_BYTES]; 8];
        expand(&layout, &packed, &mut back);
        assert_eq!(back, groups, "{bits:?}");
        assert_eq!(CodeBits::for_count(count as usize), bits);
    }
}

/// Packs one panel as the drawing in `packed` says, element by element, from what `lair_quant` takes out of a block.
fn pack_panel_plainly(
    source: &MatrixBytes,
    format: &Format,
    layout: &Layout,
    (index, panel): (usize, usize),
    (codes_out, scales_out): (&mut [u8], &mut [u8]),
) {
    let first_row = panel * PANEL;
    let row_count = PANEL.min(source.rows() - first_row);
    let (block_length, block_bytes) = (format.block_length, format.block_bytes);
    let rows: [&[u8]; PANEL] =
        std::array::from_fn(|row| if row < row_count { source.row(index, first_row + row) } else { &[] });
    let mut codes = Codes::new();
    // [row, column of the block]
    let mut bytes = [[0u8; SUPER]; PANEL];
    for block in 0..source.columns / block_length {
        for (row, row_bytes) in rows.iter().enumerate().take(row_count) {
            format.unpack_block(&row_bytes[block * block_bytes..][..block_bytes], &mut codes);
            write_codes(layout, &codes.codes[..block_length], &mut bytes[row]);
            write_scales(layout, &codes, row, (block * block_length, block_length), scales_out);
        }
        for part in 0..block_length / BLOCK {
            let place = block * block_length / BLOCK + part;
            let out = &mut codes_out[place * layout.bits.block_bytes()..][..layout.bits.block_bytes()];
            compress(layout.bits, &interleave(&bytes, part * BLOCK), out);
        }
    }
}

/// Codes of a row as unsigned bytes, or as places in the table.
fn write_codes(layout: &Layout, codes: &[i8], bytes: &mut [u8; SUPER]) {
    match &layout.table {
        None => {
            for (byte, &code) in bytes.iter_mut().zip(codes) {
                *byte = (code as u8).wrapping_add(layout.offset as u8);
            }
        }
        Some(table) => {
            let mut place_of = [0u8; 256];
            for (place, &value) in table.iter().enumerate().rev() {
                place_of[usize::from(value)] = place as u8;
            }
            for (byte, &code) in bytes.iter_mut().zip(codes) {
                *byte = place_of[usize::from((code as u8).wrapping_add(layout.offset as u8))];
            }
        }
    }
}

/// Scales and mins of one row's block into its records.
fn write_scales(layout: &Layout, codes: &Codes, row: usize, (column, length): (usize, usize), out: &mut [u8]) {
    let (record_columns, record_bytes) = (layout.record_columns(), layout.record_bytes());
    let subs_a_record = record_columns / layout.sub_length;
    for sub in 0..length / layout.sub_length {
        let at = column + sub * layout.sub_length;
        let record = &mut out[at / record_columns * record_bytes..][..record_bytes];
        let place = at % record_columns / layout.sub_length * PANEL + row;
        let (scale, min) = (codes.scales[sub], codes.mins[sub]);
        match layout.scale_form {
            ScaleForm::Half | ScaleForm::Brain => {
                write_float(layout.scale_form, codes.super_scale * scale as f32, &mut record[2 * place..][..2]);
                if layout.has_mins {
                    let place = subs_a_record * PANEL + place;
                    write_float(layout.scale_form, codes.super_min * min as f32, &mut record[2 * place..][..2]);
                }
            }
            form @ (ScaleForm::Super | ScaleForm::HalfSuper) => {
                let size = if form == ScaleForm::Super { 4 } else { 2 };
                write_super(form, codes.super_scale, &mut record[size * row..][..size]);
                let kinds = 1 + usize::from(layout.has_mins);
                let (supers, packed) = record.split_at_mut(kinds * size * PANEL);
                write_sub(layout.sub_bits, place, scale as u8, packed);
                if layout.has_mins {
                    write_super(form, codes.super_min, &mut supers[size * (PANEL + row)..][..size]);
                    write_sub(layout.sub_bits, subs_a_record * PANEL + place, min as u8, packed);
                }
            }
        }
    }
}

/// Puts a small integer into its bits: place `64 g + i` is byte `i` of group `g`.
fn write_sub(bits: SubBits, place: usize, value: u8, packed: &mut [u8]) {
    let (group, byte) = (place / GROUP_BYTES, place % GROUP_BYTES);
    if bits == SubBits::Eight {
        packed[place] = value;
        return;
    }
    packed[group / 2 * GROUP_BYTES + byte] |= (value & 15) << (4 * (group % 2));
    if bits == SubBits::Six {
        let pairs = packed.len() / 3 * 2;
        packed[pairs + group / 4 * GROUP_BYTES + byte] |= value >> 4 << (2 * (group % 4));
    } else {
        assert!(value < 16, "a number of more bits than its format has");
    }
}

fn write_super(form: ScaleForm, value: f32, bytes: &mut [u8]) {
    match form {
        ScaleForm::Super => bytes.copy_from_slice(&value.to_le_bytes()),
        _ => bytes.copy_from_slice(&half::f16::from_f32(value).to_le_bytes()),
    }
}

fn write_float(form: ScaleForm, value: f32, bytes: &mut [u8]) {
    let bits = match form {
        ScaleForm::Half => half::f16::from_f32(value).to_bits(),
        _ => (value.to_bits() >> 16) as u16,
    };
    bytes.copy_from_slice(&bits.to_le_bytes());
}

/// 32 columns of 16 rows, `[group, row, column of the group]`.
fn interleave(bytes: &[[u8; SUPER]; PANEL], column: usize) -> [[u8; GROUP_BYTES]; 8] {
    let mut groups = [[0; GROUP_BYTES]; 8];
    for (row, bytes) in bytes.iter().enumerate() {
        let (quads, _) = bytes[column..column + BLOCK].as_chunks::<4>();
        for (group, quad) in groups.iter_mut().zip(quads) {
            group[4 * row..][..4].copy_from_slice(quad);
        }
    }
    groups
}

/// Puts a block's codes into its bits.
fn compress(bits: CodeBits, groups: &[[u8; GROUP_BYTES]; 8], out: &mut [u8]) {
    let (parts, _) = out.as_chunks_mut::<GROUP_BYTES>();
    let nibbles = |parts: &mut [[u8; GROUP_BYTES]]| {
        for (j, part) in parts.iter_mut().enumerate() {
            *part = std::array::from_fn(|i| groups[2 * j][i] & 15 | groups[2 * j + 1][i] << 4);
        }
    };
    let pairs = |parts: &mut [[u8; GROUP_BYTES]], shift: u8| {
        for (p, part) in parts.iter_mut().enumerate() {
            let pair = |q: usize, i: usize| (groups[4 * p + q][i] >> shift & 3) << (2 * q);
            *part = std::array::from_fn(|i| pair(0, i) | pair(1, i) | pair(2, i) | pair(3, i));
        }
    };
    let singles = |part: &mut [u8; GROUP_BYTES], shift: u8| {
        *part = std::array::from_fn(|i| (0..8).fold(0, |bits, g| bits | (groups[g][i] >> shift & 1) << g));
    };
    match bits {
        CodeBits::Two => pairs(&mut parts[..2], 0),
        CodeBits::Three => {
            pairs(&mut parts[..2], 0);
            singles(&mut parts[2], 2);
        }
        CodeBits::Four => nibbles(&mut parts[..4]),
        CodeBits::Five => {
            nibbles(&mut parts[..4]);
            singles(&mut parts[4], 4);
        }
        CodeBits::Six => {
            nibbles(&mut parts[..4]);
            pairs(&mut parts[4..6], 4);
        }
        CodeBits::Eight => parts.copy_from_slice(groups),
    }
}
