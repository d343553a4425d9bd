//! What is done to a finished embedding: cut to fewer numbers, and brought to a length.

/// How embeddings are brought to a common length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalization {
    /// As the model gives them.
    None,
    /// The largest magnitude becomes that of 16-bit integers, as llama.cpp has it.
    LargestMagnitude,
    /// The sum of so-many-th powers becomes 1: 1 is the sum of magnitudes, 2 the Euclidean length.
    Power(u32),
}

/// What the largest magnitude becomes: a little below the end of 16-bit integers.
const LARGEST_MAGNITUDE: f64 = 32_760.0;
/// The greatest power: beyond it the sum is as good as the largest magnitude, and powers leave the range of numbers.
const POWER_MAX: i64 = 64;

impl Normalization {
    /// The Euclidean length becomes 1.
    pub const EUCLIDEAN: Normalization = Normalization::Power(2);

    /// By llama.cpp's number: -1 none, 0 the largest magnitude, else the power. `None` for other numbers.
    pub fn from_number(number: i64) -> Option<Normalization> {
        match number {
            -1 => Some(Normalization::None),
            0 => Some(Normalization::LargestMagnitude),
            1..=POWER_MAX => Some(Normalization::Power(number as u32)),
            _ => None,
        }
    }

    /// Scales a vector; one of zeros stays as it is.
    pub fn apply(self, vector: &mut [f32]) {
        let magnitudes = || vector.iter().map(|value| f64::from(value.abs()));
        let length = match self {
            Normalization::None => return,
            Normalization::LargestMagnitude => magnitudes().fold(0.0, f64::max) / LARGEST_MAGNITUDE,
            Normalization::Power(2) => magnitudes().map(|value| value * value).sum::<f64>().sqrt(),
            Normalization::Power(power) => {
                magnitudes().map(|value| value.powi(power as i32)).sum::<f64>().powf(1.0 / f64::from(power))
            }
        };
        if length > 0.0 {
            vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(number: i64, mut vector: Vec<f32>) -> Vec<f32> {
        Normalization::from_number(number).expect("a known number").apply(&mut vector);
        vector
    }

    #[test]
    fn lengths_are_those_of_llama_cpp() {
        assert_eq!(normalised(-1, vec![3.0, -4.0]), [3.0, -4.0]);
        assert_eq!(normalised(0, vec![3.0, -4.0]), [24_570.0, -32_760.0]);
        assert_eq!(normalised(1, vec![3.0, -5.0]), [0.375, -0.625]);
        assert_eq!(normalised(2, vec![3.0, -4.0]), [0.6, -0.8]);
        let cubic = normalised(3, vec![3.0, -4.0]);
        assert!((cubic[0].powi(3) - cubic[1].powi(3) - 1.0).abs() < 1e-6);
        assert_eq!(normalised(2, vec![0.0, 0.0]), [0.0, 0.0]);
        assert_eq!((Normalization::from_number(-2), Normalization::from_number(65)), (None, None));
    }
}
