//! Rotary position embedding, resolved to one angle per pair of elements.
//!
//! Source: Su et al., "RoFormer", section 3.4. Every scaling in use (linear, Llama 3, YaRN, LongRoPE) is linear in the
//! position, so it folds into the frequencies and one magnitude when the model is loaded.

/// Which elements of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Elements `2i` and `2i + 1` (GGUF files of the `llama` family).
    Interleaved,
    /// Elements `i` and `i + dimension_count / 2` (GPT-NeoX and most others).
    HalfSplit,
}

/// Angles of one kind of layer: pair `i` at position `p` turns by `p * frequencies[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTable {
    /// How pairs are formed.
    pub style: RopeStyle,
    /// Radians per position of each pair; the first `2 * frequencies.len()` elements of a head are turned.
    pub frequencies: Vec<f32>,
    /// Factor on cosine and sine (YaRN's attention factor; 1 without).
    pub magnitude: f32,
}

impl RopeTable {
    /// Elements of a head that are turned.
    pub fn dimension_count(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Indices of the two elements of pair `index` within a head.
    pub fn pair(&self, index: usize) -> (usize, usize) {
        match self.style {
            RopeStyle::Interleaved => (2 * index, 2 * index + 1),
            RopeStyle::HalfSplit => (index, index + self.frequencies.len()),
        }
    }

    /// Cosine and sine of pair `index` at `position`, magnitude included. Every backend takes them from here or from a
    /// table filled from here, so that they agree to the bit.
    pub fn cosine_sine(&self, index: usize, position: usize) -> (f32, f32) {
        let (sine, cosine) = (position as f32 * self.frequencies[index]).sin_cos();
        (cosine * self.magnitude, sine * self.magnitude)
    }
}
