//! Speed of matrix products: GMAC/s, and the rate at which weights are read, for each format and number of tokens.
//!
//! `cargo run --release -p lair-compute --example kernel_bench -- [threads] [rows] [columns] [formats ...]`; the best of
//! several runs counts. With `LAIR_BENCH_ISA=avx2`, or another name of `IsaChoice`, the instruction set is held back.

use std::sync::Arc;
use std::time::Instant;

use lair_compute::cpu::{Cpu, CpuOptions, IsaChoice};
use lair_compute::{Backend, Linear, MatrixBytes, RowSelection};
use lair_quant::TensorType;

const FORMATS: [&str; 12] =
    ["Q4_0", "Q4_1", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q2_K", "Q3_K", "IQ4_XS", "IQ3_S", "F16", "F32"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, default: usize| arguments.get(index).map_or(default, |text| text.parse().expect("a number"));
    let (threads, rows, columns) = (number(0, 1), number(1, 4096), number(2, 2048));
    let names: Vec<&str> = arguments.iter().skip(3).map(String::as_str).collect();
    let names = if names.is_empty() { FORMATS.to_vec() } else { names };
    let isa = std::env::var("LAIR_BENCH_ISA")
        .map_or(IsaChoice::Auto, |name| IsaChoice::from_name(&name).expect("a name of `IsaChoice`, such as avx2"));
    let mut cpu = Cpu::new(CpuOptions { threads: Some(threads), isa }).expect("threads start");
    println!("{rows} x {columns}, {threads} threads, {}", cpu.isa_name());
    println!("{:8} {:>9} {:>6} {:>9} {:>8}", "type", "pack GB/s", "tokens", "GMAC/s", "GB/s");
    for name in names {
        let tensor_type = TensorType::from_name(name).expect("a tensor type");
        bench(&mut cpu, tensor_type, rows, columns);
    }
}

/// Four matrices take turns, so that small batches read weights from memory, not from a cache.
fn bench(cpu: &mut Cpu, tensor_type: TensorType, rows: usize, columns: usize) {
    let matrices_count = if columns * rows > 1 << 22 { 24 } else { 80 };
    let size = columns / tensor_type.block_length() * tensor_type.block_bytes() * rows;
    let bytes = Arc::new((0..size).map(|i| (i * 7 % 61) as u8).collect::<Vec<u8>>());
    let source = MatrixBytes {
        name: "weights".into(),
        bytes,
        tensor_type,
        columns,
        stored_rows: rows,
        count: 1,
        selection: RowSelection::All,
    };
    let start = Instant::now();
    let linears: Vec<Linear<Cpu>> = (0..matrices_count)
        .map(|_| Linear { weight: cpu.matrix(&source).expect("weights"), bias: None, scale: 1.0 })
        .collect();
    let pack_rate = (size * matrices_count) as f64 / start.elapsed().as_secs_f64() / 1e9;
    let list = std::env::var("LAIR_BENCH_TOKENS").unwrap_or_else(|_| "1 2 3 4 8 16 32 512".into());
    for tokens in list.split(' ').map(|text| text.parse::<usize>().expect("a number of tokens")) {
        let input = cpu.buffer(tokens, columns).expect("activations");
        let mut output = cpu.buffer(tokens, rows).expect("activations");
        // Large batches are bound by arithmetic: fewer matrices, so that more runs fit a quiet moment.
        let linears = if tokens > 16 { &linears[..4] } else { &linears[..] };
        let macs = (tokens * rows * columns * linears.len()) as f64;
        let repeats = 12;
        let mut best = f64::INFINITY;
        for _ in 0..repeats {
            let start = Instant::now();
            for linear in linears {
                cpu.project(tokens, None, &input, &mut [(linear, &mut output)]);
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        let read = (linears[0].weight.size_bytes() * linears.len()) as f64;
        let name = tensor_type.name();
        println!("{name:8} {pack_rate:9.2} {tokens:6} {:9.1} {:8.2}", macs / best / 1e9, read / best / 1e9);
    }
}
