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
            $crate::Isa::Avx2($simd) | $crate::Isa::Avx512Vnni($simd) => {
                $crate::Simd::vectorize($simd, || $body)
            }
        }
    };
}
