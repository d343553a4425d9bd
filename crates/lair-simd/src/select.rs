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
    /// All numbers, infinite ones too.
    pub const ALL: Range = Range { least: f32::NEG_INFINITY, most: f32::INFINITY };

    /// Whether it is in the range.
    pub fn has(self, value: f32) -> bool {
        value >= self.least && value <= self.most
    }
}

/// Puts the values that are in the range behind those in `found`, in their order, and their places behind those in `found_places`. Without
/// `places`, which are as many as there are values, the first one's is 0, the next one's 1, and so on.
///
/// # Panics
/// If there are more or fewer places than values.
pub fn select_within(
    isa: Isa,
    (values, places): (&[f32], Option<&[u32]>),
    range: Range,
    found_places: &mut Vec<u32>,
    found: &mut Vec<f32>,
) {
    assert!(places.is_none_or(|places| places.len() == values.len()), "as many places as values");
    #[cfg(target_arch = "x86_64")]
    if let Isa::Avx512Vnni(_) = isa {
        return crate::avx512::select_within(isa, (values, places), range, found_places, found);
    }
    vectorize!(isa, select_with,
        values: (&[f32], Option<&[u32]>) = (values, places),
        range: Range = range,
        found_places: &mut Vec<u32> = found_places,
        found: &mut Vec<f32> = found,
    );
}

/// Values that share the bits of a mask of [`pick_within`].
pub const PICKED: usize = 16;

/// Puts the values that are in the range behind those in `found`, in their order, and for each [`PICKED`] values, and what is left of them,
/// bits behind those in `masks` that say which they are. A third of what [`select_within`] takes, which stores four bytes for each.
pub fn pick_within(isa: Isa, values: &[f32], range: Range, masks: &mut Vec<u16>, found: &mut Vec<f32>) {
    #[cfg(target_arch = "x86_64")]
    if let Isa::Avx512Vnni(_) = isa {
        return crate::avx512::pick_within(isa, values, range, masks, found);
    }
    vectorize!(isa, pick_with,
        values: &[f32] = values,
        range: Range = range,
        masks: &mut Vec<u16> = masks,
        found: &mut Vec<f32> = found,
    );
}

/// The place of the value that [`pick_within`] found as number `index`.
///
/// # Panics
/// If it did not find as many.
pub fn picked_place(masks: &[u16], index: usize) -> usize {
    let mut before = 0;
    // Four masks are counted at once.
    let (groups, _) = masks.as_chunks::<4>();
    let word = |&[a, b, c, d]: &[u16; 4]| u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48;
    let mut group = 0;
    while let Some(count) = groups.get(group).map(|masks| word(masks).count_ones() as usize)
        && before + count <= index
    {
        (before, group) = (before + count, group + 1);
    }
    let first = 4 * group;
    let place = picked_places(&masks[first..]).nth(index - before);
    first * PICKED + place.unwrap_or_else(|| panic!("number {index} of what was picked is asked for, there are fewer"))
}

/// The places of all values that [`pick_within`] found.
pub fn picked_places(masks: &[u16]) -> impl Iterator<Item = usize> {
    masks.iter().enumerate().flat_map(|(group, &mask)| {
        let bits = std::iter::successors(Some(mask), |&bits| Some(bits & bits.wrapping_sub(1)));
        let bits = bits.take_while(|&bits| bits != 0);
        bits.map(move |bits| group * PICKED + bits.trailing_zeros() as usize)
    })
}

#[inline(always)]
fn pick_with<S: Simd>(s: S, values: &[f32], range: Range, masks: &mut Vec<u16>, found: &mut Vec<f32>) {
    let (least, most) = (s.splat(range.least), s.splat(range.most));
    for group in values.chunks(PICKED) {
        let mut mask = 0;
        for (half, chunk) in group.chunks(LANES).enumerate() {
            let (x, there) = match chunk.first_chunk() {
                Some(chunk) => (s.load(chunk), (1 << LANES) - 1),
                None => (s.load_part(chunk, f32::NEG_INFINITY), (1 << chunk.len()) - 1),
            };
            let mut wanted = s.at_least(x, least) & s.at_least(most, x) & there;
            mask |= wanted << (half * LANES);
            while wanted != 0 {
                found.push(chunk[wanted.trailing_zeros() as usize]);
                wanted &= wanted - 1;
            }
        }
        masks.push(mask as u16);
    }
}

#[inline(always)]
fn select_with<S: Simd>(
    s: S,
    (values, places): (&[f32], Option<&[u32]>),
    range: Range,
    found_places: &mut Vec<u32>,
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
            let index = index * LANES + lane;
            found_places.push(places.map_or(index as u32, |places| places[index]));
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
                let expected: Vec<(u32, u32)> = (0..)
                    .zip(&values)
                    .filter(|(_, value)| range.has(**value))
                    .map(|(place, value)| (place, value.to_bits()))
                    .collect();
                for isa in Isa::available() {
                    let (mut places, mut found) = (vec![9], vec![0.5]);
                    select_within(isa, (&values, None), range, &mut places, &mut found);
                    assert_eq!((places[0], found[0], places.len()), (9, 0.5, found.len()));
                    let got: Vec<(u32, u32)> =
                        places.into_iter().zip(found.iter().map(|x| x.to_bits())).skip(1).collect();
                    assert_eq!(got, expected, "{length}, {range:?}, {}", isa.name());

                    let given: Vec<u32> = (0..length as u32).map(|place| 3 * place + 70).collect();
                    let (mut places, mut of_given) = (Vec::new(), Vec::new());
                    select_within(isa, (&values, Some(&given)), range, &mut places, &mut of_given);
                    assert!(places.iter().eq(got.iter().map(|(place, _)| &given[*place as usize])), "{}", isa.name());
                    assert!(of_given.iter().map(|x| x.to_bits()).eq(got.iter().map(|(_, bits)| *bits)));

                    let (mut masks, mut found) = (vec![7], vec![0.5]);
                    pick_within(isa, &values, range, &mut masks, &mut found);
                    assert_eq!((masks[0], found[0], masks.len()), (7, 0.5, 1 + length.div_ceil(PICKED)));
                    let places = picked_places(&masks[1..]).map(|place| place as u32);
                    let got: Vec<(u32, u32)> = places.zip(found[1..].iter().map(|x| x.to_bits())).collect();
                    assert_eq!(
                        (&got, found.len()),
                        (&expected, 1 + expected.len()),
                        "{length}, {range:?}, {}",
                        isa.name()
                    );
                    for (index, (place, _)) in expected.iter().enumerate() {
                        assert_eq!(picked_place(&masks[1..], index) as u32, *place);
                    }
                }
            }
        }
    }
}
