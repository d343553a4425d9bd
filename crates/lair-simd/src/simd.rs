//! What an instruction set must offer.

/// Elements of a vector.
pub const LANES: usize = 8;

/// Vectors of eight f32. An implementation is a token: that it exists proves that the machine has the instructions.
///
/// All operations round as IEEE 754 says; [`Simd::fma`] rounds once.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Eight lanes.
    type F: Copy;

    /// Calls `work` compiled for this instruction set, as far as `work` is inlined.
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R;
    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// Loads eight elements.
    fn load(self, values: &[f32; LANES]) -> Self::F;
    /// Stores eight elements.
    fn store(self, vector: Self::F, values: &mut [f32; LANES]);
    /// Widens eight half-precision numbers, given by their bits.
    fn load_f16(self, bits: &[u16; LANES]) -> Self::F;
    /// Rounds to half precision, to nearest, ties to even.
    fn store_f16(self, vector: Self::F, bits: &mut [u16; LANES]);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a > b ? a : b`: `b` where one of them is no number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`: `b` where one of them is no number.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Magnitudes.
    fn abs(self, a: Self::F) -> Self::F;
    /// Magnitude of `a` with the sign of `b`.
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F;
    /// Rounds to the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` of integral lanes within -126 to 127.
    fn power_of_two(self, n: Self::F) -> Self::F;
    /// Rounds 32 numbers of magnitude below 2^15 to the nearest integer, ties to even, and stores them cut to i8.
    fn store_i8(self, vectors: [Self::F; 4], values: &mut [i8; 32]);
    /// [`Simd::store_i8`] of numbers that need not be cut, and the sums of the first and the second sixteen bytes.
    #[inline(always)]
    fn store_i8_summed(self, vectors: [Self::F; 4], values: &mut [i8; 32]) -> [i32; 2] {
        self.store_i8(vectors, values);
        let sum = |half: &[i8]| half.iter().map(|&x| i32::from(x)).sum();
        let (low, high) = values.split_at(16);
        [sum(low), sum(high)]
    }

    /// Replaces each byte, which is below 16, by the table's entry for it.
    fn look_up(self, table: &[u8; 16], bytes: &mut [u8; 32]);

    /// Bit `i` says whether `a[i] >= b[i]`; never where one of them is no number.
    #[inline(always)]
    fn at_least(self, a: Self::F, b: Self::F) -> u32 {
        let (a, b) = (self.to_array(a), self.to_array(b));
        (0..LANES).fold(0, |bits, lane| bits | u32::from(a[lane] >= b[lane]) << lane)
    }

    /// Adds each lane, of magnitude below 2^51, to its sum, rounded down to an integer.
    #[inline(always)]
    fn add_floored(self, x: Self::F, sums: &mut [i64; LANES]) {
        for (sum, x) in sums.iter_mut().zip(self.to_array(x)) {
            *sum += x.floor() as i64;
        }
    }

    /// Each lane changes places with the one `DISTANCE`, a power of two, from it: lane `i` becomes lane `i ^ DISTANCE`.
    #[inline(always)]
    fn exchange<const DISTANCE: usize>(self, vector: Self::F) -> Self::F {
        let lanes = self.to_array(vector);
        self.load(&std::array::from_fn(|lane| lanes[lane ^ DISTANCE]))
    }

    /// Writes rows as columns: element j of row i becomes element i of column j.
    #[inline(always)]
    fn transpose(self, rows: [&[u32; LANES]; LANES], columns: &mut [[u32; LANES]; LANES]) {
        for (j, column) in columns.iter_mut().enumerate() {
            *column = rows.map(|row| row[j]);
        }
    }

    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self, vector: Self::F) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        self.store(vector, &mut values);
        values
    }

    /// Sum of the lanes, as `((0+4)+(2+6)) + ((1+5)+(3+7))`.
    #[inline(always)]
    fn sum(self, vector: Self::F) -> f32 {
        let v = self.to_array(vector);
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

    /// The largest lane, by [`Simd::max`].
    #[inline(always)]
    fn largest(self, vector: Self::F) -> f32 {
        let v = self.to_array(vector);
        let max = |a: f32, b: f32| if a > b { a } else { b };
        max(max(max(v[0], v[4]), max(v[2], v[6])), max(max(v[1], v[5]), max(v[3], v[7])))
    }

    /// Loads at most eight elements; the other lanes are `fill`.
    #[inline(always)]
    fn load_part(self, values: &[f32], fill: f32) -> Self::F {
        let mut lanes = [fill; LANES];
        let count = values.len().min(LANES);
        lanes[..count].copy_from_slice(&values[..count]);
        self.load(&lanes)
    }

    /// Stores the first lanes, as many as `values` has room for.
    #[inline(always)]
    fn store_part(self, vector: Self::F, values: &mut [f32]) {
        let count = values.len().min(LANES);
        values[..count].copy_from_slice(&self.to_array(vector)[..count]);
    }
}

/// A piece of work generic over the instruction set, for [`crate::Isa::run`].
///
/// [`crate::with_simd`] is shorter, but leaves it to the compiler whether a large closure becomes part of the vector
/// code. Implementations mark `run` as `#[inline(always)]`, which does not.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

#[cfg(test)]
mod tests {
    use super::LANES;
    use crate::{Isa, IsaChoice, Simd, vectorize};

    #[test]
    fn a_transposed_tile_has_rows_as_columns() {
        let rows: [[u32; LANES]; LANES] = std::array::from_fn(|i| std::array::from_fn(|j| (i << 16 | j) as u32));
        for choice in [IsaChoice::Scalar, IsaChoice::Avx2, IsaChoice::Auto] {
            let columns = transpose_on(Isa::detect(choice), &rows);
            for (i, row) in rows.iter().enumerate() {
                assert_eq!(std::array::from_fn(|j| columns[j][i]), *row, "{choice:?}");
            }
        }
    }

    fn transpose_on(isa: Isa, rows: &[[u32; LANES]; LANES]) -> [[u32; LANES]; LANES] {
        let mut result = [[0; LANES]; LANES];
        vectorize!(isa, store_transposed, rows: &[[u32; LANES]; LANES] = rows, result: &mut [[u32; LANES]; LANES] = &mut result);
        result
    }

    #[inline(always)]
    fn store_transposed<S: Simd>(s: S, rows: &[[u32; LANES]; LANES], result: &mut [[u32; LANES]; LANES]) {
        s.transpose(rows.each_ref(), result);
    }
}
