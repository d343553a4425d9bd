//! What this machine can do at most: bytes read a second, multiply-adds a second. The measure that speeds are compared with.
//!
//! Memory is read by the threads of the pool from a buffer that no cache holds, in one and in four streams a thread.
//! Multiply-adds are counted in a loop that has the shape of a kernel (a tile of sums in registers, operands from the first
//! cache) and nothing else: no scales, no unpacking. The best of several short trials counts, since whatever disturbs a
//! trial makes it slower. About half a second in all.
#![allow(unsafe_code)] // Intrinsics.

use std::hint::black_box;
use std::time::Instant;

use lair_simd::Isa;

use super::CpuOptions;
use super::memory::{Memory, Parts, Use};
use super::pool::Pool;
use crate::ComputeError;

/// The most that a machine can do with some number of threads and some instruction set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Threads that were used.
    pub thread_count: usize,
    /// Name of the instruction set.
    pub isa_name: &'static str,
    /// Bytes read from memory, a second.
    pub read_bytes_per_second: f64,
    /// Multiply-adds of f32 numbers, a second.
    pub f32_macs_per_second: f64,
    /// Of 16-bit numbers into 32-bit sums.
    pub i16_macs_per_second: f64,
    /// Of bytes with bytes of all 8 bits.
    pub i8_macs_per_second: f64,
    /// Of bytes with codes so small that sums of 16 bits hold several products (AVX2); no different with VNNI.
    pub code_macs_per_second: f64,
}

impl Peaks {
    /// The better of two measurements of the same machine in the same set-up, kind by kind.
    pub fn better_of(&self, other: &Peaks) -> Peaks {
        Peaks {
            thread_count: self.thread_count,
            isa_name: self.isa_name,
            read_bytes_per_second: self.read_bytes_per_second.max(other.read_bytes_per_second),
            f32_macs_per_second: self.f32_macs_per_second.max(other.f32_macs_per_second),
            i16_macs_per_second: self.i16_macs_per_second.max(other.i16_macs_per_second),
            i8_macs_per_second: self.i8_macs_per_second.max(other.i8_macs_per_second),
            code_macs_per_second: self.code_macs_per_second.max(other.code_macs_per_second),
        }
    }
}

/// Bytes of the buffer that is read unless the caller wants another size: many times any common cache.
pub const BUFFER_BYTES: usize = 512 << 20;
/// Bytes that a thread reads in one piece.
const PIECE_BYTES: usize = 4 << 20;
/// Trials of each kind.
const READ_TRIALS: usize = 4;
const MULTIPLY_TRIALS: usize = 12;
/// Runs of a loop in a trial, for each thread: so many that a thread that is late is made up for by the others.
const RUNS_A_THREAD: usize = 8;
/// Rounds of a run: some hundred microseconds.
const ROUNDS: usize = 500;

/// Measures the machine as these options would use it. `buffer_bytes` should be several times the last cache.
///
/// # Errors
/// If the threads cannot be started or the buffer cannot be had.
pub fn measure(options: &CpuOptions, buffer_bytes: usize) -> Result<Peaks, ComputeError> {
    let thread_count = options.thread_count();
    let pool = Pool::new(thread_count).map_err(|source| ComputeError::Threads { threads: thread_count, source })?;
    let isa = Isa::detect(options.isa);
    let rates = Loops::of(isa).map(|work| multiply_rate(&pool, isa, work));
    Ok(Peaks {
        thread_count,
        isa_name: isa.name(),
        read_bytes_per_second: read_rate(options, buffer_bytes)?,
        f32_macs_per_second: rates.f32,
        i16_macs_per_second: rates.i16,
        i8_macs_per_second: rates.i8,
        code_macs_per_second: rates.codes,
    })
}

/// Memory that is read as fast as it comes, and the threads that read it.
pub struct Reader {
    pool: Pool,
    isa: Isa,
    buffer: Memory<u8>,
}

