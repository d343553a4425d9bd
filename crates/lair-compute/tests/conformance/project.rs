//! Norms, products, embedding and the head.

use lair_compute::reference::Reference;
use lair_compute::{Backend, Head, MatrixBytes, NormGroup, NormKind, RowSelection};
use lair_quant::TensorType;

use crate::build::{Random, buffer, linear, norm, random_matrix};
use crate::{assert_bits, assert_close, on_every_cpu, read};

/// Error that 8-bit activations may bring, against f32 ones, on short rows of random blocks, a few of which outweigh all
/// others. The kernels' own arithmetic is checked exactly beside them; a wrong scale or row shows here as 0.1 and more.
const QUANTISED: f64 = 2e-3;
/// Error of another order of f32 sums.
const EXACT: f64 = 1e-11;

fn limit(tensor_type: TensorType) -> f64 {
    match tensor_type {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => EXACT,
        _ => QUANTISED,
    }
}

/// Types a weight may have.
fn weight_types() -> Vec<TensorType> {
    use TensorType::{F64, I8, I16, I32, I64, Q8_1, Q8_K};
    TensorType::all().filter(|tensor_type| ![F64, I8, I16, I32, I64, Q8_1, Q8_K].contains(tensor_type)).collect()
}

/// `norm -> linear` with a bias, on `rows` rows.
fn project<B: Backend>(backend: &mut B, weight: &MatrixBytes, input: &[f32], rows: usize, bias: &[f32]) -> Vec<f32> {
    let columns = weight.columns;
    backend.reserve(rows, columns.max(weight.rows())).expect("scratch");
    let norm_weight = Random(5).values(columns);
    let norm = norm(backend, NormKind::Rms, NormGroup::Row, Some(&norm_weight), None);
    let linear = linear(backend, weight, Some(bias));
    let input = buffer(backend, rows, columns, input);
    let mut output = backend.buffer(rows, weight.rows()).expect("a buffer");
    backend.project(rows, Some(&norm), &input, &mut [(&linear, &mut output)]);
    read(backend, rows, weight.rows(), &output)
}

