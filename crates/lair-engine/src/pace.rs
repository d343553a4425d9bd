//! How many rows a step may have, so that nobody waits long for it to end.
//!
//! What waits for a step: the next token of who decodes, a request that just came, a client that is gone. A row costs the
//! same whatever the step (8 ms for 1.5 billion weights on two cores), so 512 rows of a prompt would hold them up for
//! seconds. The time of a row is measured as steps go by. How a prompt is cut into steps does not change its results.

use std::time::Duration;

/// Steps below this tell little about the time of a row: weights are read once for all rows.
const MEASURED_ROWS_MIN: usize = 16;
/// Rows that are always allowed: fewer would waste what reading the weights costs.
const ROWS_MIN: usize = 16;
/// Rows of the first prompt's first step, which is where the time of a row becomes known.
const FIRST_ROWS: usize = 32;
/// How much of the latest measurement counts.
const WEIGHT: f64 = 0.3;
/// A prompt that is alone has only newcomers to think of: its steps may take this many times as long.
const LONE_FACTOR: u32 = 3;

/// Measures steps and says how long the next may be.
pub(crate) struct Pace {
    step_time_max: Option<Duration>,
    row_seconds: Option<f64>,
}

impl Pace {
    pub(crate) fn new(step_time_max: Option<Duration>) -> Self {
        Self { step_time_max, row_seconds: None }
    }

    /// Notes what a step took.
    pub(crate) fn note(&mut self, rows: usize, took: Duration) {
        if rows < MEASURED_ROWS_MIN {
            return;
        }
        let measured = took.as_secs_f64() / rows as f64;
        self.row_seconds = Some(self.row_seconds.map_or(measured, |known| known + WEIGHT * (measured - known)));
    }

    /// Rows for prompts in the next step; `is_lone` if nobody else is open.
    pub(crate) fn rows_max(&self, is_lone: bool) -> usize {
        let Some(time_max) = self.step_time_max else { return usize::MAX };
        let Some(row_seconds) = self.row_seconds else { return FIRST_ROWS };
        let time_max = if is_lone { time_max * LONE_FACTOR } else { time_max };
        // A clock that saw no time pass gives infinity, which becomes the largest number.
        ((time_max.as_secs_f64() / row_seconds) as usize).max(ROWS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_as_long_as_their_time_allows() {
        let mut pace = Pace::new(Some(Duration::from_millis(200)));
        assert_eq!(pace.rows_max(false), FIRST_ROWS);
        pace.note(1, Duration::from_secs(9));
        assert_eq!(pace.rows_max(false), FIRST_ROWS, "one row says nothing");
        pace.note(100, Duration::from_millis(500));
        assert_eq!((pace.rows_max(false), pace.rows_max(true)), (40, 120));
        for _ in 0..50 {
            pace.note(100, Duration::from_secs(10));
        }
        assert_eq!((pace.rows_max(false), pace.rows_max(true)), (ROWS_MIN, ROWS_MIN));
        for _ in 0..100 {
            pace.note(100, Duration::ZERO);
        }
        assert!(pace.rows_max(false) > 1 << 20);
        assert_eq!(Pace::new(None).rows_max(false), usize::MAX);
    }
}
