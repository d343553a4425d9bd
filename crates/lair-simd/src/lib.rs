//! Instruction-set tokens and vectors of eight f32: the home of intrinsics.
//!
//! Code that wants vectors is written once, generic over [`Simd`], and marked `#[inline(always)]`; the outermost call
//! goes through [`Simd::vectorize`], which compiles it with the instruction set switched on. [`Scalar`] runs the same
//! operations on `[f32; 8]`, and every operation here is defined to the bit, so all instruction sets give equal results.
//!
//! ```
//! use lair_simd::{Scalar, Simd, math};
//!
//! let e = math::exp(Scalar, Scalar.splat(1.0));
//! assert!((Scalar.to_array(e)[0] - std::f32::consts::E).abs() < 1e-6);
//! ```
#![allow(unsafe_code)] // Intrinsics need it; each block says why it holds.

mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exponentials;
mod isa;
pub mod math;
mod maxima;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod select;
mod simd;

pub use aligned::AlignedF32;
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
pub use exponentials::Exponentials;
#[cfg(target_arch = "x86_64")]
pub use isa::amd_family;
pub use isa::{Isa, IsaChoice};
pub use maxima::{MAXIMA_BLOCK, block_maxima};
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use scalar::Scalar;
pub use select::{PICKED, Range, pick_within, picked_place, picked_places, select_within};
pub use simd::{LANES, Simd, Work};
