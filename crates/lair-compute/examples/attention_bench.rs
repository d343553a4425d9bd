//! Speed of the attention region, with what bounds it: multiplications a cycle, and bytes of the cache read a second.
//!
//! `cargo run --release -p lair-compute --example attention_bench -- [threads] [types ...]`, types being `f32`, `f16`,
//! `q8_0` and `q4_0`; the median of several runs counts. With `LAIR_BENCH_ISA=avx2` or `scalar` the instruction set is
//! held back. `MAC/cycle` takes the clock from `LAIR_BENCH_GHZ` (of one core), 3.7 without.

use std::time::Instant;

use lair_compute::cpu::{Cpu, CpuOptions, IsaChoice, Kv};
use lair_compute::{
    Attention, AttentionBuffers, Backend, Batch, KvElement, KvLayerLayout, KvLayout, Mask, NormOrder, PAGE_LENGTH,
    PageId, SequenceRows,
};

/// Heads of queries, heads of keys and values, elements of a head.
const SHAPES: [(usize, usize, usize); 4] = [(32, 4, 64), (28, 4, 128), (8, 1, 256), (12, 2, 128)];
/// Rows of a step, and positions in the cache before them.
const STEPS: [(usize, usize); 4] = [(1, 512), (1, 8192), (512, 0), (512, 8192)];
/// Layers that take turns, so that a decode reads keys and values from memory as a model's does.
const LAYERS: usize = 4;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.first().map_or(1, |text| text.parse().expect("a number of threads"));
    let elements: Vec<KvElement> = if arguments.len() > 1 {
        arguments[1..].iter().map(|name| element(name)).collect()
    } else {
        vec![KvElement::F16]
    };
    let isa = match std::env::var("LAIR_BENCH_ISA").as_deref() {
        Ok("avx2") => IsaChoice::Avx2,
        Ok("scalar") => IsaChoice::Scalar,
        _ => IsaChoice::Auto,
    };
    let ghz: f64 = std::env::var("LAIR_BENCH_GHZ").map_or(3.7, |text| text.parse().expect("a clock in GHz"));
    let mut cpu = Cpu::new(CpuOptions { threads: Some(threads), isa }).expect("threads start");
    println!("{threads} threads, {}, {ghz} GHz", cpu.isa_name());
    println!(
        "{:12} {:5} {:>5} {:>6} {:>10} {:>12} {:>8} {:>10}",
        "heads", "type", "rows", "depth", "us", "ns/key/head", "GB/s", "MAC/cycle"
    );
    for shape in SHAPES {
        for &element in &elements {
            for step in STEPS {
                bench(&mut cpu, shape, element, step, threads as f64 * ghz);
            }
        }
    }
}

fn element(name: &str) -> KvElement {
    match name {
        "f32" => KvElement::F32,
        "f16" => KvElement::F16,
        "q8_0" => KvElement::Q8_0,
        "q4_0" => KvElement::Q4_0,
        _ => panic!("`{name}` is no type of keys and values"),
    }
}

