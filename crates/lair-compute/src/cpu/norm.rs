//! Norms of rows, and the other functions of single rows.

use lair_simd::{Isa, LANES, Simd, math, with_simd};

use super::Cpu;
use crate::{Activation, Norm, NormGroup, NormKind};

/// Sum of products, in eight running sums.
#[inline(always)]
pub(super) fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut total = s.splat(0.0);
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        total = s.fma(s.load(a), s.load(b), total);
    }
    if !a_rest.is_empty() {
        total = s.fma(s.load_part(a_rest, 0.0), s.load_part(b_rest, 0.0), total);
    }
    s.sum(total)
}

/// `sum[i] += factor * values[i]`.
pub(super) fn add_scaled(isa: Isa, sum: &mut [f32], values: &[f32], factor: f32) {
    with_simd!(isa, s => add_scaled_with(s, sum, values, factor));
}

#[inline(always)]
pub(super) fn add_scaled_with<S: Simd>(s: S, sum: &mut [f32], values: &[f32], factor: f32) {
    assert_eq!(sum.len(), values.len());
    let factor = s.splat(factor);
    let (sums, sum_rest) = sum.as_chunks_mut::<LANES>();
    let (values, value_rest) = values.as_chunks::<LANES>();
    for (sum, value) in sums.iter_mut().zip(values) {
        s.store(s.fma(factor, s.load(value), s.load(sum)), sum);
    }
    let rest = s.fma(factor, s.load_part(value_rest, 0.0), s.load_part(sum_rest, 0.0));
    s.store_part(rest, sum_rest);
}

/// Normalises a row in place.
pub(super) fn apply_norm(isa: Isa, norm: &Norm<Cpu>, row: &mut [f32]) {
    let group = match norm.group {
        NormGroup::Row => row.len(),
        NormGroup::Run(length) => length,
    };
    if group == 0 {
        return;
    }
    with_simd!(isa, s => row.chunks_exact_mut(group).for_each(|run| norm_run(s, norm, run)));
}

#[inline(always)]
fn norm_run<S: Simd>(s: S, norm: &Norm<Cpu>, run: &mut [f32]) {
    let length = run.len() as f32;
    if norm.kind == NormKind::Layer {
        let mean = sum(s, run) / length;
        each(s, run, |x| s.sub(x, s.splat(mean)));
    }
    let variance = dot(s, run, run) / length;
    let factor = 1.0 / (variance + norm.epsilon).sqrt();
    each(s, run, |x| s.mul(x, s.splat(factor)));
    if let Some(weight) = &norm.weight {
        zipped(s, run, weight, |x, weight| s.mul(x, weight));
    }
    if let Some(bias) = &norm.bias {
        zipped(s, run, bias, |x, bias| s.add(x, bias));
    }
}

#[inline(always)]
fn sum<S: Simd>(s: S, values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut total = s.load_part(rest, 0.0);
    for chunk in chunks {
        total = s.add(total, s.load(chunk));
    }
    s.sum(total)
}

/// Replaces every element by its function.
#[inline(always)]
pub(super) fn each<S: Simd>(s: S, values: &mut [f32], function: impl Fn(S::F) -> S::F) {
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        s.store(function(s.load(chunk)), chunk);
    }
    if !rest.is_empty() {
        s.store_part(function(s.load_part(rest, 0.0)), rest);
    }
}

/// Replaces every element by its function of itself and the other slice's.
#[inline(always)]
pub(super) fn zipped<S: Simd>(s: S, values: &mut [f32], others: &[f32], function: impl Fn(S::F, S::F) -> S::F) {
    assert!(others.len() >= values.len());
    let others = &others[..values.len()];
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    let (other_chunks, other_rest) = others.as_chunks::<LANES>();
    for (chunk, other) in chunks.iter_mut().zip(other_chunks) {
        s.store(function(s.load(chunk), s.load(other)), chunk);
    }
    if !rest.is_empty() {
        s.store_part(function(s.load_part(rest, 0.0), s.load_part(other_rest, 0.0)), rest);
    }
}

