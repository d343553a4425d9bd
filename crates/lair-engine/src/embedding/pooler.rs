//! From hidden states, row by row, to one vector.

use lair_model::Pooling;

/// Takes the rows of an input in their order, however they are cut.
#[derive(Clone, Debug)]
pub(super) struct Pooler {
    pooling: Pooling,
    width: usize,
    row_count: usize,
    /// Sums in F64, row after row: the mean does not depend on how the rows were cut.
    sums: Vec<f64>,
    /// Rows that are kept as they are.
    rows: Vec<f32>,
}

impl Pooler {
    /// # Panics
    /// For [`Pooling::Rank`], which is a classifier's, not a pooling of its own.
    pub(super) fn new(pooling: Pooling, width: usize) -> Self {
        assert!(pooling != Pooling::Rank, "a classifier has a pooling of its own");
        Self { pooling, width, row_count: 0, sums: Vec::new(), rows: Vec::new() }
    }

    /// Takes rows, `[rows, width]`.
    pub(super) fn add(&mut self, states: &[f32]) {
        debug_assert!(states.len().is_multiple_of(self.width) && !states.is_empty());
        match self.pooling {
            Pooling::None => self.rows.extend_from_slice(states),
            Pooling::Mean => {
                self.sums.resize(self.width, 0.0);
                for row in states.chunks_exact(self.width) {
                    self.sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
                }
            }
            Pooling::First if self.row_count == 0 => self.rows = states[..self.width].to_vec(),
            Pooling::Last => self.rows = states[states.len() - self.width..].to_vec(),
            Pooling::First | Pooling::Rank => {}
        }
        self.row_count += states.len() / self.width;
    }

    /// The vector: `[width]`, or `[rows, width]` without pooling.
    pub(super) fn finish(self) -> Vec<f32> {
        match self.pooling {
            Pooling::Mean => self.sums.into_iter().map(|sum| (sum / self.row_count as f64) as f32).collect(),
            _ => self.rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pooling_gives_the_same_however_rows_are_cut() {
        let states: Vec<f32> = (0..35).map(|index| (index as f32 * 0.77).sin() * 1e3).collect();
        let pooled = |pooling: Pooling, cut: usize| {
            let mut pooler = Pooler::new(pooling, 5);
            states.chunks(5 * cut).for_each(|rows| pooler.add(rows));
            pooler.finish()
        };
        for (pooling, expected) in [
            (Pooling::None, states.clone()),
            (Pooling::First, states[..5].to_vec()),
            (Pooling::Last, states[30..].to_vec()),
        ] {
            assert_eq!(pooled(pooling, 7), expected);
            assert_eq!(pooled(pooling, 2), expected);
        }
        let mean = pooled(Pooling::Mean, 7);
        let of_first: f64 = (0..7).map(|row| f64::from(states[row * 5])).sum::<f64>() / 7.0;
        assert_eq!(mean[0], of_first as f32);
        assert_eq!(pooled(Pooling::Mean, 1), mean);
    }
}
