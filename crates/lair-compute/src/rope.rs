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
    /// Radians per position of each pair; `2 * frequencies.len()` elements of a head are turned.
    pub frequencies: Vec<f32>,
    /// Factor on cosine and sine (YaRN's attention factor; 1 without).
    pub magnitude: f32,
    /// Elements of a head before the turned ones.
    pub first: usize,
}

impl RopeTable {
    /// Elements of a head that are turned.
    pub fn dimension_count(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Indices of the two elements of pair `index` within a head.
    pub fn pair(&self, index: usize) -> (usize, usize) {
        match self.style {
            RopeStyle::Interleaved => (self.first + 2 * index, self.first + 2 * index + 1),
            RopeStyle::HalfSplit => (self.first + index, self.first + index + self.frequencies.len()),
        }
    }

    /// Cosine and sine of pair `index` at `position`, magnitude included. Every backend takes them from here or from a
    /// table filled from here, so that they agree to the bit.
    pub fn cosine_sine(&self, index: usize, position: usize) -> (f32, f32) {
        let (sine, cosine) = (position as f32 * self.frequencies[index]).sin_cos();
        (cosine * self.magnitude, sine * self.magnitude)
    }

    /// Leaves of the same `head` at all positions below `positions` what turning hardly changes: elements that are not
    /// turned, and pairs that turn by a radian at most. Others become zero.
    pub fn keep_constant(&self, head: &mut [f32], positions: usize) {
        for (index, frequency) in self.frequencies.iter().enumerate() {
            let (first, second) = self.pair(index);
            let is_kept = frequency.abs() * positions as f32 <= 1.0;
            let factor = if is_kept { self.magnitude } else { 0.0 };
            head[first] *= factor;
            head[second] *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_slowly_is_constant() {
        for style in [RopeStyle::Interleaved, RopeStyle::HalfSplit] {
            let table = RopeTable { style, frequencies: vec![1.0, 1e-2, 1e-4], magnitude: 1.5, first: 0 };
            let mut head = [2.0; 8];
            table.keep_constant(&mut head, 4096);
            let (first, second) = table.pair(2);
            for (index, &value) in head.iter().enumerate() {
                let expected = if index == first || index == second { 3.0 } else { 2.0 * f32::from(index >= 6) };
                assert_eq!(value, expected, "element {index} of {style:?}");
            }
        }
    }
}