/// `wide = activation(gate) * wide`, or `activation(wide)` without a gate.
pub(super) fn activate(isa: Isa, activation: Activation, gate: Option<&[f32]>, wide: &mut [f32]) {
    with_simd!(isa, s => match gate {
        Some(gate) => activate_gated(s, activation, gate, wide),
        None => activate_plain(s, activation, wide),
    });
}

#[inline(always)]
fn activate_gated<S: Simd>(s: S, activation: Activation, gate: &[f32], wide: &mut [f32]) {
    match activation {
        Activation::Silu => zipped(s, wide, gate, |up, gate| s.mul(math::silu(s, gate), up)),
        Activation::GeluTanh => zipped(s, wide, gate, |up, gate| s.mul(math::gelu_tanh(s, gate), up)),
        Activation::GeluErf => zipped(s, wide, gate, |up, gate| s.mul(math::gelu_erf(s, gate), up)),
        Activation::GeluQuick => zipped(s, wide, gate, |up, gate| s.mul(math::gelu_quick(s, gate), up)),
        Activation::Relu => zipped(s, wide, gate, |up, gate| s.mul(relu(s, gate), up)),
        Activation::ReluSquared => zipped(s, wide, gate, |up, gate| s.mul(relu_squared(s, gate), up)),
        Activation::ClampedSwiglu { alpha, limit } => {
            let (high, low) = (s.splat(limit), s.splat(-limit));
            zipped(s, wide, gate, |up, gate| {
                let gate = s.min(gate, high);
                let slope = math::sigmoid(s, s.mul(gate, s.splat(alpha)));
                let up = s.add(s.max(s.min(up, high), low), s.splat(1.0));
                s.mul(s.mul(gate, slope), up)
            });
        }
    }
}

#[inline(always)]
fn activate_plain<S: Simd>(s: S, activation: Activation, wide: &mut [f32]) {
    match activation {
        Activation::Silu => each(s, wide, |x| math::silu(s, x)),
        Activation::GeluTanh => each(s, wide, |x| math::gelu_tanh(s, x)),
        Activation::GeluErf => each(s, wide, |x| math::gelu_erf(s, x)),
        Activation::GeluQuick => each(s, wide, |x| math::gelu_quick(s, x)),
        Activation::Relu => each(s, wide, |x| relu(s, x)),
        Activation::ReluSquared => each(s, wide, |x| relu_squared(s, x)),
        Activation::ClampedSwiglu { .. } => panic!("a clamped SwiGLU has a gate: the declaration was checked"),
    }
}

#[inline(always)]
fn relu<S: Simd>(s: S, x: S::F) -> S::F {
    s.max(s.splat(0.0), x)
}

#[inline(always)]
fn relu_squared<S: Simd>(s: S, x: S::F) -> S::F {
    let x = relu(s, x);
    s.mul(x, x)
}

/// `values *= sigmoid(gate)`.
pub(super) fn gate_by_sigmoid(isa: Isa, values: &mut [f32], gate: &[f32]) {
    with_simd!(isa, s => zipped(s, values, gate, |x, gate| s.mul(x, math::sigmoid(s, gate))));
}

/// `values *= silu(gate)`.
pub(super) fn gate_by_silu(isa: Isa, values: &mut [f32], gate: &[f32]) {
    with_simd!(isa, s => zipped(s, values, gate, |x, gate| s.mul(x, math::silu(s, gate))));
}

/// `cap * tanh(factor * x / cap)`, or `factor * x` without a cap.
pub(super) fn scale_and_cap(isa: Isa, values: &mut [f32], factor: f32, cap: Option<f32>) {
    with_simd!(isa, s => match cap {
        None if factor == 1.0 => {}
        None => each(s, values, |x| s.mul(x, s.splat(factor))),
        Some(cap) => each(s, values, |x| {
            let x = s.mul(x, s.splat(factor));
            s.mul(s.splat(cap), math::tanh(s, s.div(x, s.splat(cap))))
        }),
    });
}
