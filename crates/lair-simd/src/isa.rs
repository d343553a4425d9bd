//! Which instruction set is used, decided once at run time.

/// What the user asks for: the best instruction set that may be used. Those of an architecture stand best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsaChoice {
    /// The best that the machine has.
    #[default]
    Auto,
    /// At most AVX-512 with VNNI.
    Avx512Vnni,
    /// At most AVX2 with AVX-VNNI.
    AvxVnni,
    /// At most AVX2.
    Avx2,
    /// At most NEON with I8MM.
    NeonI8mm,
    /// At most NEON with the dot products of Armv8.2.
    NeonDotprod,
    /// At most plain NEON.
    Neon,
    /// No vector instructions.
    Scalar,
}

impl IsaChoice {
    /// All choices.
    pub const ALL: [IsaChoice; 8] = [
        IsaChoice::Auto,
        IsaChoice::Avx512Vnni,
        IsaChoice::AvxVnni,
        IsaChoice::Avx2,
        IsaChoice::NeonI8mm,
        IsaChoice::NeonDotprod,
        IsaChoice::Neon,
        IsaChoice::Scalar,
    ];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            IsaChoice::Auto => "auto",
            IsaChoice::Avx512Vnni => "avx512-vnni",
            IsaChoice::AvxVnni => "avx-vnni",
            IsaChoice::Avx2 => "avx2",
            IsaChoice::NeonI8mm => "neon-i8mm",
            IsaChoice::NeonDotprod => "neon-dotprod",
            IsaChoice::Neon => "neon",
            IsaChoice::Scalar => "scalar",
        }
    }

    /// The choice of this name.
    pub fn from_name(name: &str) -> Option<IsaChoice> {
        IsaChoice::ALL.into_iter().find(|choice| choice.name() == name)
    }

    /// Whether `isa`, found on this machine, is at most what was chosen.
    fn allows(self, isa: Isa) -> bool {
        let is_of_this_architecture = match self {
            IsaChoice::Auto => return true,
            IsaChoice::Avx512Vnni | IsaChoice::AvxVnni | IsaChoice::Avx2 => cfg!(target_arch = "x86_64"),
            IsaChoice::NeonI8mm | IsaChoice::NeonDotprod | IsaChoice::Neon => cfg!(target_arch = "aarch64"),
            IsaChoice::Scalar => false,
        };
        isa.choice() == IsaChoice::Scalar || is_of_this_architecture && isa.choice() as u8 >= self as u8
    }
}

/// An instruction set that this machine was found to have.
#[derive(Clone, Copy, Debug)]
pub enum Isa {
    /// No vector instructions.
    Scalar,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(crate::Avx2),
    /// Besides AVX2: AVX-VNNI, for integer products.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(crate::Avx2),
    /// Besides AVX2: AVX-512 F, BW, VL and VNNI, for integer products.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(crate::Avx2),
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(crate::Neon),
    /// Besides NEON: dot products of signed bytes.
    #[cfg(target_arch = "aarch64")]
    NeonDotprod(crate::Neon),
    /// Besides NEON: dot products of signed bytes, and of unsigned with signed ones.
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(crate::Neon),
}

impl Isa {
    /// The best instruction set that `choice` allows and the machine has. A choice of another architecture allows no
    /// vector instructions.
    pub fn detect(choice: IsaChoice) -> Isa {
        Isa::available().into_iter().find(|&isa| choice.allows(isa)).unwrap_or(Isa::Scalar)
    }

