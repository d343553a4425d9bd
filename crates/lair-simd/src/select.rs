//! Picking numbers of a range out of long rows.

use crate::{Isa, LANES, Simd, vectorize};

/// Numbers from `least` to `most`, both of them included; what is no number is in none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least one.
    pub least: f32,
    /// The greatest one.
    pub most: f32,
}

impl Range {
    /// Whether it is in the range.
    pub fn has(self, value: f32) -> bool {
        value >= self.least && value <= self.most
    }
}

/// Puts the values that are in the range behind those in `found`, in their order, and their places, counted from `first`, behind those in
/// `places`.
pub fn select_within(
    isa: Isa,
    (values, first): (&[f32], u32),
    range: Range,
    places: &mut Vec<u32>,
    found: &mut Vec<f32>,
) {
    #[cfg(target_arch = "x86_64")]
    if let Isa::Avx512Vnni(_) = isa {
        return crate::avx512::select_within(isa, (values, first), range, places, found);
    }
    vectorize!(isa, select_with,
        values: (&[f32], u32) = (values, first),
        range: Range = range,
        places: &mut Vec<u32> = places,
        found: &mut Vec<f32> = found,
    );
}

#[inline(always)]
fn select_with<S: Simd>(
    s: S,
    (values, first): (&[f32], u32),
    range: Range,
    places: &mut Vec<u32>,
    found: &mut Vec<f32>,
) {
    let (least, most) = (s.splat(range.least), s.splat(range.most));
    for (index, chunk) in values.chunks(LANES).enumerate() {
        let (x, there) = match chunk.first_chunk() {
            Some(chunk) => (s.load(chunk), (1 << LANES) - 1),
            None => (s.load_part(chunk, f32::NEG_INFINITY), (1 << chunk.len()) - 1),
        };
        let mut wanted = s.at_least(x, least) & s.at_least(most, x) & there;
        while wanted != 0 {
            let lane = wanted.trailing_zeros() as usize;
            places.push(first + (index * LANES + lane) as u32);
            found.push(chunk[lane]);
            wanted &= wanted - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_selects_the_same() {
        let special = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -0.0, 0.0, 1.0];
        for length in [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000] {
            let values: Vec<f32> = (0..length)
                .map(|i| if i % 7 == 3 { special[i / 7 % 6] } else { (i * 37 % 101) as f32 * 0.13 - 6.0 })
                .collect();
            for (least, most) in [
                (f32::NEG_INFINITY, f32::INFINITY),
                (f32::MIN, f32::INFINITY),
                (0.0, 0.0),
                (-1.0, 2.0),
                (5.0, 4.0),
                (f32::NEG_INFINITY, 0.0),
            ] {
                let range = Range { least, most };
                let expected: Vec<(u32, u32)> = (40..)
                    .zip(&values)
                    .filter(|(_, value)| range.has(**value))
                    .map(|(place, value)| (place, value.to_bits()))
                    .collect();
                for isa in Isa::available() {
                    let (mut places, mut found) = (vec![9], vec![0.5]);
                    select_within(isa, (&values, 40), range, &mut places, &mut found);
                    assert_eq!((places[0], found[0], places.len()), (9, 0.5, found.len()));
                    let got: Vec<(u32, u32)> =
                        places.into_iter().zip(found.iter().map(|x| x.to_bits())).skip(1).collect();
                    assert_eq!(got, expected, "{length}, {range:?}, {}", isa.name());
                }
            }
        }
    }
}