#[test]
fn products_of_every_type_agree_with_the_reference() {
    for tensor_type in weight_types() {
        let block = tensor_type.block_length().max(8);
        for (rows, blocks, weight_rows) in [(1, 1, 1), (1, 3, 17), (2, 2, 15), (3, 1, 16), (5, 2, 33), (17, 1, 48)] {
            let columns = block * blocks;
            let mut random = Random(tensor_type.id() as u64 * 1000 + (rows * 10 + blocks) as u64);
            let weight = random_matrix(&mut random, tensor_type, weight_rows, columns);
            let (input, bias) = (random.values(rows * columns), random.values(weight_rows));
            let what = format!("{tensor_type} {weight_rows}x{columns}, {rows} rows");
            let expected = project(&mut Reference, &weight, &input, rows, &bias);
            let actual = on_every_cpu(&what, |cpu| project(cpu, &weight, &input, rows, &bias));
            assert_close(&what, &actual, &expected, limit(tensor_type));
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    for tensor_type in weight_types() {
        let columns = tensor_type.block_length().max(32) * 2;
        let mut random = Random(77 + tensor_type.id() as u64);
        let weight = random_matrix(&mut random, tensor_type, 40, columns);
        let (input, bias) = (random.values(70 * columns), random.values(40));
        let together = on_every_cpu("together", |cpu| project(cpu, &weight, &input, 70, &bias));
        for row in [0, 1, 30, 63, 64, 69] {
            let alone = on_every_cpu("alone", |cpu| {
                project(cpu, &weight, &input[row * columns..(row + 1) * columns], 1, &bias)
            });
            assert_bits(&format!("{tensor_type}, row {row}"), &alone, &together[row * 40..(row + 1) * 40]);
        }
    }
}

#[test]
fn selected_rows_of_a_fused_tensor_are_used() {
    for tensor_type in [TensorType::F32, TensorType::Q4_1, TensorType::Q6_K] {
        let mut random = Random(9);
        let mut weight = random_matrix(&mut random, tensor_type, 64, 256);
        let (input, bias) = (random.values(2 * 256), random.values(64));
        for selection in [
            RowSelection::Range(3..40),
            RowSelection::Groups { start: 0, length: 8, stride: 16, count: 4 },
            RowSelection::Groups { start: 8, length: 8, stride: 16, count: 4 },
        ] {
            weight.selection = selection.clone();
            let bias = &bias[..weight.rows()];
            let expected = project(&mut Reference, &weight, &input, 2, bias);
            let actual = on_every_cpu("selection", |cpu| project(cpu, &weight, &input, 2, bias));
            assert_close(&format!("{tensor_type} {selection:?}"), &actual, &expected, limit(tensor_type));
        }
    }
}

#[test]
fn project_add_adds_the_normed_product() {
    fn run<B: Backend>(backend: &mut B, weight: &MatrixBytes, input: &[f32], residual: &[f32]) -> Vec<f32> {
        backend.reserve(3, 128).expect("scratch");
        let linear = linear(backend, weight, Some(&Random(1).values(48)));
        let post_norm = norm(backend, NormKind::Rms, NormGroup::Row, Some(&Random(2).values(48)), None);
        let input = buffer(backend, 3, 128, input);
        let mut stream = buffer(backend, 3, 48, residual);
        backend.project_add(3, &input, &linear, Some(&post_norm), 0.5, &mut stream);
        backend.project_add(3, &input, &linear, None, 1.0, &mut stream);
        read(backend, 3, 48, &stream)
    }
    for tensor_type in [TensorType::F32, TensorType::F16, TensorType::Q4_0, TensorType::Q8_0] {
        let mut random = Random(31);
        let weight = random_matrix(&mut random, tensor_type, 48, 128);
        let (input, residual) = (random.values(3 * 128), random.values(3 * 48));
        let expected = run(&mut Reference, &weight, &input, &residual);
        let actual = on_every_cpu("project_add", |cpu| run(cpu, &weight, &input, &residual));
        assert_close(&format!("project_add {tensor_type}"), &actual, &expected, limit(tensor_type));
    }
}

#[test]
fn norms_agree_with_the_reference() {
    fn run<B: Backend>(backend: &mut B, kind: NormKind, group: NormGroup, width: usize, values: &[f32]) -> Vec<f32> {
        backend.reserve(3, width).expect("scratch");
        // Runs of 16 have a weight for each element of the row.
        let length = if let NormGroup::Run(length @ 8) = group { length } else { width };
        let weight = Random(3).values(length);
        let bias = Random(4).values(length);
        let norm = norm(backend, kind, group, Some(&weight), (kind == NormKind::Layer).then_some(&bias[..]));
        let input = buffer(backend, 3, width, values);
        let mut output = backend.buffer(3, width).expect("a buffer");
        backend.norm(3, &norm, &input, &mut output);
        read(backend, 3, width, &output)
    }
    for kind in [NormKind::Rms, NormKind::Layer] {
        for (group, width) in [
            (NormGroup::Row, 1),
            (NormGroup::Row, 37),
            (NormGroup::Row, 576),
            (NormGroup::Run(8), 64),
            (NormGroup::Run(16), 64),
        ] {
            let values = Random(11).values(3 * width);
            let expected = run(&mut Reference, kind, group, width, &values);
            let actual = on_every_cpu("norm", |cpu| run(cpu, kind, group, width, &values));
            if width > 1 {
                assert_close(&format!("{kind:?} {group:?} of {width}"), &actual, &expected, EXACT);
            }
        }
    }
}

#[test]
fn embedding_rows_are_the_table_s() {
    fn run<B: Backend>(backend: &mut B, table: &MatrixBytes) -> Vec<f32> {
        backend.reserve(4, 512).expect("scratch");
        let matrix = backend.matrix(table).expect("a matrix");
        let mut output = backend.buffer(4, 512).expect("a buffer");
        backend.embed(&matrix, &[0, 36, 7, 7], 1.5, &mut output);
        read(backend, 4, 512, &output)
    }
    for tensor_type in weight_types() {
        let table = random_matrix(&mut Random(21), tensor_type, 37, 512);
        let expected = run(&mut Reference, &table);
        let actual = on_every_cpu("embed", |cpu| run(cpu, &table));
        assert_close(&format!("embedding of {tensor_type}"), &actual, &expected, 1e-12);
    }
}

#[test]
fn the_head_gives_only_the_wanted_rows() {
    fn run<B: Backend>(backend: &mut B, weight: &MatrixBytes, input: &[f32], wanted: &[usize]) -> Vec<f32> {
        backend.reserve(6, 128).expect("scratch");
        let head = Head {
            norm: Some(norm(backend, NormKind::Layer, NormGroup::Row, Some(&Random(6).values(64)), None)),
            linear: linear(backend, weight, None),
            scale: 0.25,
            softcap: Some(3.0),
        };
        let input = buffer(backend, 6, 64, input);
        let mut logits = vec![0.0; wanted.len() * 100];
        backend.head(&head, wanted, &input, &mut logits);
        logits
    }
    for tensor_type in [TensorType::F32, TensorType::Q8_0, TensorType::Q4_1] {
        let mut random = Random(41);
        let weight = random_matrix(&mut random, tensor_type, 100, 64);
        let input = random.values(6 * 64);
        let expected = run(&mut Reference, &weight, &input, &[5, 0, 3]);
        let actual = on_every_cpu("head", |cpu| run(cpu, &weight, &input, &[5, 0, 3]));
        assert_close(&format!("head of {tensor_type}"), &actual, &expected, limit(tensor_type));
        let alone = on_every_cpu("head alone", |cpu| run(cpu, &weight, &input, &[3]));
        assert_bits("a wanted row alone", &alone, &actual[200..]);
    }
}

#[test]
fn kept_rows_move_to_the_front() {
    fn run<B: Backend>(backend: &mut B, input: &[f32], rows: &[usize]) -> Vec<f32> {
        let mut buffer = buffer(backend, 7, 5, input);
        backend.keep_rows(rows, &mut buffer);
        read(backend, rows.len(), 5, &buffer)
    }
    let input = Random(8).values(35);
    for rows in [&[][..], &[0], &[6], &[0, 1, 2], &[1, 2, 5, 6], &[0, 1, 2, 3, 4, 5, 6]] {
        let expected: Vec<f32> = rows.iter().flat_map(|row| &input[row * 5..][..5]).copied().collect();
        assert_bits("kept rows", &run(&mut Reference, &input, rows), &expected);
        assert_bits("kept rows", &on_every_cpu("kept rows", |cpu| run(cpu, &input, rows)), &expected);
    }
}