    /// Every instruction set that the machine has, best first; [`Isa::Scalar`] is the last.
    pub fn available() -> Vec<Isa> {
        let mut found = vec![Isa::Scalar];
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = crate::Avx2::new() {
            found.push(Isa::Avx2(avx2));
            if is_x86_feature_detected!("avxvnni") {
                found.push(Isa::AvxVnni(avx2));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
                // Every processor with the others has it, too.
                && is_x86_feature_detected!("popcnt")
            {
                found.push(Isa::Avx512Vnni(avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if let Some(neon) = crate::Neon::new() {
            found.push(Isa::Neon(neon));
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                found.push(Isa::NeonDotprod(neon));
                if std::arch::is_aarch64_feature_detected!("i8mm") {
                    found.push(Isa::NeonI8mm(neon));
                }
            }
        }
        found.reverse();
        found
    }

    /// Runs `work` compiled for this instruction set.
    #[inline]
    pub fn run<W: crate::Work>(self, work: W) -> W::Output {
        match self {
            Isa::Scalar => work.run(crate::Scalar),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(avx2) | Isa::AvxVnni(avx2) | Isa::Avx512Vnni(avx2) => avx2.run(work),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(neon) | Isa::NeonDotprod(neon) | Isa::NeonI8mm(neon) => work.run(neon),
        }
    }

    /// The choice that gives this one wherever it is found.
    pub fn choice(self) -> IsaChoice {
        match self {
            Isa::Scalar => IsaChoice::Scalar,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => IsaChoice::Avx2,
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(_) => IsaChoice::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => IsaChoice::Avx512Vnni,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => IsaChoice::Neon,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod(_) => IsaChoice::NeonDotprod,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm(_) => IsaChoice::NeonI8mm,
        }
    }

    /// The name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(_) => "AVX-VNNI",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => "AVX-512 VNNI",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "NEON",
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod(_) => "NEON dotprod",
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm(_) => "NEON i8mm",
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
            $crate::Isa::Avx2($simd) | $crate::Isa::AvxVnni($simd) | $crate::Isa::Avx512Vnni($simd) => {
                $crate::Simd::vectorize($simd, || $body)
            }
            #[cfg(target_arch = "aarch64")]
            $crate::Isa::Neon($simd) | $crate::Isa::NeonDotprod($simd) | $crate::Isa::NeonI8mm($simd) => $body,
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
            $crate::Isa::Avx2(token) | $crate::Isa::AvxVnni(token) | $crate::Isa::Avx512Vnni(token) => {
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
            // Every aarch64 target with a standard library has NEON switched on throughout.
            #[cfg(target_arch = "aarch64")]
            $crate::Isa::Neon(token) | $crate::Isa::NeonDotprod(token) | $crate::Isa::NeonI8mm(token) => {
                $function(token, $($value),*)
            }
        }
    };
}

/// The family of an AMD processor: 23 is Zen to Zen 2, 25 Zen 3 and 4, 26 Zen 5. `None` for others.
///
/// AMD64 Architecture Programmer's Manual, volume 3, appendix E: functions 0 (vendor) and 1 (base and extended family).
#[cfg(target_arch = "x86_64")]
pub fn amd_family() -> Option<u32> {
    use std::arch::x86_64::__cpuid;
    let vendor = __cpuid(0);
    let is_amd = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD";
    let version = __cpuid(1).eax;
    is_amd.then_some((version >> 8 & 15) + (version >> 20 & 255))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_gives_at_most_itself() {
        let available = Isa::available();
        assert_eq!(available.last().map(|isa| isa.choice()), Some(IsaChoice::Scalar));
        assert_eq!(Isa::detect(IsaChoice::Auto).choice(), available[0].choice());
        assert_eq!(Isa::detect(IsaChoice::Scalar).choice(), IsaChoice::Scalar);
        for isa in available {
            assert_eq!(Isa::detect(isa.choice()).choice(), isa.choice());
        }
        let foreign = if cfg!(target_arch = "x86_64") { IsaChoice::NeonI8mm } else { IsaChoice::Avx512Vnni };
        assert_eq!(Isa::detect(foreign).choice(), IsaChoice::Scalar);
    }

    #[test]
    fn names_lead_back_to_choices() {
        for choice in IsaChoice::ALL {
            assert_eq!(IsaChoice::from_name(choice.name()), Some(choice));
        }
        assert_eq!(IsaChoice::from_name("AVX2"), None);
    }
}
