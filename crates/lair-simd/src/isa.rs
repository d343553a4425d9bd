//! Which instruction set is used, decided once at run time.

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsaChoice {
    /// The best that the machine has.
    #[default]
    Auto,
    /// At most AVX2, where the machine has it.
    Avx2,
    /// No vector instructions.
    Scalar,
}

/// An instruction set that this machine was found to have.
#[derive(Clone, Copy, Debug)]
pub enum Isa {
    /// No vector instructions.
    Scalar,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(crate::Avx2),
    /// Besides AVX2: AVX-512 F, BW, VL and VNNI, for integer products.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(crate::Avx2),
}

impl Isa {
    /// The best instruction set that `choice` allows and the machine has.
    pub fn detect(choice: IsaChoice) -> Isa {
        #[cfg(target_arch = "x86_64")]
        if choice != IsaChoice::Scalar
            && let Some(avx2) = crate::Avx2::new()
        {
            let has_vnni = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            return if has_vnni && choice == IsaChoice::Auto { Isa::Avx512Vnni(avx2) } else { Isa::Avx2(avx2) };
        }
        let _ = choice;
        Isa::Scalar
    }

    /// Runs `work` compiled for this instruction set.
    #[inline]
    pub fn run<W: crate::Work>(self, work: W) -> W::Output {
        match self {
            Isa::Scalar => work.run(crate::Scalar),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(avx2) | Isa::Avx512Vnni(avx2) => avx2.run(work),
        }
    }

    /// The name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => "AVX-512 VNNI",
        }
    }
}

/// Evaluates `$body` with `$simd` bound to the token of `$isa`, compiled for that instruction set.
#[macro_export]
macro_rules! with_simd {
    ($isa:expr, $simd:ident => $body:expr) => {
        match $isa {
            $crate::Isa::Scalar => {
                let $simd = $crate::Scalar;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx2($simd) | $crate::Isa::Avx512Vnni($simd) => $crate::Simd::vectorize($simd, || $body),
        }
    };
}

/// Calls `$function(token, arguments ...)` compiled for the instruction set `$isa`: `vectorize!(isa, f(a: &[f32]))`.
///
/// The function is generic over [`Simd`](crate::Simd) and `#[inline(always)]`, so it becomes part of a function that has
/// the instructions switched on, whatever its size. With a closure (as in [`with_simd`](crate::with_simd)) that is left
/// to the compiler, and where it decides against it every operation is a call.
#[macro_export]
macro_rules! vectorize {
    ($isa:expr, $function:path, $($argument:ident : $type:ty = $value:expr),* $(,)?) => {
        match $isa {
            $crate::Isa::Scalar => $function($crate::Scalar, $($value),*),
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx2(token) | $crate::Isa::Avx512Vnni(token) => {
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)] // As many as the function has.
                fn vectorized(token: $crate::Avx2, $($argument: $type),*) {
                    $function(token, $($argument),*)
                }
                // SAFETY: a token exists only where the instructions were found.
                #[allow(unsafe_code)]
                unsafe {
                    vectorized(token, $($value),*)
                }
            }
        }
    };
}
