//! Learned biases by distance: buckets of distances become a table of distances.
//!
//! Source: Raffel et al., "Exploring the Limits of Transfer Learning", section 2.1, and its code: half of the buckets are for
//! one distance each, the others grow with the logarithm up to the reach, beyond which all are alike.

use lair_compute::{Backend, RelativeBias};

use super::Builder;
use crate::ModelError;
use crate::spec;

/// Beyond this distance all have the last bucket.
const REACH: usize = 128;

impl<B: Backend> Builder<'_, B> {
    /// The biases of a layer with so many heads: its own, or those of the first layer.
    pub(super) fn relative_bias(
        &self,
        declared: &spec::RelativeBias,
        prefix: &str,
        head_count: usize,
        sees_what_follows: bool,
    ) -> Result<RelativeBias, ModelError> {
        let own = format!("{prefix}{}.weight", declared.stem);
        let first = format!("{}{}.weight", declared.first_layer, declared.stem);
        // [bucket, head]
        let stored = self.values(if self.source.has(&own) { &own } else { &first })?;
        let distances = -(REACH as i64)..=REACH as i64;
        let buckets: Vec<usize> =
            distances.map(|distance| bucket(distance, declared.bucket_count, sees_what_follows)).collect();
        let of_head = |head: usize| buckets.iter().map(move |bucket| (head, *bucket));
        let values = (0..head_count).flat_map(of_head).map(|(head, bucket)| stored[bucket * head_count + head]);
        Ok(RelativeBias { reach: REACH, values: values.collect() })
    }
}

/// The bucket of a key that stands so far behind the query (in front of it, if negative).
fn bucket(distance: i64, bucket_count: usize, sees_what_follows: bool) -> usize {
    let (count, start, distance) = match sees_what_follows {
        // Half of the buckets for each side.
        true => (bucket_count / 2, if distance > 0 { bucket_count / 2 } else { 0 }, distance.unsigned_abs() as usize),
        false => (bucket_count, 0, distance.min(0).unsigned_abs() as usize),
    };
    let exact = count / 2;
    if distance < exact {
        return start + distance;
    }
    let grown = ((distance as f64 / exact as f64) as f32).ln() * (count - exact) as f32;
    let grown = f64::from(grown) / (REACH as f64 / exact as f64).ln();
    start + (exact + grown as usize).min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn near_distances_have_a_bucket_each_and_far_ones_share() {
        let behind: Vec<usize> = [0, -1, -15, -16, -17, -20, -127, -500].map(|d| bucket(d, 32, false)).to_vec();
        assert_eq!(behind, [0, 1, 15, 16, 16, 17, 31, 31]);
        assert_eq!(bucket(5, 32, false), 0, "what follows is not seen");
        assert_eq!([bucket(-3, 32, true), bucket(3, 32, true), bucket(300, 32, true)], [3, 19, 31]);
    }
}