impl Reader {
    /// Fills a buffer of at least `buffer_bytes`, which should be several times the last cache.
    ///
    /// # Errors
    /// If the threads cannot be started or the buffer cannot be had.
    pub fn new(options: &CpuOptions, buffer_bytes: usize) -> Result<Reader, ComputeError> {
        let threads = options.thread_count();
        let pool = Pool::new(threads).map_err(|source| ComputeError::Threads { threads, source })?;
        let piece_count = (buffer_bytes / PIECE_BYTES).max(1);
        let mut buffer = Memory::<u8>::zeroed_for(Use::Whole, piece_count * PIECE_BYTES, "measuring the memory")?;
        let parts = Parts::new(&mut buffer);
        pool.split(piece_count, &|_, pieces| {
            for piece in pieces {
                // SAFETY: each piece is handed out once.
                let bytes = unsafe { parts.part(piece * PIECE_BYTES, PIECE_BYTES) };
                // Pages come into being when they are written; zeros could all be one page.
                bytes.fill(piece as u8 | 1);
            }
        });
        Ok(Reader { pool, isa: Isa::detect(options.isa), buffer })
    }

    /// Reads everything once, each thread in so many streams at a time: bytes a second.
    pub fn read(&self, streams: usize) -> f64 {
        let start = Instant::now();
        self.pool.split(self.buffer.len() / PIECE_BYTES, &|_, pieces| {
            for piece in pieces {
                black_box(sum_of_words(self.isa, &self.buffer[piece * PIECE_BYTES..][..PIECE_BYTES], streams));
            }
        });
        self.buffer.len() as f64 / start.elapsed().as_secs_f64()
    }
}

/// Bytes a second, of the best trial.
fn read_rate(options: &CpuOptions, buffer_bytes: usize) -> Result<f64, ComputeError> {
    let reader = Reader::new(options, buffer_bytes)?;
    Ok((0..2 * READ_TRIALS).map(|trial| reader.read([1, 4][trial % 2])).fold(0.0, f64::max))
}

/// Multiply-adds a second, of the best trial.
fn multiply_rate(pool: &Pool, isa: Isa, work: MultiplyLoop) -> f64 {
    let operands = Operands::filled(work.one);
    let runs = RUNS_A_THREAD * pool.worker_count();
    let mut best = 0.0f64;
    for _ in 0..MULTIPLY_TRIALS {
        let start = Instant::now();
        pool.split(runs, &|_, runs| {
            for _ in runs {
                black_box((work.run)(isa, black_box(&operands), ROUNDS));
            }
        });
        let macs = runs * ROUNDS * STEPS * work.macs_a_step;
        best = best.max(macs as f64 / start.elapsed().as_secs_f64());
    }
    best
}

/// Vectors of weights in a round.
const STEPS: usize = 64;
/// Rows of the tile in registers: vectors of weights that meet the same activations.
const ROWS: usize = 2;
/// Columns of the tile: activations that meet the same weights.
const COLUMNS: usize = 6;

/// What a loop multiplies: 8 KiB of weights and a few activations, which stay in the first cache and in registers.
#[repr(align(64))]
struct Operands {
    /// `[step, row, byte]`.
    weights: [[[u8; 64]; ROWS]; STEPS],
    /// `[column, byte]`.
    activations: [[u8; 64]; COLUMNS],
}

impl Operands {
    /// All numbers the one with these bytes.
    fn filled(number: &[u8]) -> Operands {
        let vector = std::array::from_fn(|index| number[index % number.len()]);
        Operands { weights: [[vector; ROWS]; STEPS], activations: [vector; COLUMNS] }
    }
}

/// A loop over [`Operands`], and what it does in one of the [`STEPS`] of a round.
#[derive(Clone, Copy)]
struct MultiplyLoop {
    /// Gives the sum of all products.
    run: fn(Isa, &Operands, usize) -> f64,
    /// The bytes of the number 1 of its kind: nothing is subnormal or infinite, which some machines are slow with.
    one: &'static [u8],
    macs_a_step: usize,
}

const F32_ONE: &[u8] = &1.0f32.to_le_bytes();
#[cfg(target_arch = "x86_64")]
const I16_ONE: &[u8] = &1i16.to_le_bytes();
const I8_ONE: &[u8] = &[1];