fn bench(
    cpu: &mut Cpu,
    (heads, kv_heads, dim): (usize, usize, usize),
    element: KvElement,
    (rows, depth): (usize, usize),
    cycles_a_ns: f64,
) {
    let pages = (depth + rows).div_ceil(PAGE_LENGTH);
    let layer = KvLayerLayout { kv_head_count: kv_heads, key_dim: dim, value_dim: dim };
    let layout = KvLayout { layers: vec![layer; LAYERS], element, page_count: pages };
    let mut kv = cpu.kv(&layout).expect("a cache");
    // Pages in no order, as after many requests.
    let table = shuffled(pages);
    for layer_index in 0..LAYERS {
        // What fills the cache looks at nothing: only what it stores is wanted.
        let attention = Attention { mask: Mask::Window(1), ..attention(layer_index, (heads, kv_heads, dim)) };
        let mut position = 0;
        while position < depth {
            let count = 256.min(depth - position);
            run(cpu, &attention, &mut kv, &table, (position, count));
            position += count;
        }
    }
    let layers: Vec<Attention<Cpu>> = (0..LAYERS).map(|index| attention(index, (heads, kv_heads, dim))).collect();
    let mut times: Vec<f64> = (0..if rows == 1 { 30 } else { 3 })
        .map(|_| layers.iter().map(|layer| run(cpu, layer, &mut kv, &table, (depth, rows))).sum::<f64>())
        .collect();
    times.sort_by(f64::total_cmp);
    let ns = times[times.len() / 2] / LAYERS as f64;
    // Every row sees the keys before the step and, on average, half of the step's own.
    let keys = rows as f64 * (depth as f64 + (rows as f64 + 1.0) / 2.0);
    let macs = keys * heads as f64 * 2.0 * dim as f64;
    let bytes = layout.page_bytes() as f64 / LAYERS as f64 * pages as f64;
    println!(
        "{:12} {:5} {rows:5} {depth:6} {:10.1} {:12.3} {:8.2} {:10.1}",
        format!("{heads}/{kv_heads} x {dim}"),
        format!("{element:?}"),
        ns / 1e3,
        ns / keys / heads as f64,
        bytes / ns,
        macs / ns / cycles_a_ns,
    );
}

fn shuffled(pages: usize) -> Vec<PageId> {
    let mut table: Vec<PageId> = (0..pages as u32).map(PageId).collect();
    let mut state = 1u64;
    for index in (1..pages).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        table.swap(index, (state >> 33) as usize % (index + 1));
    }
    table
}

fn attention(kv_layer: usize, (heads, kv_heads, dim): (usize, usize, usize)) -> Attention<Cpu> {
    Attention {
        kv_layer,
        head_count: heads,
        kv_head_count: kv_heads,
        key_dim: dim,
        value_dim: dim,
        clamp: None,
        q_norm: None,
        k_norm: None,
        v_norm: None,
        norm_order: NormOrder::BeforeRope,
        rope: None,
        scale: 1.0 / (dim as f32).sqrt(),
        softcap: None,
        mask: Mask::Causal,
        sinks: None,
        key_constant: None,
        relative_bias: None,
        alibi_slopes: None,
        key_storage: lair_compute::KeyStorage::Whole,
        temperature: None,
        gate: lair_compute::OutputGate::SIGMOID,
    }
}

/// One step of one layer; the time in nanoseconds of the region, its storing of keys and values included.
fn run(cpu: &mut Cpu, attention: &Attention<Cpu>, kv: &mut Kv, table: &[PageId], (first, rows): (usize, usize)) -> f64 {
    let dim = attention.key_dim;
    let mut filled = |width: usize| {
        let values = (0..rows * width).map(|index| ((index * 37 + first) % 101) as f32 / 50.0 - 1.0);
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        let table = cpu
            .matrix(&lair_compute::MatrixBytes {
                name: "rows".into(),
                bytes: std::sync::Arc::new(bytes),
                tensor_type: lair_quant::TensorType::F32,
                columns: width,
                stored_rows: rows,
                count: 1,
                selection: lair_compute::RowSelection::All,
            })
            .expect("a matrix");
        let mut buffer = cpu.buffer(rows, width).expect("a buffer");
        cpu.embed(&table, &(0..rows as u32).collect::<Vec<_>>(), 1.0, &mut buffer);
        buffer
    };
    let mut q = filled(attention.head_count * dim);
    let mut k = filled(attention.kv_head_count * dim);
    let mut v = filled(attention.kv_head_count * dim);
    let mut output = cpu.buffer(rows, attention.head_count * dim).expect("a buffer");
    let tokens = vec![0; rows];
    let sequences = [SequenceRows {
        first_row: 0,
        row_count: rows,
        first_position: first,
        page_table: table,
        state_slot: None,
        adapter_scales: &[],
    }];
    let batch = Batch { tokens: &tokens, sequences: &sequences };
    let buffers =
        AttentionBuffers { q: &mut q, kv: Some((&mut k, &mut v)), gate: None, chosen: None, output: &mut output };
    let start = Instant::now();
    cpu.attention(&batch, attention, kv, buffers);
    start.elapsed().as_secs_f64() * 1e9
}
