//! Random blocks of a type: random codes, and scales so that the values have the deviation of trained weights.

use lair_gguf::TensorType;
use lair_gguf::TensorType::*;

/// Root of the mean square of the values that are made.
pub const DEVIATION: f32 = 0.02;

/// Where blocks of a type have their scales.
enum Scale {
    /// A half-precision number at this offset.
    Half(usize),
    /// One at this offset, and one at that: the smallest value, or the factor of the mins. Both are chosen so that values
    /// are spread around zero; `mean_code` is the mean of random codes.
    HalfAndMin { scale: usize, min: usize, mean_code: f32, is_subtracted: bool },
    /// Sixteen bits spread over the upper four of four words from this offset on (IQ1_M).
    Nibbles(usize),
    /// An f32 at this offset.
    Single(usize),
    /// An exponent, the byte at this offset (MXFP4).
    Exponent(usize),
    /// So many 8-bit floating-point numbers from the start on (NVFP4).
    SmallFloats(usize),
}

/// Random numbers of splitmix64 (Steele et al., "Fast Splittable Pseudorandom Number Generators").
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Nearly normal, of mean 0 and deviation 1: the sum of twelve uniform numbers.
    pub fn normal(&mut self) -> f32 {
        let uniform = |random: &mut Random| (random.bits() >> 40) as f32 / (1 << 24) as f32;
        (0..12).map(|_| uniform(self)).sum::<f32>() - 6.0
    }
}

/// `block_count` random blocks of a type.
///
/// # Panics
/// If weights cannot have this type.
pub fn tile(tensor_type: TensorType, block_count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    if matches!(tensor_type, F32 | F16 | BF16) {
        let values: Vec<f32> = (0..block_count).map(|_| DEVIATION * random.normal()).collect();
        let mut bytes = vec![0; block_count * tensor_type.block_bytes()];
        lair_quant::quantize(tensor_type, &values, &mut bytes).expect("plain numbers can be written");
        return bytes;
    }
    let block_bytes = tensor_type.block_bytes();
    let mut bytes: Vec<u8> =
        (0..(block_count * block_bytes).div_ceil(8)).flat_map(|_| random.bits().to_le_bytes()).collect();
    bytes.truncate(block_count * block_bytes);
    if matches!(tensor_type, TQ2_0 | Q2_0) {
        bytes.iter_mut().for_each(|byte| *byte = without_threes(*byte));
    }
    let place = scale_of(tensor_type);
    // First with a scale of 1, to see what the codes amount to, then with the scale that gives the deviation.
    let sample = bytes.len().min(SAMPLE_BLOCKS * block_bytes);
    bytes[..sample].chunks_exact_mut(block_bytes).for_each(|block| place.set(block, 1.0));
    let mut values = vec![0.0; sample / block_bytes * tensor_type.block_length()];
    lair_quant::dequantize(tensor_type, &bytes[..sample], &mut values).expect("whole blocks");
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    let scale = DEVIATION / (squares / values.len() as f64).sqrt() as f32;
    bytes.chunks_exact_mut(block_bytes).for_each(|block| place.set(block, scale));
    bytes
}

/// Pairs of bits that are 3 become 1: TQ2_0 has none, and Q2_0 is spread around zero without them.
fn without_threes(byte: u8) -> u8 {
    let threes = byte & (byte >> 1) & 0b0101_0101;
    byte & !(threes << 1)
}

/// Blocks that are looked at to choose the scale.
const SAMPLE_BLOCKS: usize = 256;