/// The loops of an instruction set, or what they were measured to do.
struct Loops<T> {
    f32: T,
    i16: T,
    i8: T,
    codes: T,
}

impl Loops<MultiplyLoop> {
    fn of(isa: Isa) -> Loops<MultiplyLoop> {
        let new =
            |run, one, macs_a_vector: usize| MultiplyLoop { run, one, macs_a_step: macs_a_vector * ROWS * COLUMNS };
        match isa {
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) | Isa::NeonDotprod(_) | Isa::NeonI8mm(_) => Loops::of(Isa::Scalar),
            Isa::Scalar => {
                let bytes = new(scalar::bytes, I8_ONE, 1);
                Loops { f32: new(scalar::floats, F32_ONE, 1), i16: bytes, i8: bytes, codes: bytes }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => {
                let words = new(x86::avx2_words, I16_ONE, 16);
                let codes = new(x86::avx2_codes, I8_ONE, 32);
                // Products of bytes of all 8 bits overflow sums of 16 bits: they cost as much as those of words.
                Loops { f32: new(x86::avx2_floats, F32_ONE, 8), i16: words, i8: words, codes }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(_) => {
                let words = new(x86::avx_vnni_words, I16_ONE, 16);
                let bytes = new(x86::avx_vnni_bytes, I8_ONE, 32);
                Loops { f32: new(x86::avx2_floats, F32_ONE, 8), i16: words, i8: bytes, codes: bytes }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => {
                let words = new(x86::vnni_words, I16_ONE, 32);
                let bytes = new(x86::vnni_bytes, I8_ONE, 64);
                Loops { f32: new(x86::avx512_floats, F32_ONE, 16), i16: words, i8: bytes, codes: bytes }
            }
        }
    }

    fn map(self, measure: impl Fn(MultiplyLoop) -> f64) -> Loops<f64> {
        let Loops { f32, i16, i8, codes } = self;
        Loops { f32: measure(f32), i16: measure(i16), i8: measure(i8), codes: measure(codes) }
    }
}

/// Reads all bytes, 64 at a time, in so many streams that begin equally far apart.
fn sum_of_words(isa: Isa, bytes: &[u8], streams: usize) -> u64 {
    match isa {
        Isa::Scalar => scalar::sum_of_words(bytes, streams),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) | Isa::NeonDotprod(_) | Isa::NeonI8mm(_) => scalar::sum_of_words(bytes, streams),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set was found on this machine.
        Isa::Avx2(_) | Isa::AvxVnni(_) => unsafe { x86::avx2_sum(bytes, streams) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512Vnni(_) => unsafe { x86::avx512_sum(bytes, streams) },
    }
}

/// Without vector instructions, as far as the compiler does not use those that every machine has.
mod scalar {
    use super::{COLUMNS, Isa, Operands, ROWS};

    /// In one stream whatever is asked for: it is slower than memory.
    pub(super) fn sum_of_words(bytes: &[u8], _streams: usize) -> u64 {
        let words = bytes.as_chunks::<8>().0;
        words.iter().fold(0, |sum, word| sum ^ u64::from_le_bytes(*word))
    }

    pub(super) fn floats(_: Isa, operands: &Operands, rounds: usize) -> f64 {
        let number = |bytes: &[u8; 64]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let mut sums = [[0.0f32; COLUMNS]; ROWS];
        let activations = operands.activations.each_ref().map(number);
        for _ in 0..rounds {
            for step in &std::hint::black_box(operands).weights {
                for (sums, weights) in sums.iter_mut().zip(step) {
                    let weight = number(weights);
                    sums.iter_mut().zip(activations).for_each(|(sum, activation)| *sum += weight * activation);
                }
            }
        }
        sums.iter().flatten().map(|sum| f64::from(*sum)).sum()
    }

    pub(super) fn bytes(_: Isa, operands: &Operands, rounds: usize) -> f64 {
        let mut sums = [[0i32; COLUMNS]; ROWS];
        let activations = operands.activations.map(|bytes| i32::from(bytes[0] as i8));
        for _ in 0..rounds {
            for step in &std::hint::black_box(operands).weights {
                for (sums, weights) in sums.iter_mut().zip(step) {
                    let weight = i32::from(weights[0]);
                    sums.iter_mut()
                        .zip(activations)
                        .for_each(|(sum, activation)| *sum = sum.wrapping_add(weight * activation));
                }
            }
        }
        sums.iter().flatten().map(|sum| f64::from(*sum)).sum()
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{COLUMNS, Isa, Operands, ROWS};

    /// A loop over the operands: `$sums = $step($sums, $weights, $activations)` for each of the tile.
    macro_rules! multiply_loop {
        ($name:ident, $isa:pat, $features:literal, $vector:ty, $lane:ty, $zero:ident, $load:ident, $step:expr, $columns:expr) => {
            pub(super) fn $name(isa: Isa, operands: &Operands, rounds: usize) -> f64 {
                #[target_feature(enable = $features)]
                fn run(operands: &Operands, rounds: usize) -> f64 {
                    const LANES: usize = size_of::<$vector>() / size_of::<$lane>();
                    // SAFETY: every row of the operands has 64 bytes, as many as the widest vector; lanes are plain numbers.
                    unsafe {
                        let mut sums = [[$zero(); $columns]; ROWS];
                        let x: [$vector; $columns] =
                            std::array::from_fn(|column| $load(operands.activations[column].as_ptr().cast()));
                        for _ in 0..rounds * COLUMNS / $columns {
                            // Opaque, so that products are not kept from one round to the next.
                            for step in &std::hint::black_box(operands).weights {
                                for row in 0..ROWS {
                                    let weights = $load(step[row].as_ptr().cast());
                                    for column in 0..$columns {
                                        sums[row][column] = $step(sums[row][column], weights, x[column]);
                                    }
                                }
                            }
                        }
                        let lanes: [[[$lane; LANES]; $columns]; ROWS] = std::mem::transmute(sums);
                        lanes.iter().flatten().flatten().map(|lane| f64::from(*lane)).sum()
                    }
                }
                assert!(matches!(isa, $isa));
                // SAFETY: the instruction set was found on this machine.
                unsafe { run(operands, rounds) }
            }
        };
    }

    /// A [`multiply_loop`] of integers with 256 bits.
    macro_rules! integers_256 {
        ($name:ident, $isa:pat, $features:literal, $lane:ty, $step:expr) => {
            multiply_loop!($name, $isa, $features, __m256i, $lane, _mm256_setzero_si256, _mm256_loadu_si256, $step, 4);
        };
    }

    /// A [`multiply_loop`] of integers with 512 bits.
    macro_rules! integers_512 {
        ($name:ident, $step:expr) => {
            multiply_loop!(
                $name,
                Isa::Avx512Vnni(_),
                "avx512f,avx512vnni",
                __m512i,
                i32,
                _mm512_setzero_si512,
                _mm512_loadu_si512,
                $step,
                6
            );
        };
    }

    // Sixteen registers hold 2 x 4 sums, four activations and the weights; thirty-two hold 2 x 6. Eight sums are as many as two
    // units with a delay of four cycles need.
    multiply_loop!(
        avx2_floats,
        Isa::Avx2(_) | Isa::AvxVnni(_),
        "avx2,fma",
        __m256,
        f32,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        |sum, w, x| _mm256_fmadd_ps(w, x, sum),
        4
    );
    multiply_loop!(
        avx512_floats,
        Isa::Avx512Vnni(_),
        "avx512f",
        __m512,
        f32,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        |sum, w, x| _mm512_fmadd_ps(w, x, sum),
        6
    );
    integers_256!(avx2_words, Isa::Avx2(_), "avx2,fma", i32, |sum, w, x| {
        _mm256_add_epi32(sum, _mm256_madd_epi16(w, x))
    });
    integers_256!(avx2_codes, Isa::Avx2(_), "avx2,fma", i16, |sum, w, x| {
        _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x))
    });
    integers_256!(avx_vnni_words, Isa::AvxVnni(_), "avx2,avxvnni", i32, |sum, w, x| {
        _mm256_dpwssd_avx_epi32(sum, w, x)
    });
    integers_256!(avx_vnni_bytes, Isa::AvxVnni(_), "avx2,avxvnni", i32, |sum, w, x| {
        _mm256_dpbusd_avx_epi32(sum, w, x)
    });
    integers_512!(vnni_words, |sum, w, x| _mm512_dpwssd_epi32(sum, w, x));
    integers_512!(vnni_bytes, |sum, w, x| _mm512_dpbusd_epi32(sum, w, x));

    /// The bytes of a piece read in `streams` streams, vector by vector.
    macro_rules! read_loop {
        ($name:ident, $features:literal, $vector:ty, $zero:ident, $load:ident, $or:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(bytes: &[u8], streams: usize) -> u64 {
                const WIDTH: usize = size_of::<$vector>();
                let length = bytes.len() / streams / (4 * WIDTH) * (4 * WIDTH);
                // SAFETY: `streams * length` bytes are there; the loads need no alignment.
                unsafe {
                    let mut sums = [$zero(); 4];
                    for place in (0..length).step_by(4 * WIDTH) {
                        for stream in 0..streams {
                            let start = bytes.as_ptr().add(stream * length + place);
                            for (index, sum) in sums.iter_mut().enumerate() {
                                *sum = $or(*sum, $load(start.add(index * WIDTH).cast()));
                            }
                        }
                    }
                    let words: [[u64; WIDTH / 8]; 4] = std::mem::transmute(sums);
                    words.iter().flatten().fold(0, |sum, word| sum ^ word)
                }
            }
        };
    }
    read_loop!(avx2_sum, "avx2", __m256i, _mm256_setzero_si256, _mm256_loadu_si256, _mm256_xor_si256);
    read_loop!(avx512_sum, "avx512f", __m512i, _mm512_setzero_si512, _mm512_loadu_si512, _mm512_xor_si512);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isas() -> Vec<Isa> {
        Isa::available()
    }

    #[test]
    fn every_byte_is_read() {
        for isa in isas() {
            for streams in [1, 4] {
                // One bit in each word in turn: whatever is not read is not in the sum.
                let mut bytes = vec![0u8; 8192];
                for place in (0..bytes.len()).step_by(8) {
                    bytes[place] = 1;
                    assert_eq!(sum_of_words(isa, &bytes, streams), 1, "{} at {place}", isa.name());
                    bytes[place] = 0;
                }
            }
        }
    }

    #[test]
    fn loops_do_as_many_multiplications_as_are_counted() {
        for isa in isas() {
            let Loops { f32, i16, i8, codes } = Loops::of(isa);
            for work in [f32, i16, i8, codes] {
                // Every product is 1, and two rounds of them fit the narrowest sums.
                let found = (work.run)(isa, &Operands::filled(work.one), 2);
                assert_eq!(found, (2 * STEPS * work.macs_a_step) as f64, "{}", isa.name());
            }
        }
    }

    #[test]
    fn peaks_are_positive() {
        for isa in Isa::available().into_iter().map(Isa::choice) {
            let options = CpuOptions { threads: Some(1), isa };
            let peaks = measure(&options, 8 << 20).expect("memory and a thread");
            assert_eq!((peaks.thread_count, peaks.isa_name), (1, Isa::detect(isa).name()));
            let rates = [
                peaks.read_bytes_per_second,
                peaks.f32_macs_per_second,
                peaks.i16_macs_per_second,
                peaks.i8_macs_per_second,
                peaks.code_macs_per_second,
            ];
            assert!(rates.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{peaks:?}");
            let faster = Peaks { i8_macs_per_second: 2.0 * peaks.i8_macs_per_second, ..peaks };
            assert_eq!((peaks.better_of(&faster), faster.better_of(&peaks)), (faster, faster));
        }
    }
}
