//! Norms of rows, and the other functions of single rows.

use lair_simd::{Isa, LANES, Simd, math, vectorize};

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
    vectorize!(isa, add_scaled_with, sum: &mut [f32] = sum, values: &[f32] = values, factor: f32 = factor);
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
    for run in row.chunks_exact_mut(group) {
        vectorize!(isa, norm_run, norm: &Norm<Cpu> = norm, run: &mut [f32] = run);
    }
}

#[inline(always)]
fn norm_run<S: Simd>(s: S, norm: &Norm<Cpu>, run: &mut [f32]) {
    let length = run.len() as f32;
    if norm.kind == NormKind::Layer {
        let mean = sum(s, run) / length;
        each(s, run, -mean, added);
    }
    let variance = dot(s, run, run) / length;
    let factor = 1.0 / (variance + norm.epsilon).sqrt();
    each(s, run, factor, multiplied);
    if let Some(weight) = &norm.weight {
        zipped(s, run, weight, multiplied);
    }
    if let Some(bias) = &norm.bias {
        zipped(s, run, bias, added);
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

/// Replaces every element by a function of itself and a constant.
///
/// The function is an `#[inline(always)]` item, not a closure: a large closure would not become part of the vector code
/// around it, and each of its operations would be a call.
#[inline(always)]
pub(super) fn each<S: Simd>(s: S, values: &mut [f32], constant: f32, function: impl Fn(S, S::F, S::F) -> S::F) {
    let constant = s.splat(constant);
    for chunk in values.chunks_mut(LANES) {
        let full = chunk.len() == LANES;
        let x = if full { s.load(chunk.first_chunk().expect("a full chunk")) } else { s.load_part(chunk, 0.0) };
        let result = function(s, x, constant);
        if full { s.store(result, chunk.first_chunk_mut().expect("a full chunk")) } else { s.store_part(result, chunk) }
    }
}

/// Replaces every element by its function of itself and the other slice's.
#[inline(always)]
pub(super) fn zipped<S: Simd>(s: S, values: &mut [f32], others: &[f32], function: impl Fn(S, S::F, S::F) -> S::F) {
    assert!(others.len() >= values.len());
    for (chunk, other) in values.chunks_mut(LANES).zip(others.chunks(LANES)) {
        let full = chunk.len() == LANES;
        let (x, y) = if full {
            (s.load(chunk.first_chunk().expect("a full chunk")), s.load(other.first_chunk().expect("a full chunk")))
        } else {
            (s.load_part(chunk, 0.0), s.load_part(other, 0.0))
        };
        let result = function(s, x, y);
        if full { s.store(result, chunk.first_chunk_mut().expect("a full chunk")) } else { s.store_part(result, chunk) }
    }
}

#[inline(always)]
pub(super) fn multiplied<S: Simd>(s: S, x: S::F, factor: S::F) -> S::F {
    s.mul(x, factor)
}

#[inline(always)]
fn added<S: Simd>(s: S, x: S::F, term: S::F) -> S::F {
    s.add(x, term)
}

/// `exp(x - constant)`.
#[inline(always)]
pub(super) fn exp_of_difference<S: Simd>(s: S, x: S::F, constant: S::F) -> S::F {
    math::exp(s, s.sub(x, constant))
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
pub(super) fn soft_cap<S: Simd>(s: S, x: S::F, cap: S::F) -> S::F {
    s.mul(cap, math::tanh(s, s.div(x, cap)))
}

/// `wide = activation(gate) * wide`, or `activation(wide)` without a gate.
pub(super) fn activate(isa: Isa, activation: Activation, gate: Option<&[f32]>, wide: &mut [f32]) {
    match gate {
        Some(gate) => vectorize!(isa, activate_gated,
            activation: Activation = activation,
            gate: &[f32] = gate,
            wide: &mut [f32] = wide,
        ),
        None => vectorize!(isa, activate_plain, activation: Activation = activation, wide: &mut [f32] = wide),
    }
}

/// A function of the gate times the linear part, as an item for [`zipped`].
macro_rules! gated {
    ($name:ident, $function:path) => {
        #[inline(always)]
        fn $name<S: Simd>(s: S, up: S::F, gate: S::F) -> S::F {
            s.mul($function(s, gate), up)
        }
    };
}

/// A function of one element, as an item for [`each`], whose constant it does not need.
macro_rules! plain {
    ($name:ident, $function:path) => {
        #[inline(always)]
        fn $name<S: Simd>(s: S, x: S::F, _constant: S::F) -> S::F {
            $function(s, x)
        }
    };
}

gated!(gated_sigmoid, math::sigmoid);
gated!(gated_silu, math::silu);
gated!(gated_gelu_tanh, math::gelu_tanh);
gated!(gated_gelu_erf, math::gelu_erf);
gated!(gated_gelu_quick, math::gelu_quick);
gated!(gated_relu, relu);
gated!(gated_relu_squared, relu_squared);
plain!(plain_silu, math::silu);
plain!(plain_gelu_tanh, math::gelu_tanh);
plain!(plain_gelu_erf, math::gelu_erf);
plain!(plain_gelu_quick, math::gelu_quick);
plain!(plain_relu, relu);
plain!(plain_relu_squared, relu_squared);

#[inline(always)]
fn activate_gated<S: Simd>(s: S, activation: Activation, gate: &[f32], wide: &mut [f32]) {
    match activation {
        Activation::Silu => zipped(s, wide, gate, gated_silu),
        Activation::GeluTanh => zipped(s, wide, gate, gated_gelu_tanh),
        Activation::GeluErf => zipped(s, wide, gate, gated_gelu_erf),
        Activation::GeluQuick => zipped(s, wide, gate, gated_gelu_quick),
        Activation::Relu => zipped(s, wide, gate, gated_relu),
        Activation::ReluSquared => zipped(s, wide, gate, gated_relu_squared),
        Activation::ClampedSwiglu { alpha, limit } => clamped_swiglu(s, alpha, limit, gate, wide),
    }
}

#[inline(always)]
fn clamped_swiglu<S: Simd>(s: S, alpha: f32, limit: f32, gate: &[f32], wide: &mut [f32]) {
    let (high, low) = (s.splat(limit), s.splat(-limit));
    for (wide, gate) in wide.chunks_mut(LANES).zip(gate.chunks(LANES)) {
        let (up, gate) = (s.load_part(wide, 0.0), s.min(s.load_part(gate, 0.0), high));
        let slope = math::sigmoid(s, s.mul(gate, s.splat(alpha)));
        let up = s.add(s.max(s.min(up, high), low), s.splat(1.0));
        s.store_part(s.mul(s.mul(gate, slope), up), wide);
    }
}

#[inline(always)]
fn activate_plain<S: Simd>(s: S, activation: Activation, wide: &mut [f32]) {
    match activation {
        Activation::Silu => each(s, wide, 0.0, plain_silu),
        Activation::GeluTanh => each(s, wide, 0.0, plain_gelu_tanh),
        Activation::GeluErf => each(s, wide, 0.0, plain_gelu_erf),
        Activation::GeluQuick => each(s, wide, 0.0, plain_gelu_quick),
        Activation::Relu => each(s, wide, 0.0, plain_relu),
        Activation::ReluSquared => each(s, wide, 0.0, plain_relu_squared),
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
    vectorize!(isa, gate_by_sigmoid_with, values: &mut [f32] = values, gate: &[f32] = gate);
}

#[inline(always)]
fn gate_by_sigmoid_with<S: Simd>(s: S, values: &mut [f32], gate: &[f32]) {
    zipped(s, values, gate, gated_sigmoid);
}

/// `values *= silu(gate)`.
pub(super) fn gate_by_silu(isa: Isa, values: &mut [f32], gate: &[f32]) {
    activate(isa, Activation::Silu, Some(gate), values);
}

/// `cap * tanh(factor * x / cap)`, or `factor * x` without a cap.
pub(super) fn scale_and_cap(isa: Isa, values: &mut [f32], factor: f32, cap: Option<f32>) {
    vectorize!(isa, scale_and_cap_with, values: &mut [f32] = values, factor: f32 = factor, cap: Option<f32> = cap);
}

#[inline(always)]
fn scale_and_cap_with<S: Simd>(s: S, values: &mut [f32], factor: f32, cap: Option<f32>) {
    if factor != 1.0 {
        each(s, values, factor, multiplied);
    }
    if let Some(cap) = cap {
        each(s, values, cap, soft_cap);
    }
}