/// Source of the offsets: the diagrams in `lair_quant::formats`.
fn scale_of(tensor_type: TensorType) -> Scale {
    let with_min = |scale, min, mean_code, is_subtracted| Scale::HalfAndMin { scale, min, mean_code, is_subtracted };
    match tensor_type {
        Q4_0 | Q5_0 | Q8_0 | Q8_1 | IQ1_S | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_NL | IQ4_XS | Q1_0
        | Q2_0 => Scale::Half(0),
        Q4_1 => with_min(0, 2, 7.5, false),
        Q5_1 => with_min(0, 2, 15.5, false),
        Q2_K => with_min(80, 82, 1.5, true),
        Q4_K => with_min(0, 2, 7.5, true),
        Q5_K => with_min(0, 2, 15.5, true),
        Q3_K => Scale::Half(108),
        Q6_K => Scale::Half(208),
        TQ1_0 => Scale::Half(52),
        TQ2_0 => Scale::Half(64),
        Q8_K => Scale::Single(0),
        IQ1_M => Scale::Nibbles(48),
        MXFP4 => Scale::Exponent(0),
        NVFP4 => Scale::SmallFloats(4),
        F32 | F16 | BF16 | F64 | I8 | I16 | I32 | I64 => panic!("{tensor_type} has no blocks with scales"),
    }
}

impl Scale {
    /// Sets the scale of a block.
    fn set(&self, block: &mut [u8], scale: f32) {
        let half = |value: f32| {
            let mut bytes = [0; 2];
            lair_quant::quantize(F16, &[value], &mut bytes).expect("one number, two bytes");
            bytes
        };
        match *self {
            Scale::Half(place) => block[place..place + 2].copy_from_slice(&half(scale)),
            Scale::HalfAndMin { scale: place, min, mean_code, is_subtracted } => {
                block[place..place + 2].copy_from_slice(&half(scale));
                let smallest = if is_subtracted { scale * mean_code } else { -scale * mean_code };
                block[min..min + 2].copy_from_slice(&half(smallest));
            }
            Scale::Nibbles(place) => {
                let bits = u16::from_le_bytes(half(scale));
                for word in 0..4 {
                    let upper = &mut block[place + 2 * word + 1];
                    *upper = *upper & 15 | ((bits >> (4 * word) & 15) << 4) as u8;
                }
            }
            Scale::Single(place) => block[place..place + 4].copy_from_slice(&scale.to_le_bytes()),
            // The nearest power of two; the exponent's bias is 127.
            Scale::Exponent(place) => block[place] = (127.0 + scale.log2().round()).clamp(1.0, 254.0) as u8,
            Scale::SmallFloats(count) => block[..count].fill(small_float(scale)),
        }
    }
}

/// The nearest unsigned floating-point number of four bits of exponent (bias 7) and three of mantissa.
fn small_float(value: f32) -> u8 {
    let of = |byte: u8| match (byte >> 3, f32::from(byte & 7)) {
        (0, mantissa) => mantissa / 512.0,
        (exponent, mantissa) => (1.0 + mantissa / 8.0) * 2f32.powi(i32::from(exponent) - 7),
    };
    let nearer = |a: &u8, b: &u8| (of(*a) - value).abs().total_cmp(&(of(*b) - value).abs());
    (1..0x7f).min_by(nearer).expect("there are numbers to choose from")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_bits_are_ternary() {
        assert_eq!(
            [0b1110_0100, 0b1111_1111, 0b1010_0101].map(without_threes),
            [0b0110_0100, 0b0101_0101, 0b1010_0101]
        );
    }

    #[test]
    fn values_of_every_type_are_finite_and_spread_as_wanted() {
        for mix in super::super::mixes::MIXES {
            let tensor_type = mix.base;
            let block_count = 4096 / tensor_type.block_length().min(256) + 13;
            let bytes = tile(tensor_type, block_count, 7);
            assert_eq!(bytes.len(), block_count * tensor_type.block_bytes());
            let mut values = vec![0.0; block_count * tensor_type.block_length()];
            lair_quant::dequantize(tensor_type, &bytes, &mut values).expect("valid blocks");
            assert!(values.iter().all(|value| value.is_finite()), "{tensor_type}");
            let count = values.len() as f32;
            let mean = values.iter().sum::<f32>() / count;
            let deviation = (values.iter().map(|value| value * value).sum::<f32>() / count).sqrt();
            // A power of two can be off by a factor of 1.41.
            assert!((0.7..1.45).contains(&(deviation / DEVIATION)), "{tensor_type}: {deviation}");
            assert!(mean.abs() < 0.4 * DEVIATION, "{tensor_type}: mean {mean}");
            assert_eq!(bytes, tile(tensor_type, block_count, 7), "the same seed gives the same blocks");
        }
    }
}
